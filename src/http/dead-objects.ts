import { type Gateway, MEMORY } from './composition-root.ts'

/**
 * Gives back what objects hold of this isolate's memory that have died in it. They are called: one that has
 * died begins to live again by that, and what it held before is free. Never rejects.
 */
export async function releaseOfDead({ flights, ports }: Gateway): Promise<void> {
  const objects = MEMORY.objectsToLookAt(ports.nowMs())
  await Promise.all(
    objects.map(async (object) => {
      const isolate = await flights.isolateOf(object)
      if (isolate !== null && isolate !== MEMORY.id) MEMORY.releaseOf(object)
    }),
  )
}

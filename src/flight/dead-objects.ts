import type { ByteBudget } from '../gateway/byte-budget.ts'
import type { FlightClient } from './flight-client.ts'

/**
 * Gives back what objects hold of this isolate's memory that have died in it. They are called: one that has
 * died begins to live again by that, and what it held before is free. Never rejects.
 */
export async function releaseOfDead(
  memory: ByteBudget,
  flights: FlightClient,
  nowMs: number,
): Promise<void> {
  await Promise.all(
    memory.objectsToLookAt(nowMs).map(async (object) => {
      const isolate = await flights.isolateOf(object)
      if (isolate !== null && isolate !== memory.id) memory.releaseOf(object)
    }),
  )
}

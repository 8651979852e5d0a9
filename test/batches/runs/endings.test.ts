import { expect, it } from 'vitest'
import { type BatchWorld, inBatchWorld } from './batch-world.ts'
import type { Dies } from './death-point.ts'

const DAY_MS = 24 * 60 * 60_000
const SIZE = { lines: 5, perRange: 2, stepMs: 1_000 }

const ENDINGS = {
  cancelled: (world: BatchWorld) => void world.object.now.cancel(),
  // The clock goes on while nothing runs: what is under way then is late.
  expired: (world: BatchWorld) => world.time.stall(DAY_MS),
} as const

/** Runs a batch and ends it at its nth step. @returns how many steps it took */
async function run(nth: number, ending: keyof typeof ENDINGS): Promise<number> {
  let steps = 0
  let stopped: { readonly calls: number; readonly inHand: number; readonly done: number } | null =
    null
  let current: BatchWorld | null = null
  const dies: Dies = (point) => {
    if (point.dies === 'object') steps += 1
    if (steps !== nth || stopped !== null || current === null) return false
    const running = current.runs.filter(({ isOver }) => !isOver).length
    stopped = {
      calls: current.upstream.calls.length,
      inHand: running * SIZE.perRange,
      done: current.view().tally.completed,
    }
    ENDINGS[ending](current)
    return false
  }
  await inBatchWorld({ ...SIZE, dies }, async (world) => {
    current = world
    await world.create()
    await world.toTheEnd()
    const { status } = world.view().record
    const [output, error] = [world.results('output'), world.results('error')]
    const ids = [...output, ...error].map(({ custom_id }) => custom_id)
    const about = `${ending} at step ${nth}: ${status}`
    expect(ids.toSorted(), about).toEqual(world.ids.toSorted())
    // Too late for an end: every line has its result.
    if (status === 'completed') return expect(error, about).toEqual([])
    expect(status, about).toBe(ending)
    for (const { error: why } of error) expect(why?.code, about).toBe(`batch_${ending}`)
    expect(output.length, about).toBeGreaterThanOrEqual(stopped?.done ?? 0)
    // What was in hand goes on, and nothing else begins.
    const begun = world.upstream.calls.length - (stopped?.calls ?? 0)
    expect(begun, about).toBeLessThanOrEqual(stopped?.inHand ?? 0)
    expect(world.queue, about).toEqual([])
    for (const id of [0, 1, 2]) world.consume(world.message(id))
    await world.pass(DAY_MS)
    expect(world.upstream.calls.length - (stopped?.calls ?? 0), about).toBe(begun)
  })
  return steps
}

it('a batch may be cancelled, or expire, at every step: every line has one result, and nothing begins', async () => {
  const steps = await run(Number.POSITIVE_INFINITY, 'cancelled')
  expect(steps).toBeGreaterThan(20)
  for (let nth = 1; nth <= steps; nth += 1) {
    await run(nth, nth % 2 === 0 ? 'cancelled' : 'expired')
  }
})

import { describe, expect, it } from 'vitest'
import type { RangeMessage } from '../../../src/batches/progress/range-message.ts'
import { type BatchWorld, type BatchWorldOptions, inBatchWorld } from './batch-world.ts'
import type { Point } from './death-point.ts'

/** That nothing is lost, and nothing recorded twice. */
function expectWhole(world: BatchWorld): void {
  const [output, error] = [world.results('output'), world.results('error')]
  const ids = [...output, ...error].map(({ custom_id }) => custom_id)
  expect(ids.toSorted()).toEqual(world.ids.toSorted())
  const { tally, record } = world.view()
  expect(record.status).toBe('completed')
  expect([tally.completed, tally.failed]).toEqual([output.length, error.length])
}

/** How many good answers were paid for beyond one for each line. */
const twins = ({ upstream, ids }: BatchWorld): number => upstream.paid.length - ids.length

/** How many the batch says may have been. */
const twinsTold = (world: BatchWorld): number => {
  const { repeated, rerun } = world.view().record
  return repeated + (rerun ?? 0)
}

const told = ({ at, when, dies }: Point) => `${dies} ${when} ${at}`

/** The points that a batch without a death passes, in their order. */
async function pointsOf(options: BatchWorldOptions): Promise<Point[]> {
  const points: Point[] = []
  const dies = (point: Point) => points.push(point) < 0
  await inBatchWorld({ ...options, dies }, async (world) => {
    await world.create()
    await world.toTheEnd()
    expectWhole(world)
    expect(twins(world)).toBe(0)
    expect(twinsTold(world)).toBe(0)
  })
  return points
}

describe('a death', () => {
  const size = { lines: 4, perRange: 3, stepMs: 1_000 }

  it('at any point of a batch loses nothing, and pays one line twice at most, which is told', async () => {
    const points = await pointsOf(size)
    const kinds = new Set(points.map(told))
    // Whatever is called, both who calls and who is called may die, before and after it.
    for (const at of ['claim', 'record']) {
      for (const kind of ['consumer before', 'consumer after', 'object before', 'object after']) {
        expect(kinds).toContain(`${kind} ${at}`)
      }
    }
    for (const at of ['send', 'put', 'keep', 'over', 'tell'])
      expect(kinds).toContain(`object after ${at}`)
    for (const [nth, point] of points.entries()) {
      let passed = 0
      const dies = () => {
        passed += 1
        return passed === nth + 1
      }
      await inBatchWorld({ ...size, dies }, async (world) => {
        await world.create()
        await world.toTheEnd()
        expectWhole(world)
        const paid = [told(point), twins(world)] as const
        // Of an object that dies, a consumer says its word again. Only a consumer takes an answer along.
        const mayBeLost = point.dies === 'consumer' && point.at === 'record' ? 1 : 0
        expect(paid).toEqual([told(point), expect.toSatisfy((n: number) => n <= mayBeLost)])
        expect(twinsTold(world), told(point)).toBeGreaterThanOrEqual(twins(world))
        if (point.at === 'record' && told(point).startsWith('consumer before')) {
          expect(twins(world)).toBeGreaterThan(0)
        }
      })
    }
  })

  it('each few steps ends all the same', async () => {
    let passed = 0
    const dies = ({ dies: who }: Point) => {
      passed += 1
      return passed < 120 && passed % (who === 'consumer' ? 7 : 5) === 0
    }
    await inBatchWorld({ lines: 9, dies }, async (world) => {
      await world.create()
      await world.toTheEnd()
      expectWhole(world)
      expect(world.object.deaths).toBeGreaterThan(4)
      expect(twins(world)).toBeLessThanOrEqual(twinsTold(world))
    })
  })

  it('of the object’s memory at every turn is not noticed', async () => {
    await inBatchWorld({ lines: 7 }, async (world) => {
      await world.create()
      await world.toTheEnd((queue) => {
        world.object.evict()
        return queue.splice(0)
      })
      expectWhole(world)
      expect(twins(world)).toBe(0)
    })
  })

  it('of everything at once, as in a deployment, loses nothing', async () => {
    await inBatchWorld({ lines: 8, perRange: 4 }, async (world) => {
      await world.create()
      let turns = 0
      await world.toTheEnd((queue) => {
        turns += 1
        if (turns === 3) {
          for (const run of world.runs) run.kill()
          world.object.evict()
        }
        return queue.splice(0)
      })
      expectWhole(world)
      // Two consumers died, with a line in hand each.
      expect(twins(world)).toBeLessThanOrEqual(2)
      expect(twinsTold(world)).toBe(2)
    })
  })

  it('of a bucket for a while costs no line', async () => {
    await inBatchWorld({ lines: 2, perRange: 2, stepMs: 10_000 }, async (world) => {
      await world.create()
      const { get } = world.bucket.r2
      world.bucket.r2.get = async () => {
        throw new Error('The bucket does not answer')
      }
      // Four claims that die make a line a dead one.
      const untilMs = world.time.nowMs() + 12 * 60_000
      await world.toTheEnd((queue) => {
        if (world.time.nowMs() > untilMs) world.bucket.r2.get = get
        return queue.splice(0)
      })
      expectWhole(world)
      expect(world.results('output')).toHaveLength(2)
    })
  })

  it('of the object’s answers for some seconds costs no line and no answer', async () => {
    let refusals = 0
    // So often a record is tried again.
    const dies = ({ at, when, dies: who }: Point) =>
      at === 'record' && when === 'before' && who === 'object' && refusals++ < 5
    await inBatchWorld({ lines: 2, perRange: 2, dies }, async (world) => {
      await world.create()
      await world.toTheEnd()
      expectWhole(world)
      expect(twins(world)).toBe(0)
    })
  })
})

it('an alarm that got lost is set again when somebody asks for the batch', async () => {
  await inBatchWorld({ lines: 4 }, async (world) => {
    await world.create()
    await world.loseAlarm()
    await world.pass(60_000)
    expect(world.queue).toEqual([])
    world.view()
    await world.toTheEnd()
    expectWhole(world)
  })
})

describe('messages', () => {
  it('that come twice at once are run once', async () => {
    await inBatchWorld({ lines: 9 }, async (world) => {
      await world.create()
      await world.toTheEnd((queue) => {
        const taken = queue.splice(0)
        return [...taken, ...taken, ...taken]
      })
      expectWhole(world)
      expect(world.runs.every((run) => run.outcome === 'acked')).toBe(true)
      expect([twins(world), twinsTold(world)]).toEqual([0, 0])
    })
  })

  it('that come out of order, and again when all is over, change nothing', async () => {
    await inBatchWorld({ lines: 9 }, async (world) => {
      await world.create()
      const early: RangeMessage[] = []
      await world.toTheEnd((queue) => {
        const [last] = queue.splice(-1)
        if (last !== undefined) early.push(last)
        return last === undefined ? [] : [last, ...early]
      })
      expectWhole(world)
      const calls = world.upstream.calls.length
      for (const message of early) world.consume(message)
      await world.pass(10_000)
      expect(world.upstream.calls).toHaveLength(calls)
      expect(twins(world)).toBe(0)
    })
  })

  it('that are lost are sent again, and without a consumer nothing runs', async () => {
    await inBatchWorld({ lines: 6 }, async (world) => {
      await world.create()
      await world.pass(0)
      expect(world.queue.splice(0)).toHaveLength(2)
      await world.pass(4 * 60_000)
      expect([world.queue.length, world.upstream.calls.length]).toEqual([0, 0])
      await world.pass(2 * 60_000)
      expect(world.queue).toHaveLength(2)
      await world.toTheEnd()
      expectWhole(world)
    })
  })
})

describe('a consumer that is thought dead', () => {
  it('has its late answers dropped, and they are counted', async () => {
    // None of its words arrive, as on a broken line.
    const dies = ({ at, dies: who }: Point) => at === 'renew' && who === 'object'
    const slow = { lines: 1, answerMs: 100_000, stepMs: 5_000, bindings: timeouts(300_000) }
    await inBatchWorld({ ...slow, dies }, async (world) => {
      await world.create()
      await world.toTheEnd()
      expectWhole(world)
      await world.pass(100_000)
      expect(twins(world)).toBe(1)
      expect(world.view().record.repeated).toBeGreaterThan(0)
      expect(twinsTold(world)).toBeGreaterThanOrEqual(twins(world))
      expect(world.view().tally.completed).toBe(1)
    })
  })
})

const timeouts = (headersMs: number) => ({
  POLICY: {
    defaults: { max_concurrent: 50 },
    timeouts: { headers_ms: headersMs, first_output_ms: headersMs },
  },
})

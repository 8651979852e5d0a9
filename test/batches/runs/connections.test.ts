import { expect, it } from 'vitest'
import { inBatchWorld } from './batch-world.ts'

const CLIENT = { id: 'tester', token: 'sy-test-token-0001' }
const BUDGET = { usd: 100, period: 'day', mode: 'exact' }

/** All lines in one invocation. */
const ONE = { lines: 24, perRange: 24 }

it('an invocation has four calls that wait for headers at most, lookups and lists of prices included', async () => {
  const bindings = { CLIENT_KEYS: JSON.stringify([{ ...CLIENT, budget: BUDGET }]) }
  await inBatchWorld({ ...ONE, bindings }, async (world) => {
    world.create()
    await world.toTheEnd()
    expect(world.runs).toHaveLength(1)
    expect(world.view().tally.completed).toBe(24)
    // Otherwise the count says nothing of them.
    expect(world.upstream.lookups.filter((path) => path.endsWith('/key'))).toHaveLength(3)
    expect(world.upstream.lookups).toContainEqual(expect.stringMatching(/\/models$/))
    expect(world.upstream.mostWaiting).toBe(4)
  })
})

it('a call that waits for its place is not late: the clock of its headers begins with the place', async () => {
  const policy = { defaults: { max_concurrent: 50 }, timeouts: { headers_ms: 25_000 } }
  const slow = { answerMs: 20_000, stepMs: 1_000, bindings: { POLICY: policy } }
  await inBatchWorld({ lines: 8, perRange: 8, ...slow }, async (world) => {
    world.create()
    await world.toTheEnd()
    expect(world.upstream.mostWaiting).toBe(4)
    expect(world.upstream.calls).toHaveLength(8)
    expect(world.view().tally).toMatchObject({ completed: 8, failed: 0 })
  })
})

import { expect, it } from 'vitest'
import { inBatchWorld } from './batch-world.ts'

const CLIENT = { id: 'tester', token: 'sy-test-token-0001' }
const BUDGET = { usd: 100, period: 'day', mode: 'exact' }

const bindings = { CLIENT_KEYS: JSON.stringify([{ ...CLIENT, budget: BUDGET }]) }

/** All lines in one invocation, whose isolate knows neither its keys nor what models cost. */
const ONE = { lines: 6, perRange: 6 }

it('an invocation has four calls that wait for headers at most, lookups and lists of prices included', async () => {
  await inBatchWorld({ ...ONE, bindings }, async (world) => {
    await world.create()
    await world.toTheEnd()
    expect(world.runs).toHaveLength(1)
    expect(world.view().tally.completed).toBe(6)
    // Otherwise the count says nothing of them.
    expect(world.upstream.lookups.filter((path) => path.endsWith('/key'))).toHaveLength(3)
    expect(world.upstream.lookups).toContainEqual(expect.stringMatching(/\/models$/))
    expect(world.upstream.mostWaiting).toBe(4)
  })
})

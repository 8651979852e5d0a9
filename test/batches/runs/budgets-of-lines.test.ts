import { expect, it } from 'vitest'
import { inBatchWorld } from './batch-world.ts'
import { COST_USD } from './paid-upstream.ts'

const clientWith = (budget: object) => ({
  CLIENT_KEYS: JSON.stringify([{ id: 'tester', token: 'sy-test-token-0001', budget }]),
})

it('each line is reserved before it runs: a budget holds, and what it does not pay for fails', async () => {
  // Each line is bound by 0.0003 USD, and costs 0.001 in the end.
  const bindings = clientWith({ usd: 0.01, period: 'total', mode: 'exact' })
  await inBatchWorld(
    { lines: 30, perRange: 10, body: { max_tokens: 100 }, bindings },
    async (world) => {
      await world.create()
      await world.toTheEnd()
      const { tally } = world.view()
      expect(tally.completed + tally.failed).toBe(30)
      expect(world.upstream.paid).toHaveLength(tally.completed)
      expect(tally.costUsd).toBeCloseTo(tally.completed * COST_USD, 9)
      expect(tally.completed).toBeGreaterThanOrEqual(9)
      expect(tally.completed).toBeLessThan(30)
      const statuses = world.results('error').map(({ response }) => response?.status_code)
      expect(new Set(statuses)).toEqual(new Set([402]))
    },
  )
})

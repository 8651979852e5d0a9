import { expect, it } from 'vitest'
import { runDemo } from '../local/demo-run.ts'

it('the demo’s clients notice nothing but what no gateway can hide', {
  timeout: 90_000,
}, async () => {
  const result = await runDemo({ requests: 150, concurrency: 12 })
  expect(result.surprises).toEqual([])
  expect(result.answered + result.failures.length).toBe(150)
  expect(result.failures.every(({ unavoidable }) => unavoidable)).toBe(true)
  // The demo's faults happened, and requests succeeded in spite of them.
  expect(result.rescued).toBeGreaterThan(0)
  expect(result.keys.filter(({ refusals }) => refusals.length > 0).length).toBeGreaterThan(1)
})

import { expect, test } from 'vitest'
import {
  type Gateway,
  journeyOf,
  keyOf,
  POOL_OBJECT,
  startGateway,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()

/**
 * Evicts the object as the platform does with an idle one: its memory ends, its storage stays. The
 * eviction waits for a checkpoint that is still due, five seconds at most.
 */
async function evict(gateway: Gateway): Promise<void> {
  await gateway.worker.evictDurableObject('KEY_POOL', POOL_OBJECT)
  await expect(gateway.worker.evictDurableObject('KEY_POOL', POOL_OBJECT)).rejects.toThrow(
    'not currently running',
  )
}

const usableKeys = async (gateway: Gateway) =>
  JSON.parse(await (await gateway.send('/healthz')).text()).keys_usable

test('after an eviction an open breaker, a spent key and the counters are as they were', async () => {
  const gateway = await startGateway(upstream, {
    keys: ['alpha', 'gamma', { name: 'delta', max_concurrent: 1 }],
    policy: {
      strategy: 'priority',
      breaker: { failures: 1, cooldown_s: 600, panic_ratio: 0 },
    },
  })
  const opened = await gateway.chat({ model: 'sim/plain-502@alpha' })
  expect(journeyOf(opened)).toEqual({ key: 'gamma', attempts: 2 })
  await opened.text()
  const used = { totalUsd: 2, dailyUsd: 2, weeklyUsd: 2, monthlyUsd: 2, atMs: null }
  await upstream.control.patchKey('gamma', { limitUsd: 2, limitReset: 'weekly', usage: used })
  await upstream.control.patchSettings({ answerTokens: 140, tokensPerSecond: 20 })
  const streamed = await gateway.chat({ stream: true })
  expect(journeyOf(streamed)).toEqual({ key: 'delta', attempts: 2 })
  // While it runs, the Worker tells each second that it lives, and the object is not idle.
  expect(await streamed.text()).toMatch(/data: \[DONE\]\n\n$/)
  expect(await usableKeys(gateway)).toBe(1)

  await evict(gateway)
  expect(await usableKeys(gateway)).toBe(1)

  const pool = await gateway.settledPool()
  expect(keyOf(pool, 'alpha')).toMatchObject({
    breaker: 'open',
    reason: 'breaker_open',
    total: { attempts: 1, failures: 1 },
  })
  expect(keyOf(pool, 'gamma')).toMatchObject({
    reason: 'key_spent',
    clearsAtMs: expect.any(Number),
    total: { attempts: 2, successes: 1, ignored: 1 },
  })
  expect(keyOf(pool, 'delta')).toMatchObject({
    reason: null,
    total: { attempts: 1, successes: 1, completionTokens: 140 },
  })
  await upstream.control.patchSettings({ answerTokens: null, tokensPerSecond: null })
  expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'delta', attempts: 1 })
})

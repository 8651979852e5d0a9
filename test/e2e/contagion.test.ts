import { beforeEach, expect, test } from 'vitest'
import { type KeyName, sendMany, servedBy, startGateway, useSimulator, warmUp } from './harness.ts'

// A fault of one key, one model or one caller, and what everybody else notices of it.

const upstream = useSimulator()

const FOUR_KEYS = ['alpha', 'beta', 'gamma', 'delta'] as const
const CALLERS = 4

beforeEach(async () => {
  await upstream.control.patchSettings({ tokensPerSecond: null })
})

test('two of three keys that fail at once take next to no request with them', async () => {
  for (const key of ['alpha', 'gamma'] as const) {
    await upstream.control.rule({ fault: 'plain-502', match: { key } })
  }
  const gateway = await startGateway(upstream, { policy: {} })
  const served = servedBy(await sendMany(240, CALLERS, () => gateway.chat({})))
  // The first failures of a cold pool may use up the retries that it allows itself at the start.
  expect(served.delta).toBeGreaterThanOrEqual(235)
})

test.each([
  ['with OpenRouter’s own error', 'provider-502'],
  ['with a bare 502', 'plain-502'],
])(
  'a model that is down, %s, opens no breaker and costs no other model a request',
  async (_, fault) => {
    const gateway = await startGateway(upstream, {
      keys: FOUR_KEYS,
      policy: { strategy: 'round-robin' },
    })
    const good = await sendMany(8, CALLERS, () => gateway.chat({}))
    await upstream.control.rule({ fault, match: { model: 'mistralai/mistral-nemo' } })
    const bad = await sendMany(20, CALLERS, () => gateway.chat({ model: 'mistralai/mistral-nemo' }))
    expect(bad.every(({ ok }) => !ok)).toBe(true)
    const pool = await gateway.settledPool()
    expect(pool.keys.map(({ breaker }) => breaker)).toEqual(FOUR_KEYS.map(() => 'closed'))
    good.push(...(await sendMany(40, CALLERS, () => gateway.chat({}))))
    expect(good.filter(({ ok }) => !ok)).toEqual([])
  },
)

test.each(['priority', 'credit-threshold', 'most-credit'])(
  'new conversations stay on the key that %s prefers',
  async (strategy) => {
    await upstream.control.patchKey('gamma', { limitUsd: 5 })
    const gateway = await startGateway(upstream, {
      keys: ['alpha', 'gamma'] satisfies KeyName[],
      policy: { strategy },
    })
    // Credit is known only after a request, and most-credit can't prefer a key before that.
    await warmUp(gateway)
    const sent = await sendMany(60, CALLERS, () =>
      gateway.chat({ session_id: crypto.randomUUID() }),
    )
    expect(servedBy(sent)).toEqual({ alpha: 60 })
  },
)

import { expect, test } from 'vitest'
import { errorOf, MESSAGES, MODEL, startGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()

const NO_WAITING = { max_wait_ms: 0 }

test('of two hundred requests at once no key ever serves more than its five', async () => {
  await upstream.control.patchSettings({ ttftMs: 700, tokensPerSecond: null })
  const gateway = await startGateway(upstream, {
    policy: { strategy: 'least-busy', defaults: { max_concurrent: 5 }, queue: NO_WAITING },
  })
  const responses = await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const response = await gateway.chat({ stream: i % 2 === 0 })
      return { response, text: await response.text() }
    }),
  )
  const served = responses.filter(({ response }) => response.status === 200)
  const refused = responses.filter(({ response }) => response.status === 429)
  expect(served.length + refused.length).toBe(200)
  expect(served.length).toBeGreaterThanOrEqual(15)
  expect(refused.length).toBeGreaterThan(0)
  for (const { text } of served) expect(text).toContain('geht’s?')
  for (const { response, text } of refused) {
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(JSON.parse(text)).toMatchObject({
      error: {
        code: 429,
        metadata: {
          source: 'switchyard',
          reason: 'no_key_available',
          reasons: { at_max_concurrent: 3 },
        },
      },
    })
  }
  const { stats } = await upstream.control.waitFor((received) => received.stats.openNow === 0)
  expect(stats.maxOpen).toBeLessThanOrEqual(15)
  for (const name of ['alpha', 'gamma', 'delta']) {
    expect(stats.perKey[name]?.maxOpen).toBeLessThanOrEqual(5)
  }
  expect(stats.requests).toBe(served.length)
  const pool = await gateway.settledPool()
  expect(pool.keys.map(({ inFlight }) => inFlight)).toEqual([0, 0, 0])
  expect((await gateway.chat({})).status).toBe(200)
})

test('a key’s own limit goes before the default, and what is full is passed over', async () => {
  await upstream.control.patchSettings({ ttftMs: 700 })
  const gateway = await startGateway(upstream, {
    keys: [{ name: 'alpha', max_concurrent: 1 }, 'gamma'],
    policy: { strategy: 'priority', defaults: { max_concurrent: 2 }, queue: NO_WAITING },
  })
  const responses = await Promise.all(Array.from({ length: 4 }, () => gateway.chat({})))
  const counts = new Map<string, number>()
  for (const { status, headers } of responses) {
    const name = status === 200 ? String(headers.get('x-switchyard-key')) : String(status)
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  expect(Object.fromEntries(counts)).toEqual({ alpha: 1, gamma: 2, 429: 1 })
})

test('OpenAI’s client heeds Retry-After and gets its answer by itself', async () => {
  await upstream.control.patchKey('alpha', { ttftMs: 600 })
  const gateway = await startGateway(upstream, {
    keys: [{ name: 'alpha', max_concurrent: 1 }],
    policy: { queue: NO_WAITING },
  })
  const first = gateway.chat({})
  await upstream.control.waitFor(({ stats }) => stats.openNow === 1)
  const answer = await gateway
    .client({ maxRetries: 2 })
    .chat.completions.create({ model: MODEL, messages: MESSAGES })
  expect(answer.choices[0]?.message.content).toContain('geht’s?')
  expect((await first).status).toBe(200)
})

test('a request whose key is refused while the others are full hears when to come back', async () => {
  await upstream.control.patchKey('gamma', { ttftMs: 1500 })
  const gateway = await startGateway(upstream, {
    keys: ['alpha', { name: 'gamma', max_concurrent: 1 }],
    policy: { strategy: 'priority', queue: NO_WAITING },
  })
  // The larger of two: what the key can't pay for says nothing about a smaller request.
  const long = [{ role: 'user', content: 'A long question. '.repeat(100) }]
  const slow = gateway.chat({ model: 'sim/key-limit-402@alpha', messages: long })
  await upstream.control.waitFor(({ stats }) => stats.perKey.gamma?.openNow === 1)
  const response = await gateway.chat({ model: 'sim/key-limit-402@alpha' })
  expect(response.status).toBe(502)
  expect(await errorOf(response)).toMatchObject({
    metadata: { reason: 'keys_exhausted', reasons: { already_tried: 1, at_max_concurrent: 1 } },
  })
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect((await slow).status).toBe(200)
})

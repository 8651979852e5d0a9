import { describe, expect, test } from 'vitest'
import { errorOf, journeyOf, keyOf, startGateway, until, useSimulator } from './harness.ts'

const upstream = useSimulator()

/** One key that serves two requests at a time. */
const NARROW = [{ name: 'alpha', max_concurrent: 2 }] as const

const PAUSE_MS = 15

/** Sends requests in order without waiting for answers, so that they arrive in order. */
async function sendInOrder(count: number, send: (i: number) => Promise<Response>) {
  const answers: Promise<{ i: number; response: Response; text: string }>[] = []
  for (let i = 0; i < count; i += 1) {
    const answer = send(i)
    answers.push(answer.then(async (response) => ({ i, response, text: await response.text() })))
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
  return await Promise.all(answers)
}

describe('requests that no key can serve now', () => {
  test('are all answered in order of arrival, two at a time, when they may wait', async () => {
    await upstream.control.patchSettings({ ttftMs: 100, tokensPerSecond: null })
    const gateway = await startGateway(upstream, {
      keys: NARROW,
      policy: { queue: { max_wait_ms: 10_000 } },
    })
    const answers = await sendInOrder(50, (i) =>
      gateway.chat({ messages: [{ role: 'user', content: `number ${i}` }] }),
    )
    expect(answers.map(({ response }) => response.status)).toEqual(Array(50).fill(200))
    for (const { i, text } of answers) expect(text).toContain(`number ${i}`)
    const { stats, log } = await upstream.control.waitFor(
      (received) => received.stats.openNow === 0,
    )
    expect(stats.perKey.alpha?.maxOpen).toBe(2)
    const order = log
      .filter(({ path }) => path === '/chat/completions')
      .map(({ body }) => Number(/number (\d+)/.exec(body.text ?? '')?.[1]))
    expect(order).toHaveLength(50)
    // Two requests are upstream at once, and one may overtake the other there.
    for (const [place, i] of order.entries()) expect(Math.abs(place - i)).toBeLessThanOrEqual(1)
    const waited = answers.at(-1)?.response.headers.get('server-timing') ?? ''
    expect(Number(/wait;dur=(\d+)/.exec(waited)?.[1])).toBeGreaterThan(500)
  })

  test('are refused at once when they may not, with a Retry-After that is true', async () => {
    await upstream.control.patchSettings({ ttftMs: 1500, tokensPerSecond: null })
    const gateway = await startGateway(upstream, {
      keys: NARROW,
      policy: { queue: { max_wait_ms: 0 } },
    })
    const responses = await Promise.all(Array.from({ length: 50 }, () => gateway.chat({})))
    const refused = responses.filter(({ status }) => status === 429)
    expect(refused).toHaveLength(48)
    const [first] = refused
    if (first === undefined) throw new Error('nobody was refused')
    expect(await errorOf(first)).toMatchObject({
      metadata: { reason: 'no_key_available', reasons: { at_max_concurrent: 1 } },
    })
    const retryAfterS = Number(first.headers.get('retry-after'))
    expect(retryAfterS).toBeGreaterThanOrEqual(1)
    await new Promise((resolve) => setTimeout(resolve, retryAfterS * 1000))
    expect((await gateway.chat({})).status).toBe(200)
  })

  test('are refused when the queue is full, or when it took too long', async () => {
    await upstream.control.patchSettings({ ttftMs: 3000, tokensPerSecond: null })
    const gateway = await startGateway(upstream, {
      keys: NARROW,
      policy: { queue: { max_waiting: 3, max_wait_ms: 1000 } },
    })
    const beganMs = Date.now()
    const answers = await sendInOrder(10, async () => {
      const response = await gateway.chat({})
      return response
    })
    const served = answers.filter(({ response }) => response.status === 200)
    const refused = answers.filter(({ response }) => response.status === 429)
    expect([served.length, refused.length]).toEqual([2, 8])
    for (const { response } of refused) {
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    }
    expect(Date.now() - beganMs).toBeLessThan(6000)
    expect((await gateway.pool()).waiting).toBe(0)
  })

  test('wait for the end of a bench that is near', async () => {
    const gateway = await startGateway(upstream, { keys: ['alpha'] })
    await upstream.control.rule({ fault: 'in-flight-402', params: { retryAfter: 2 }, times: 1 })
    expect((await gateway.chat({})).status).toBe(502)
    const benched = keyOf(await gateway.settledPool(), 'alpha')
    expect(benched.reason).toBe('account_rate_limited')
    const beganMs = Date.now()
    expect((await gateway.chat({})).status).toBe(200)
    const waitedMs = Date.now() - beganMs
    expect(waitedMs).toBeGreaterThan(500)
    expect(waitedMs).toBeLessThan(4000)
  })
})

test('what a limit per minute leaves open is exactly that many requests', async () => {
  const gateway = await startGateway(upstream, {
    keys: [{ name: 'alpha', rpm: 30 }],
    policy: { queue: { max_wait_ms: 0 } },
  })
  const responses = await Promise.all(Array.from({ length: 50 }, () => gateway.chat({})))
  expect(responses.filter(({ status }) => status === 200)).toHaveLength(30)
  const refused = responses.find(({ status }) => status === 429)
  expect(await errorOf(refused ?? Response.error())).toMatchObject({
    metadata: { reasons: { at_rpm: 1 } },
  })
  expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(50)
  expect(Number(refused?.headers.get('retry-after'))).toBeLessThanOrEqual(61)
})

test('a prompt that is larger than a limit per minute is refused, however large it is', async () => {
  const gateway = await startGateway(upstream, {
    keys: [{ name: 'alpha', tpm: 10_000 }],
    policy: { queue: { max_wait_ms: 0 } },
  })
  const content = 'A word and another one. '.repeat(40_000)
  const response = await gateway.chat({ messages: [{ role: 'user', content }] })
  expect(response.status).toBe(503)
  expect(await errorOf(response)).toMatchObject({ metadata: { reasons: { at_tpm: 1 } } })
  expect((await gateway.chat({ max_tokens: 50 })).status).toBe(200)
  await until(gateway.pool, (pool) => (keyOf(pool, 'alpha').tpmUsed ?? 1) < 0.01)
})

test('a large request that waits for the large key leaves the small key to small ones', async () => {
  await upstream.control.patchKey('alpha', { ttftMs: 2_000 })
  const gateway = await startGateway(upstream, {
    keys: [
      { name: 'alpha', max_concurrent: 1 },
      { name: 'gamma', tpm: 1_000 },
    ],
    policy: { strategy: 'priority', queue: { max_wait_ms: 30_000 } },
  })
  const first = gateway.chat({})
  await until(gateway.pool, ({ keys }) => keys[0]?.inFlight === 1)
  const large = gateway.chat({ max_tokens: 5_000 })
  await until(gateway.pool, ({ waiting }) => waiting === 1)
  const small = await gateway.chat({ max_tokens: 10 })
  expect(journeyOf(small)).toEqual({ key: 'gamma', attempts: 1 })
  expect(await gateway.pool()).toMatchObject({ waiting: 1 })
  expect((await first).status).toBe(200)
  expect(journeyOf(await large).key).toBe('alpha')
})

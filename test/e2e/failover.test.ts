import { describe, expect, test } from 'vitest'
import type { KeySnapshot } from '../../src/balancing/snapshot.ts'
import {
  errorOf,
  type Gateway,
  journeyOf,
  keyOf,
  MODEL,
  startGateway,
  until,
  useGateway,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()

const DAY_MS = 86_400_000

/** A key without a bench and with a closed breaker. */
const UNMARKED = { reason: null, clearsAtMs: null, breaker: 'closed' }

interface Case {
  /** The simulator's fault for the first key's attempt. */
  readonly fault: string
  readonly stream?: boolean
  /** What the pool's snapshot shows of the first key afterwards. */
  readonly leaves: object
}

const nameOf = ({ fault, stream = false }: Case) => `${fault}${stream ? ' in a stream' : ''}`

/** Sends a request whose first attempt fails, and expects a good answer from the next key. */
async function expectFailover(gateway: Gateway, { fault, stream = false }: Case) {
  const response = await gateway.chat({ model: `sim/${fault}@alpha`, stream })
  expect(journeyOf(response)).toEqual({ key: 'gamma', attempts: 2 })
  expect(response.status).toBe(200)
  const text = await response.text()
  expect(text).toContain('geht’s?')
  expect(text).not.toContain('"error"')
  const pool = await gateway.settledPool()
  expect(keyOf(pool, 'gamma')).toMatchObject(UNMARKED)
  expect(keyOf(pool, 'delta').total.attempts).toBe(0)
  return pool
}

describe('a good answer from another key after exactly one failed attempt, that', () => {
  const FAILED = { failures: 1, ignored: 0 }
  const IGNORED = { failures: 0, ignored: 1 }
  const gateway = useGateway(upstream, {
    policy: {
      strategy: 'priority',
      breaker: { failures: 100 },
      retry_budget: { ratio: 1, min_per_s: 100 },
      timeouts: { headers_ms: 700, first_output_ms: 700 },
    },
  })
  const cases: readonly Case[] = [
    // Upstream's fault: it counts as one failure in the key's window, and nothing else.
    { fault: 'plain-502', leaves: FAILED },
    { fault: 'plain-500', leaves: FAILED },
    { fault: '408', leaves: FAILED },
    { fault: '529', leaves: FAILED },
    { fault: 'html-503', leaves: FAILED },
    { fault: 'html-403', leaves: FAILED },
    { fault: 'html-429', leaves: FAILED },
    { fault: 'empty-502', leaves: FAILED },
    { fault: 'redirect', leaves: FAILED },
    { fault: 'html-200', leaves: FAILED },
    { fault: 'garbage-json-200', leaves: FAILED },
    { fault: 'cut-before-output', leaves: FAILED },
    { fault: 'hang', leaves: FAILED },
    { fault: 'cut-before-output', stream: true, leaves: FAILED },
    { fault: 'empty-answer', stream: true, leaves: FAILED },
    { fault: 'hang-after-headers', stream: true, leaves: FAILED },
    { fault: 'comments-then-hang', stream: true, leaves: FAILED },
    // A provider's fault: it does not count against the key.
    { fault: 'error-in-200', leaves: IGNORED },
    { fault: 'choice-error-in-200', leaves: IGNORED },
    { fault: 'finish-error', leaves: IGNORED },
    { fault: 'error-first-event', stream: true, leaves: IGNORED },
    { fault: 'role-then-error', stream: true, leaves: IGNORED },
    { fault: 'finish-error', stream: true, leaves: IGNORED },
  ]
  for (const each of cases) {
    test(`is ${nameOf(each)}, leaves no more than a note of it`, async () => {
      const before = keyOf(await gateway().settledPool(), 'alpha').total
      const alpha = keyOf(await expectFailover(gateway(), each), 'alpha')
      const { total } = alpha
      expect(alpha).toMatchObject(UNMARKED)
      expect({
        failures: total.failures - before.failures,
        ignored: total.ignored - before.ignored,
      }).toEqual(each.leaves)
      expect(total).toMatchObject({ attempts: before.attempts + 1, successes: 0 })
    })
  }
})

describe('a key or an account that can’t pay for a request of this size', () => {
  test.each(['key-limit-402', 'afford-402?affordTokens=321', 'weight-402'])(
    'is left alone by the next one that is no smaller, and by no small one: %s',
    async (fault) => {
      const gateway = await startGateway(upstream)
      const alpha = keyOf(await expectFailover(gateway, { fault, leaves: {} }), 'alpha')
      expect(alpha).toMatchObject(UNMARKED)
      expect(alpha.total).toMatchObject({ attempts: 1, failures: 0, ignored: 1 })
      expect(alpha.affordableTokens).toBe(fault.includes('321') ? 321 : alpha.affordableTokens)
      const large = [{ role: 'user', content: 'A long question. '.repeat(100) }]
      const next = await gateway.chat({ messages: large })
      expect(journeyOf(next)).toEqual({ key: 'gamma', attempts: 1 })
      expect(journeyOf(await gateway.chat({ max_tokens: 5 })).key).toBe('alpha')
    },
  )
})

describe('a good answer from another key, and a bench for the first, after', () => {
  const rateLimited = { reason: 'account_rate_limited', clearsAtMs: expect.any(Number) }
  const outOfCredit = { reason: 'account_out_of_credit', clearsAtMs: null }
  const cases: readonly Case[] = [
    { fault: 'error-in-200?code=402&message=Insufficient+credits', leaves: outOfCredit },
    {
      fault: 'error-first-event?code=402&message=Insufficient+credits',
      stream: true,
      leaves: outOfCredit,
    },
    { fault: 'never-purchased-402', leaves: outOfCredit },
    { fault: 'in-flight-402', leaves: rateLimited },
    {
      fault: 'workspace-budget-403',
      leaves: { ...rateLimited, reason: 'budget_layer_spent' },
    },
  ]
  for (const each of cases) {
    test(nameOf(each), async () => {
      const gateway = await startGateway(upstream)
      const alpha = keyOf(await expectFailover(gateway, each), 'alpha')
      expect(alpha).toMatchObject({ ...each.leaves, breaker: 'closed' })
      expect(alpha.total).toMatchObject({ attempts: 1, failures: 0, faults: { account: 1 } })
    })
  }
})

describe('a key that OpenRouter refuses', () => {
  test('is out of play for good once `/key` confirms that it was revoked', async () => {
    await upstream.control.patchKey('alpha', { disabled: true })
    const gateway = await startGateway(upstream)
    const first = await gateway.chat({})
    expect(first.status).toBe(200)
    expect(journeyOf(first)).toEqual({ key: 'gamma', attempts: 2 })
    const pool = await until(
      gateway.pool,
      (received) => keyOf(received, 'alpha').clearsAtMs === null,
    )
    expect(keyOf(pool, 'alpha')).toMatchObject({ reason: 'key_rejected', breaker: 'closed' })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 1 })
    // The first lookup is the one that every key gets. The second follows the 401.
    const { stats } = await upstream.control.waitFor(
      ({ stats }) => stats.perKey.alpha?.lookups === 2,
    )
    expect(stats.perKey.alpha?.requests).toBe(1)
  })

  test('is back at once when `/key` answers that it is valid after all', async () => {
    await upstream.control.rule({ fault: '401', match: { key: 'alpha' }, times: 1 })
    const gateway = await startGateway(upstream)
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
    const pool = await until(gateway.pool, (received) => keyOf(received, 'alpha').reason === null)
    expect(keyOf(pool, 'alpha').total).toMatchObject({ failures: 1, faults: { key: 1 } })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'alpha', attempts: 1 })
  })

  test('is spent until the reset that OpenRouter names', async () => {
    const spent = { totalUsd: 2, dailyUsd: 2, weeklyUsd: 2, monthlyUsd: 2, atMs: null }
    await upstream.control.patchKey('alpha', { limitUsd: 2, limitReset: 'daily', usage: spent })
    const gateway = await startGateway(upstream)
    const midnightMs = (Math.floor(Date.now() / DAY_MS) + 1) * DAY_MS
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
    const alpha = keyOf(await gateway.settledPool(), 'alpha')
    expect(alpha).toMatchObject({ reason: 'key_spent', clearsAtMs: midnightMs, breaker: 'closed' })
    expect(alpha.total).toMatchObject({ failures: 0, ignored: 1, faults: { key: 1 } })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 1 })
  })

  test('of an account without credit takes the account’s other key with it, unasked', async () => {
    await upstream.control.patchAccount('acme', { balanceUsd: 0 })
    const gateway = await startGateway(upstream, { keys: ['alpha', 'beta', 'gamma'] })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
    const pool = await gateway.settledPool()
    expect(pool.keys.map(({ reason }) => reason)).toEqual([
      'account_out_of_credit',
      'account_out_of_credit',
      null,
    ])
    expect(keyOf(pool, 'beta').total.attempts).toBe(0)
  })

  test('for the size of a request passes it to another key, or account, whichever was too small', async () => {
    const gateway = await startGateway(upstream, { keys: ['alpha', 'beta', 'gamma'] })
    await upstream.control.rule({ fault: 'key-limit-402', match: { key: 'alpha' }, times: 1 })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'beta', attempts: 2 })
    await upstream.control.rule({ fault: 'afford-402', match: { account: 'acme' } })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
  })

  test('with a 429 rests exactly until the reset that OpenRouter names', async () => {
    const nowMs = Date.now()
    await upstream.control.patchSettings({ nowMs })
    await upstream.control.rule({
      fault: 'plain-429',
      params: { resetInMs: 30_000 },
      match: { key: 'alpha' },
    })
    const gateway = await startGateway(upstream)
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
    const alpha = keyOf(await gateway.settledPool(), 'alpha')
    expect(alpha).toMatchObject({ reason: 'key_rate_limited', clearsAtMs: nowMs + 30_000 })
    expect(alpha.total).toMatchObject({ failures: 1, faults: { unknown: 1 } })
  })

  test('for one model goes on serving the others', async () => {
    const gateway = await startGateway(upstream)
    for (const fault of ['new-account-429', 'byok-429']) {
      const model = `sim/${fault}@alpha`
      expect(journeyOf(await gateway.chat({ model }))).toEqual({ key: 'gamma', attempts: 2 })
      expect(journeyOf(await gateway.chat({ model }))).toEqual({ key: 'gamma', attempts: 1 })
      expect(journeyOf(await gateway.chat({ model: MODEL }))).toEqual({ key: 'alpha', attempts: 1 })
    }
    const alpha = keyOf(await gateway.settledPool(), 'alpha')
    expect(alpha).toMatchObject({ ...UNMARKED, total: { failures: 0 } })
  })

  test('for free models is not replaced by another account within the request', async () => {
    await upstream.control.patchAccount('acme', { freePerDay: 0 })
    const gateway = await startGateway(upstream)
    const free = { model: 'meta-llama/llama-3.3-70b-instruct:free' }
    const response = await gateway.chat(free)
    expect(journeyOf(response).attempts).toBe(1)
    expect(response.status).toBe(429)
    expect(await errorOf(response)).toMatchObject({ code: 429 })
    const { stats } = await upstream.control.waitFor(({ stats }) => stats.openNow === 0)
    expect(stats.requests).toBe(1)
    expect(journeyOf(await gateway.chat({ model: MODEL }))).toEqual({ key: 'alpha', attempts: 1 })
  })
})

describe('the bounds of failing over', () => {
  test('a provider’s error is tried once more, passed on, and marks no key', async () => {
    const gateway = await startGateway(upstream)
    const response = await gateway.chat({ model: 'sim/provider-502' })
    expect(response.status).toBe(502)
    expect(journeyOf(response).attempts).toBe(2)
    expect(await errorOf(response)).toMatchObject({
      code: 502,
      message: 'Provider returned error',
      metadata: { provider_name: expect.any(String) },
    })
    for (const key of (await gateway.settledPool()).keys) {
      expect(key).toMatchObject({ ...UNMARKED, total: { failures: 0 } })
    }
  })

  test('max_attempts bounds upstream calls, whosever fault it is', async () => {
    const gateway = await startGateway(upstream, {
      policy: { strategy: 'priority', max_attempts: 2 },
    })
    const unreachable = await gateway.chat({ model: 'sim/plain-502' })
    expect(journeyOf(unreachable)).toEqual({ key: 'gamma', attempts: 2 })
    expect((await upstream.control.stats()).requests).toBe(2)
    const refused = await gateway.chat({ model: 'sim/401' })
    expect(journeyOf(refused)).toEqual({ key: 'gamma', attempts: 2 })
    expect(refused.status).toBe(502)
    expect((await upstream.control.stats()).requests).toBe(4)
  })

  test('with an empty retry budget the first error goes to the caller; a key’s fault still moves', async () => {
    const gateway = await startGateway(upstream, {
      policy: { strategy: 'priority', retry_budget: { ratio: 0, min_per_s: 0 } },
    })
    const response = await gateway.chat({ model: 'sim/plain-503' })
    expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
    expect(response.status).toBe(503)
    expect(await errorOf(response)).toMatchObject({ message: 'Service temporarily unavailable' })
    const moved = await gateway.chat({ model: 'sim/401@alpha' })
    expect(journeyOf(moved)).toEqual({ key: 'gamma', attempts: 2 })
  })

  test('a budget of one retry in two requests adds a half to an outage’s load', async () => {
    const gateway = await startGateway(upstream, {
      policy: { strategy: 'round-robin', retry_budget: { ratio: 0.5, min_per_s: 0 } },
    })
    await upstream.control.patchSettings({ outage: { fault: 'plain-502', params: {} } })
    for (let i = 0; i < 6; i += 1) expect((await gateway.chat({})).status).toBe(502)
    expect((await upstream.control.stats()).requests).toBe(9)
  })
})

describe('when every key fails', () => {
  const codesOf = async (response: Response) => {
    const { code, metadata } = await errorOf(response)
    return { status: response.status, code, reason: metadata.reason }
  }

  test('by keys’ and accounts’ faults, the app hears 502 keys_exhausted and never 401 or 402', async () => {
    const spent = { totalUsd: 2, dailyUsd: 2, weeklyUsd: 2, monthlyUsd: 2, atMs: null }
    await upstream.control.patchKey('alpha', { disabled: true })
    await upstream.control.patchAccount('globex', { balanceUsd: 0 })
    await upstream.control.patchKey('delta', { usage: spent })
    // Lookups fail at first, so the pool does not know the state of the keys.
    const silence = await upstream.control.rule({ fault: 'plain-503', match: { path: '/key' } })
    const gateway = await startGateway(upstream)
    const first = await gateway.chat({})
    expect(journeyOf(first).attempts).toBe(3)
    expect(await codesOf(first)).toEqual({ status: 502, code: 502, reason: 'keys_exhausted' })

    await upstream.control.deleteRule(silence)
    // From then on no key is tried. The app learns when to come back: at delta's reset.
    await gateway.settledPool()
    const second = await gateway.chat({})
    expect(journeyOf(second).attempts).toBe(0)
    expect(second.status).toBe(429)
    expect(Number(second.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await errorOf(second)).toMatchObject({
      metadata: {
        reason: 'no_key_available',
        // The lookups that failed confirmed nothing yet.
        reasons: { key_suspected: 1, account_out_of_credit: 1, key_spent: 1 },
      },
    })
    expect((await upstream.control.stats()).requests).toBe(3)
  })

  test('for good, waiting is not recommended: 503 without Retry-After', async () => {
    await upstream.control.patchKey('alpha', { disabled: true })
    const gateway = await startGateway(upstream, { keys: ['alpha'] })
    const first = await gateway.chat({})
    expect(await codesOf(first)).toEqual({ status: 502, code: 502, reason: 'keys_exhausted' })
    await until(gateway.pool, (received) => keyOf(received, 'alpha').clearsAtMs === null)
    const second = await gateway.chat({})
    expect(await codesOf(second)).toEqual({ status: 503, code: 503, reason: 'no_key_available' })
    expect(second.headers.get('retry-after')).toBeNull()
    expect((await gateway.send('/healthz')).status).toBe(503)
  })

  test('by upstream’s fault, every request still gets through to it, and the first good answer too', async () => {
    const gateway = await startGateway(upstream, {
      policy: {
        strategy: 'round-robin',
        max_attempts: 1,
        breaker: { failures: 1, cooldown_s: 600 },
      },
    })
    await upstream.control.patchSettings({ outage: { fault: 'plain-502', params: {} } })
    // Several models, since the failures of one model with several keys would be that model's.
    for (let i = 0; i < 9; i += 1) {
      const model = ['openai/gpt-4o-mini', 'openai/gpt-4o', 'anthropic/claude-sonnet-4.5'][i % 3]
      expect((await gateway.chat({ model })).status).toBe(502)
    }
    expect((await upstream.control.stats()).requests).toBe(9)
    const pool = await gateway.settledPool()
    expect(pool).toMatchObject({ panic: true, usable: 3 })
    expect(pool.keys.map((key: KeySnapshot) => key.breaker)).toContain('open')
    await upstream.control.patchSettings({ outage: null })
    expect((await gateway.chat({})).status).toBe(200)
  })

  test('without a word, the app hears upstream_timeout and not a hang', async () => {
    const gateway = await startGateway(upstream, {
      policy: { strategy: 'priority', max_attempts: 3, timeouts: { headers_ms: 200 } },
    })
    const response = await gateway.chat({ model: 'sim/hang' })
    expect(await codesOf(response)).toEqual({ status: 504, code: 504, reason: 'upstream_timeout' })
    expect(journeyOf(response).attempts).toBe(3)
  })

  test('with pages of the edge, the app gets JSON: upstream_unreachable', async () => {
    const gateway = await startGateway(upstream)
    const response = await gateway.chat({ model: 'sim/html-503' })
    expect(response.headers.get('content-type')).toMatch(/^application\/json/)
    expect(await codesOf(response)).toEqual({
      status: 502,
      code: 502,
      reason: 'upstream_unreachable',
    })
  })
})

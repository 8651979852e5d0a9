import { describe, expect, it } from 'vitest'
import {
  ALPHA,
  BETA,
  DELTA,
  errorOf,
  eventsOf,
  SMALL_WORLD,
  serveSimulator,
} from './served-simulator.ts'

const { chat, control, get } = serveSimulator()

/** Faults that are one JSON error, with its status and the sign that identifies it. */
const ERRORS: readonly [fault: string, status: number, sign: RegExp][] = [
  ['401', 401, /"User not found\."/],
  ['key-limit', 403, /Key limit exceeded \(weekly limit\).*openrouter_key_limit/],
  ['key-limit-402', 402, /can only afford 1520.*openrouter_key_limit/],
  ['prompt-402', 402, /Prompt tokens limit exceeded: 65536 > 1520.*settings\/credits/],
  ['max-tokens-402', 402, /max_tokens limit exceeded: 65536 > 1520.*settings\/credits/],
  ['key-tokens-402', 402, /tokens limit exceeded: 65536 > 1520.*key with a higher monthly/],
  ['afford-402', 402, /can only afford 1520.*openrouter_credits/],
  ['in-flight-402', 402, /in_flight_budget_exhausted/],
  ['weight-402', 402, /weight_exceeds_budget/],
  ['credits-402', 402, /Insufficient credits\. Add more/],
  ['never-purchased-402', 402, /never purchased/],
  ['free-day-429', 429, /free-models-per-day\..*X-RateLimit-Reset":"\d{13}".*free_tier_daily/],
  ['free-minute-429', 429, /free-models-per-min\. .*free_tier_per_minute/],
  ['new-account-429', 429, /new-account-rpm\/.*openrouter_new_account/],
  ['provider-429', 429, /temporarily rate-limited upstream.*"is_byok":false/],
  ['byok-429', 429, /"is_byok":true/],
  ['plain-429', 429, /"Rate limit exceeded"/],
  ['provider-400', 400, /Provider returned error.*"provider_name":/],
  ['provider-401', 401, /invalid API key.*"provider_name":/],
  ['provider-502', 502, /"provider_name":.*provider_unavailable/],
  ['plain-500', 500, /Internal Server Error/],
  ['plain-502', 502, /Provider returned error/],
  ['plain-503', 503, /Service temporarily unavailable/],
  ['503-retry-after', 503, /Service temporarily unavailable/],
  ['408', 408, /Operation timed out/],
  ['504', 504, /"error_type":"timeout"/],
  ['524', 524, /"code":524/],
  ['529', 529, /"code":529/],
  ['moderation-403', 403, /"reasons":\["violence"\],"flagged_input"/],
  ['patterns-403', 403, /"patterns":\[/],
  ['content-policy-403', 403, /content_policy_violation/],
  ['refusal-403', 403, /"error_type":"refusal"/],
  ['harness-403', 403, /Gate Free Endpoints by Agentic Harness/],
  ['attestation-403', 403, /Gate Endpoints with Attestations/],
  ['region-403', 403, /is not available in your region/],
  ['management-403', 403, /Only management keys/],
  ['workspace-budget-403', 403, /Workspace monthly budget of \$500\.00 exceeded/],
  ['guardrail-404', 404, /Filter by Guardrails/],
  ['data-policy-404', 404, /Filter by Data Policy.*paid-model-training-violation-by-account/],
  ['parameters-404', 404, /Filter by Parameters/],
  ['model-404', 404, /No endpoints found for sim\/model-404\./],
  ['400', 400, /Invalid request parameters/],
  ['405', 405, /"code":405/],
  ['409', 409, /"code":409/],
  ['410', 410, /"code":410/],
  ['412', 412, /precondition_failed/],
  ['413', 413, /payload too large/],
  ['415', 415, /"code":415/],
  ['422', 422, /Invalid argument/],
]

/** Faults that are not OpenRouter's JSON. */
const RAW: readonly [fault: string, status: number, type: string | null, body: RegExp][] = [
  ['html-403', 403, 'text/html; charset=UTF-8', /^<!DOCTYPE html>/],
  ['html-429', 429, 'text/html; charset=UTF-8', /rate limited/],
  ['html-503', 503, 'text/html; charset=UTF-8', /Unavailable/],
  ['html-200', 200, 'text/html; charset=UTF-8', /^<!DOCTYPE html>/],
  ['garbage-json-200', 200, 'application/json', /"mess$/],
  ['empty-502', 502, null, /^$/],
  ['redirect', 302, null, /^$/],
]

/** Faults within a 200: the final body, as a stream and as a whole answer. */
const ENDED: readonly [fault: string, streamed: RegExp, whole: RegExp][] = [
  ['ok', /\[DONE\]\n\n$/, /"finish_reason":"stop"/],
  ['slow-headers?ms=30', /\[DONE\]\n\n$/, /"finish_reason":"stop"/],
  [
    'slow-first-token?ms=90&everyMs=20',
    /^(: OPENROUTER PROCESSING\n\n){5}data[\s\S]*\[DONE\]\n\n$/,
    /"finish_reason":"stop"/,
  ],
  ['end-without-done', /"finish_reason":null,"native_finish_reason":null}\]}\n\n$/, /[^}]$/],
  [
    'error-first-event',
    /^: [^\n]*\n\ndata: [^\n]*"error":\{"code":502[^\n]*\n\n$/,
    /^\{"id":[^{]*"error":/,
  ],
  ['role-then-error', /"content":"","role"[^\n]*\n\ndata: [^\n]*"error":[^\n]*\n\n$/, /"error":/],
  [
    'error-in-200',
    /^: [^\n]*\n\ndata: [^\n]*"error":\{"code":502[^\n]*\n\n$/,
    /^\{"id":[^{]*"error":/,
  ],
  [
    'error-mid-stream',
    /Grüße[\s\S]*"finish_reason":"error"[^\n]*"error":\{[^\n]*\n\ndata: \[DONE/,
    /"error":\{/,
  ],
  [
    'error-mid-stream-old',
    /Grüße[\s\S]*"finish_reason":null[^\n]*"error":\{"code":400[^\n]*"usage":\{[^\n]*\n\ndata: \[DONE/,
    /"code":400/,
  ],
  [
    'choice-error-in-200',
    /"choices":\[[^\n]*"error":\{[^\n]*\}\]\}\n\ndata: \[DONE/,
    /Grüße.*"error":\{/,
  ],
  [
    'finish-error',
    /"finish_reason":"error","native_finish_reason":"MALFORMED/,
    /MALFORMED_FUNCTION_CALL/,
  ],
  ['long-line?kilobytes=64', /ü{32768}/, /ü{32768}/],
  ['empty-answer', /"finish_reason":null[\s\S]*"completion_tokens":0/, /"content":""/],
  [
    'no-usage',
    /^(?![\s\S]*"usage")[\s\S]*"finish_reason":"stop"[\s\S]*DONE/,
    /^(?!.*"usage").*"finish_reason":"stop"/,
  ],
]

/** Faults whose connection breaks within a 200. */
const BROKEN = ['cut-before-output', 'cut-mid-stream']

/** It answers nothing: see listen.test.ts. */
const UNANSWERED = 'cut-before-headers'

/** Faults that fall silent. */
const SILENT = ['hang', 'hang-after-headers', 'comments-then-hang', 'stall']

const nameOf = (fault: string) => fault.replace(/\?.*/, '')

describe('the catalogue of faults', () => {
  it('is all in the tables below', async () => {
    const tables = [...ERRORS, ...RAW, ...ENDED].map(([fault]) => nameOf(fault))
    const tried = [...tables, ...BROKEN, ...SILENT, UNANSWERED].sort()
    expect(tried).toEqual((await control.faults()).sort())
  })

  it.each(ERRORS)('answers %s with %i', async (fault, status, sign) => {
    for (const stream of [false, true]) {
      const response = await chat({ model: `sim/${fault}`, stream })
      expect(response.status).toBe(status)
      const text = await response.text()
      expect(JSON.parse(text).error.code).toBe(status)
      expect(text).toMatch(sign)
    }
    expect((await control.stats()).perKey.alpha).toMatchObject({ failed: 2, lastError: fault })
  })

  it.each(RAW)('answers %s with %i and %s', async (fault, status, type, body) => {
    const response = await chat({ model: `sim/${fault}` })
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe(type)
    expect(await response.text()).toMatch(body)
  })

  it.each(ENDED)('ends %s as it should, streamed and whole', async (fault, streamed, whole) => {
    const stream = await chat({ model: `sim/${fault}`, stream: true })
    expect(stream.status).toBe(200)
    expect(await stream.text()).toMatch(streamed)
    const answer = await chat({ model: `sim/${fault}` })
    expect(answer.status).toBe(200)
    expect(await answer.text()).toMatch(whole)
    expect((await control.log()).map((entry) => entry.fault)).toEqual(Array(2).fill(nameOf(fault)))
  })

  it.each(BROKEN)('breaks the connection of %s', async (fault) => {
    for (const stream of [false, true]) {
      const response = await chat({ model: `sim/${fault}`, stream })
      expect(response.status).toBe(200)
      await expect(response.text()).rejects.toThrow()
    }
    expect((await control.stats()).perKey.alpha).toMatchObject({ failed: 2, openNow: 0 })
  })

  it.each(SILENT)('lets %s stay open until the world is reset', async (fault) => {
    const asked = chat({ model: `sim/${fault}`, stream: true }).then((response) => response.text())
    asked.catch(() => undefined)
    await control.waitFor(({ stats }) => stats.perKey.alpha?.openNow === 1)
    await control.reset()
    await Promise.allSettled([asked])
    expect(await control.stats()).toMatchObject({ openNow: 0, requests: 0 })
  })

  it('takes parameters: codes of either type, dates, resets, forms', async () => {
    const params = { code: 'server_error', message: 'gone', metadata: { a: 1 } }
    await control.rule({ fault: 'error-first-event', params })
    const [event] = await eventsOf(await chat({ stream: true }))
    expect(event.error).toEqual(params)

    await control.clearRules()
    await control.patchSettings({ nowMs: 1_000_000, rateLimitHeaders: 'both' })
    await control.rule({
      fault: 'plain-429',
      params: { retryAfter: 3, date: true, resetInMs: 500 },
    })
    const limited = await chat()
    expect(limited.headers.get('retry-after')).toBe(new Date(1_003_000).toUTCString())
    expect(limited.headers.get('x-ratelimit-reset')).toBe('1000500')
    expect((await errorOf(limited)).metadata.headers).toEqual({ 'X-RateLimit-Reset': '1000500' })

    await control.clearRules()
    const total = await errorOf(await chat({ model: 'sim/key-limit?form=total' }))
    expect(total.message).toMatch(/^Key limit exceeded \(total limit\)/)
  })
})

describe('where faults strike', () => {
  it('a model’s fault can be for one key alone', async () => {
    const model = 'sim/plain-500@beta'
    expect((await chat({ model })).status).toBe(200)
    expect((await chat({ model }, BETA)).status).toBe(500)
  })

  it('a rule strikes its matches, as often as it may', async () => {
    const id = await control.rule({ fault: '529', match: { account: 'acme' }, times: 2 })
    const statuses: number[] = []
    for (const headers of [ALPHA, DELTA, ALPHA, ALPHA])
      statuses.push((await chat({}, headers)).status)
    expect(statuses).toEqual([529, 200, 529, 200])
    await control.deleteRule(id)
    await control.rule({ fault: '401', match: { path: '/key', key: 'alpha' } })
    expect((await get('/api/v1/key', ALPHA)).status).toBe(401)
    expect((await chat()).status).toBe(200)
  })

  it('a rule’s probability is the same history for the same seed', async () => {
    const history = async () => {
      await control.reset({ ...SMALL_WORLD, settings: { seed: 7, tokensPerSecond: null } })
      await control.rule({ fault: 'plain-503', probability: 0.5 })
      const statuses: number[] = []
      for (let i = 0; i < 16; i += 1) statuses.push((await chat({ max_tokens: 1 })).status)
      return statuses
    }
    const first = await history()
    expect(new Set(first)).toEqual(new Set([200, 503]))
    expect(await history()).toEqual(first)
  })

  it('an outage is everywhere under /api', async () => {
    await control.patchSettings({ outage: { fault: 'html-503', params: {} } })
    expect((await chat()).status).toBe(503)
    expect((await get('/api/v1/key', ALPHA)).status).toBe(503)
    expect((await get('/api/v1/models')).status).toBe(503)
  })
})

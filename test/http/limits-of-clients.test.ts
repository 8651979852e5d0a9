import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ISOLATE_BYTES } from '../../src/gateway/byte-budget.ts'
import { MEMORY } from '../../src/http/composition-root.ts'
import { ANSWER, gatewayInFrontOf, json, withOwnPool } from './gateway-driver.ts'

const MODEL = 'vendor/model'
const MESSAGES = [{ role: 'user' as const, content: 'Hi' }]

/** One client for each kind of refusal, which the test's first request brings it to. */
const LIMITED = {
  rpm: { rpm: 1 },
  tpm: { tpm: 40 },
  'tpm-too-small': { tpm: 1 },
  rpd: { rpd: 1 },
  spent: { budget: { usd: 0.000001, period: 'day', mode: 'after' } },
  'spent-for-good': { budget: { usd: 0.000001, period: 'total', mode: 'after' } },
  strict: { budget: { usd: 100, period: 'month', strict: true } },
  grouped: { group: 'team' },
  'one-at-once': { max_concurrent: 1 },
  'also-one': { max_concurrent: 1 },
  frugal: {
    budget: { usd: 0.000001, period: 'day', mode: 'after', on_exceeded: 'fallback_model' },
  },
  restricted: { models: ['vendor/*'], budget: [{ usd: 2, period: 'month' }], group: 'small' },
} as const

type Name = keyof typeof LIMITED

const tokenOf = (name: string) => `sy-token-of-${name}`.padEnd(24, '0')

const CLIENT_KEYS = JSON.stringify({
  groups: [
    { id: 'team', rpm: 1 },
    { id: 'small', budget: { usd: 0.5, period: 'week' } },
  ],
  clients: Object.entries(LIMITED).map(([id, limits]) => ({ id, token: tokenOf(id), ...limits })),
})

const POLICY = { routes: [{ models: ['vendor/dear'], fallback_models: ['vendor/cheap'] }] }

type Upstream = Parameters<typeof gatewayInFrontOf>[0]

const answering: Upstream = ({ url }) =>
  json(url.endsWith('/messages') ? MESSAGE : { ...JSON.parse(ANSWER), usage: USAGE })

/** A gateway of its own for each test, so that nobody has used anything. */
function limitedGateway(upstream = answering) {
  const gateway = gatewayInFrontOf(upstream)
  const bindings = withOwnPool({ CLIENT_KEYS, POLICY })
  const send = (path: string, init: RequestInit = {}) => gateway.send(path, init, bindings)
  const fetcher: typeof fetch = async (input, init) => {
    const request = new Request(input as RequestInfo, init)
    const { pathname, search } = new URL(request.url)
    return await send(pathname + search, request as unknown as RequestInit)
  }
  return { ...gateway, send, fetcher }
}

const USAGE = { prompt_tokens: 10, completion_tokens: 30, total_tokens: 40, cost: 0.001 }

const MESSAGE = {
  id: 'gen-1700000000-abcdefghijklmnopqrst',
  type: 'message',
  role: 'assistant',
  model: MODEL,
  content: [{ type: 'text', text: 'Hi' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 1, output_tokens: 1, cost: 0.001 },
}

afterEach(() => void vi.restoreAllMocks())

describe('a request over a limit of its client', () => {
  const secondsOfDay = () => 86_400 - (Math.floor(Date.now() / 1000) % 86_400)
  const rate = (limit: string, max: number) => ({ reason: 'client_rate_limited', limit, max })
  const cases: readonly {
    readonly name: Name
    readonly status: number
    readonly metadata: object
    /** At most so many seconds; null for no header. */
    readonly retryAfter: () => number | null
    readonly logged: object
  }[] = [
    {
      name: 'rpm',
      status: 429,
      metadata: { ...rate('rpm', 1), remaining: 0, limited: 'client:rpm' },
      retryAfter: () => 60,
      logged: { limited: 'client:rpm', limit: 'rpm' },
    },
    {
      name: 'tpm',
      status: 429,
      metadata: { ...rate('tpm', 40), limited: 'client:tpm' },
      retryAfter: () => 60,
      logged: { limited: 'client:tpm', limit: 'tpm' },
    },
    {
      name: 'tpm-too-small',
      status: 429,
      metadata: { ...rate('tpm', 1), remaining: 1 },
      retryAfter: () => null,
      logged: { limited: 'client:tpm-too-small', limit: 'tpm' },
    },
    {
      name: 'rpd',
      status: 429,
      metadata: { ...rate('rpd', 1), remaining: 0 },
      retryAfter: secondsOfDay,
      logged: { limited: 'client:rpd', limit: 'rpd' },
    },
    {
      name: 'grouped',
      status: 429,
      metadata: { ...rate('rpm', 1), limited: 'group:team' },
      retryAfter: () => 60,
      logged: { limited: 'group:team', limit: 'rpm' },
    },
    {
      name: 'spent',
      status: 402,
      metadata: {
        ...{ reason: 'budget_exceeded', limited: 'client:spent', period: 'day', limit: 0.000001 },
        ...{ spent: 0.001, reserved: 0, resets_at: expect.stringMatching(/T00:00:00.000Z$/) },
      },
      retryAfter: secondsOfDay,
      logged: { limited: 'client:spent', limit: 'budget', period: 'day' },
    },
    {
      name: 'spent-for-good',
      status: 402,
      metadata: { reason: 'budget_exceeded', period: 'total', limit: 0.000001, spent: 0.001 },
      retryAfter: () => null,
      logged: { limited: 'client:spent-for-good', limit: 'budget', period: 'total' },
    },
    {
      name: 'strict',
      status: 402,
      metadata: { reason: 'budget_unpriceable', limited: 'client:strict' },
      retryAfter: () => null,
      logged: { limited: 'client:strict', limit: 'budget' },
    },
  ]

  it.each(cases)('$name: OpenAI’s and Anthropic’s own clients read why', async (one) => {
    const { name, status, metadata } = one
    const { fetcher, received } = limitedGateway()
    const lines = vi.spyOn(console, 'log').mockImplementation(() => undefined)
    const options = { fetch: fetcher, maxRetries: 0, apiKey: tokenOf(name) }
    const openai = new OpenAI({ ...options, baseURL: 'https://gateway.example/api/v1' })
    const anthropic = new Anthropic({ ...options, baseURL: 'https://gateway.example/api' })
    const chat = () =>
      openai.chat.completions.create({ model: MODEL, messages: MESSAGES, max_tokens: 30 })
    // It brings the client to its limit, if it is not above it from the beginning.
    await chat().catch(() => undefined)
    const calls = received.length
    const refused = await chat().catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(OpenAI.APIError)
    expect(refused).toMatchObject({ status, error: { code: status, metadata } })
    expectHeaders((refused as InstanceType<typeof OpenAI.APIError>).headers, one)
    const message = await anthropic.messages
      .create({ model: MODEL, messages: MESSAGES, max_tokens: 30 })
      .catch((error: unknown) => error)
    expect(message).toBeInstanceOf(status === 429 ? Anthropic.RateLimitError : Anthropic.APIError)
    expect(message).toMatchObject({
      status,
      error: { type: 'error', error: { type: TYPES[status], metadata } },
    })
    expectHeaders((message as InstanceType<typeof Anthropic.APIError>).headers, one)
    expect(received).toHaveLength(calls)
    const last = lines.mock.calls.map(([line]) => JSON.parse(line)).at(-1)
    expect(last).toMatchObject({ client: name, status, ...one.logged })
  })

  const TYPES: Readonly<Record<number, string>> = { 402: 'billing_error', 429: 'rate_limit_error' }

  function expectHeaders(headers: Headers | undefined, one: (typeof cases)[number]): void {
    const retryAfter = headers?.get('retry-after') ?? null
    const most = one.retryAfter()
    if (most === null) expect(retryAfter).toBeNull()
    else expect(Math.abs(Number(retryAfter) - most + 2)).toBeLessThanOrEqual(5)
    if (one.status !== 429) return
    const { max } = one.metadata as { max: number }
    expect(headers?.get('x-ratelimit-limit')).toBe(String(max))
    expect(Number(headers?.get('x-ratelimit-remaining'))).toBeLessThanOrEqual(max)
    const reset = headers?.get('x-ratelimit-reset') ?? null
    expect(reset === null).toBe(most === null)
    if (most !== null) expect(Number(reset)).toBeGreaterThan(Date.now())
  }
})

it('both clients wait as long as they are told to, and then get their answer', async () => {
  const held = Promise.withResolvers<void>()
  let calls = 0
  const { fetcher } = limitedGateway(async (request) => {
    calls += 1
    if (calls <= 2) await held.promise
    return await answering(request)
  })
  const openai = new OpenAI({
    ...{ fetch: fetcher, maxRetries: 1, apiKey: tokenOf('one-at-once') },
    baseURL: 'https://gateway.example/api/v1',
  })
  const anthropic = new Anthropic({
    ...{ fetch: fetcher, maxRetries: 1, apiKey: tokenOf('also-one') },
    baseURL: 'https://gateway.example',
  })
  const both = () => [
    openai.chat.completions.create({ model: MODEL, messages: MESSAGES }),
    anthropic.messages.create({ model: MODEL, messages: MESSAGES, max_tokens: 30 }),
  ]
  const first = both()
  while (calls < 2) await new Promise((resolve) => void setTimeout(resolve, 5))
  const beganMs = Date.now()
  const second = both()
  setTimeout(held.resolve, 300)
  expect((await Promise.all([...first, ...second])).every(({ id }) => id !== '')).toBe(true)
  expect(Date.now() - beganMs).toBeGreaterThanOrEqual(950)
})

it('a budget that is spent sends its client’s requests to the fallback model', async () => {
  vi.spyOn(console, 'log').mockImplementation(() => undefined)
  const { send, received } = limitedGateway()
  const ask = () =>
    send('/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf('frugal')}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'vendor/dear', messages: MESSAGES }),
    })
  expect((await ask()).headers.get('x-switchyard-model')).toBeNull()
  const second = await ask()
  expect([second.status, second.headers.get('x-switchyard-model')]).toEqual([200, 'vendor/cheap'])
  const chats = received.filter(({ url }) => url.endsWith('/chat/completions'))
  const models = chats.map(({ body }) => JSON.parse(new TextDecoder().decode(body)).model)
  expect(models).toEqual(['vendor/dear', 'vendor/cheap'])
})

it('GET key shows the tightest of a client’s budgets, and what was spent', async () => {
  const { send } = limitedGateway()
  const headers = { authorization: `Bearer ${tokenOf('restricted')}` }
  const body = JSON.stringify({ model: MODEL, messages: MESSAGES })
  const json = { ...headers, 'content-type': 'application/json' }
  expect((await send('/v1/chat/completions', { method: 'POST', headers: json, body })).status).toBe(
    200,
  )
  for (const path of ['/api/v1/key', '/v1/auth/key']) {
    expect(await (await send(path, { headers })).json()).toMatchObject({
      data: {
        ...{ label: 'restricted', limit: 0.5, limit_remaining: 0.499, limit_reset: 'weekly' },
        ...{ usage: 0.001, usage_daily: 0.001, usage_weekly: 0.001, usage_monthly: 0.001 },
      },
    })
  }
})

describe('GET models', () => {
  const LIST = {
    data: [{ id: 'vendor/a' }, { id: 'other/b' }, { id: 'x/c', canonical_slug: 'vendor/c-1' }],
  }
  const headers = { authorization: `Bearer ${tokenOf('restricted')}` }
  const idsOf = async (response: Response) =>
    ((await response.json()) as typeof LIST).data.map(({ id }) => id)

  it('shows a client what it may use, and all of it on demand; its list is cut once for many', async () => {
    const { send } = limitedGateway(({ url }) => (url.includes('/models') ? json(LIST) : json({})))
    const cuts = vi.spyOn(JSON, 'parse')
    expect(await idsOf(await send('/api/v1/models', { headers }))).toEqual(['vendor/a', 'x/c'])
    const before = cuts.mock.calls.filter(([text]) => text.includes('other/b')).length
    const again = await send('/api/v1/models', { headers })
    expect(again.headers.get('cache-control')).toBe('private, no-store')
    expect(await idsOf(again)).toEqual(['vendor/a', 'x/c'])
    expect(cuts.mock.calls.filter(([text]) => text.includes('other/b'))).toHaveLength(before)
    expect(await idsOf(await send('/api/v1/models?all=true', { headers }))).toHaveLength(3)
    const other = { authorization: `Bearer ${tokenOf('rpm')}` }
    expect(await idsOf(await send('/api/v1/models', { headers: other }))).toHaveLength(3)
  })

  it('counts what it shows, unless there are more pages', async () => {
    const counts: unknown[] = []
    for (const total of [3, 900]) {
      const { send } = limitedGateway(() => json({ ...LIST, total_count: total }))
      const response = await send(`/api/v1/models?limit=${total}`, { headers })
      counts.push((await response.json<{ total_count: number }>()).total_count)
    }
    expect(counts).toEqual([2, 900])
  })

  it('is refused while the isolate has no room for the list', async () => {
    const { send } = limitedGateway(() =>
      json({ data: [{ id: 'vendor/large', more: 'x'.repeat(100_000) }] }),
    )
    expect((await send('/v1/models?output_modalities=text')).status).toBe(200)
    const full = MEMORY.open()
    full.grow(ISOLATE_BYTES)
    const response = await send('/v1/models?output_modalities=text', { headers })
    full.release()
    expect([response.status, response.headers.get('retry-after')]).toEqual([
      503,
      expect.any(String),
    ])
  })
})

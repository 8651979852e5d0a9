import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterEach, describe, expect, it, vi } from 'vitest'
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
} as const

type Name = keyof typeof LIMITED

const tokenOf = (name: string) => `sy-token-of-${name}`.padEnd(24, '0')

const CLIENT_KEYS = JSON.stringify({
  groups: [{ id: 'team', rpm: 1 }],
  clients: Object.entries(LIMITED).map(([id, limits]) => ({ id, token: tokenOf(id), ...limits })),
})

/** A gateway of its own for each test, so that nobody has used anything. */
function limitedGateway() {
  const gateway = gatewayInFrontOf(({ url }) =>
    url.endsWith('/messages') ? json(MESSAGE) : json(JSON.parse(ANSWER)),
  )
  const bindings = withOwnPool({ CLIENT_KEYS })
  const send = (path: string, init: RequestInit = {}) => gateway.send(path, init, bindings)
  const fetcher: typeof fetch = async (input, init) => {
    const request = new Request(input as RequestInfo, init)
    const { pathname, search } = new URL(request.url)
    return await send(pathname + search, request as unknown as RequestInit)
  }
  return { ...gateway, send, fetcher }
}

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
      retryAfter: () => 61,
      logged: { limited: 'client:rpm', limit: 'rpm' },
    },
    {
      name: 'tpm',
      status: 429,
      metadata: { ...rate('tpm', 40), limited: 'client:tpm' },
      retryAfter: () => 61,
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
      retryAfter: () => 61,
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

import { afterEach, describe, expect, it, vi } from 'vitest'
import { MEMORY } from '../../src/http/composition-root.ts'
import { RETURNED_NAMES } from '../../src/openrouter/headers.ts'
import { ANSWER, chat, gatewayInFrontOf, json, reasonOf, TOKEN } from './gateway-driver.ts'

// Whatever became of a request, a bug of ours included, it holds nothing of the isolate's memory.
afterEach(() => expect(MEMORY.heldBytes()).toBe(0))

const never = () => {
  throw new Error('Upstream was called')
}

afterEach(() => void vi.restoreAllMocks())

describe('what is not served', () => {
  it.each([
    ['GET', '/'],
    ['GET', '/api/v1/chat/completions'],
    ['GET', '/api/v1/keys'],
    ['POST', '/api/v1/keys'],
    ['DELETE', '/api/v1/keys/abc'],
    ['GET', '/api/v1/credits'],
    ['GET', '/api/v1/activity'],
    ['GET', '/v1/guardrails'],
    ['GET', '/v1/workspaces'],
    ['POST', '/api/v1/auth/keys'],
    ['POST', '/api/v1/models'],
    ['POST', '/api/v1/chat/completions/extra'],
    ['POST', '/api/v1/chat%2Fcompletions'],
    ['POST', '/api/v1/../v1/keys'],
    ['GET', '/v1/models/../keys'],
    ['GET', '/v1/models/%2e%2e/keys'],
    ['GET', '/v1/models/..%2Fkeys'],
    ['GET', '/v1/models/..%5ckeys'],
    ['GET', '/v1/generation?id=gen-1'],
    ['GET', '/admin'],
    ['GET', '/metrics'],
    ['GET', '/control/log'],
  ])('%s %s is a 404 in OpenRouter’s shape and goes nowhere', async (method, path) => {
    const { send, received } = gatewayInFrontOf(never)
    const response = await send(path, {
      ...chat(),
      method,
      ...(method === 'POST' ? {} : { body: null }),
    })
    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await reasonOf(response)).toBe('not_found')
    expect(received).toEqual([])
  })
})

describe('a path with a mistake in it', () => {
  const BASE =
    "The base URL of this gateway is https://gateway.example/api/v1; for Anthropic's SDK it is https://gateway.example/api."

  it.each([
    ['POST', '/chat/completions', 'POST https://gateway.example/api/v1/chat/completions'],
    ['POST', '/v1/v1/messages', 'POST https://gateway.example/api/v1/messages'],
    ['POST', '/api/v1/v1/messages', 'POST https://gateway.example/api/v1/messages'],
    ['POST', '/api/v1/api/v1/responses', 'POST https://gateway.example/api/v1/responses'],
    ['POST', '/api/chat/completions', 'POST https://gateway.example/api/v1/chat/completions'],
    ['POST', '/api/v1/Chat/Completions/', 'POST https://gateway.example/api/v1/chat/completions'],
    ['GET', '/models', 'GET https://gateway.example/api/v1/models'],
    ['GET', '/v1/v1/models/vendor/model/endpoints', 'GET https://gateway.example/api/v1/models/'],
  ])('%s %s is told the right one, and the base URL', async (method, path, right) => {
    const { send } = gatewayInFrontOf(never)
    const response = await send(path, {
      ...chat(),
      method,
      ...(method === 'POST' ? {} : { body: null }),
    })
    expect(response.status).toBe(404)
    const { error } = await response.json<{ error: { message: string } }>()
    expect(error.message).toContain(right)
    expect(error.message).toContain(BASE)
  })

  it.each([
    ['GET', '/api/v1/chat/completions', 'with POST only'],
    ['DELETE', '/v1/models', 'with GET only'],
    ['GET', '/api/v1/keys', 'managed at OpenRouter itself'],
    ['GET', '/', BASE],
    ['GET', '/favicon.ico', BASE],
  ])('%s %s is told what is wrong', async (method, path, told) => {
    const { send } = gatewayInFrontOf(never)
    const { error } = await (await send(path, { method })).json<{ error: { message: string } }>()
    expect(error.message).toContain(told)
  })
})

describe('HEAD', () => {
  it.each([
    '/healthz',
    '/v1/models?head',
    '/api/v1/key',
    '/v1/generation',
    '/v1/keys',
    '/v1/chat/completions',
  ])('of %s answers as GET does, without a body', async (path) => {
    const { send } = gatewayInFrontOf(() => json({ data: [] }))
    const headers = { authorization: `Bearer ${TOKEN}` }
    const got = await send(path, { headers })
    const head = await send(path, { method: 'HEAD', headers })
    expect(head.status).toBe(got.status)
    expect(head.headers.get('content-type')).toBe(got.headers.get('content-type'))
    expect(await head.text()).toBe('')
  })
})

describe('a refused request', () => {
  it.each<[string, string, RequestInit, object]>([
    [
      '401',
      '/v1/chat/completions',
      chat({ headers: { authorization: 'Bearer guess' } }),
      { status: 401, reason: 'unauthorized' },
    ],
    [
      '400',
      '/v1/chat/completions',
      chat({ body: '{' }),
      { status: 400, reason: 'invalid_request', client: 'tester' },
    ],
    [
      '404',
      '/v1/keys/sk-or-v1-forgotten',
      {},
      { status: 404, reason: 'not_found', path: '/v1/keys/sk-or-…' },
    ],
    [
      '415',
      '/v1/chat/completions',
      chat({ headers: { authorization: `Bearer ${TOKEN}`, 'content-encoding': 'gzip' } }),
      { status: 415, reason: 'unsupported_encoding' },
    ],
  ])('with %s has one line in the log, which says why', async (_, path, init, line) => {
    const lines = vi.spyOn(console, 'log').mockImplementation(() => undefined)
    const { send } = gatewayInFrontOf(never)
    await send(path, init)
    expect(lines).toHaveBeenCalledTimes(1)
    const text = String(lines.mock.calls[0]?.[0])
    expect(JSON.parse(text)).toMatchObject({ message: 'request', outcome: 'refused', ...line })
    expect(text).not.toContain('guess')
  })

  it('of any length has a short line', async () => {
    const lines = vi.spyOn(console, 'log').mockImplementation(() => undefined)
    const { send } = gatewayInFrontOf(never)
    await send(`/v1/${'x'.repeat(10_000)}`)
    expect(String(lines.mock.calls[0]?.[0]).length).toBeLessThan(400)
  })

  it('is logged once, and so is a list that was served', async () => {
    const lines = vi.spyOn(console, 'log').mockImplementation(() => undefined)
    const { send } = gatewayInFrontOf(() => json({ data: [] }))
    await send('/v1/providers?logged')
    await send('/v1/models/user')
    await send('/v1/generation?id=')
    const statuses = lines.mock.calls.map(([text]) => JSON.parse(String(text)).status)
    expect(statuses).toEqual([200, 404, 401])
  })
})

describe('a faulty configuration', () => {
  const faulty = { POLICY: { strategy: 'best', typo: 1 }, OPENROUTER_KEYS: 'sk-proj-nonsense' }

  it('answers 500 to everything, and its faults stand in the log, all and once', async () => {
    const lines = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const { send } = gatewayInFrontOf(never)
    for (const path of ['/v1/models', '/v1/key', '/nowhere']) {
      const response = await send(path, {}, faulty)
      expect(response.status).toBe(500)
      const text = await response.clone().text()
      expect(text).not.toContain('nonsense')
      expect(await reasonOf(response)).toBe('gateway_misconfigured')
    }
    expect((await send('/v1/chat/completions', chat(), faulty)).status).toBe(500)
    expect(lines).toHaveBeenCalledTimes(1)
    const [first] = lines.mock.calls
    expect(JSON.parse(String(first?.[0]))).toEqual({
      message: 'gateway_misconfigured',
      faults: [
        expect.stringMatching(/^POLICY\.strategy: /),
        expect.stringMatching(/^POLICY\.typo: unknown field; /),
        expect.stringMatching(/^OPENROUTER_KEYS\[0\]\.key: /),
      ],
    })
    expect(JSON.stringify(lines.mock.calls)).not.toContain('nonsense')
  })

  it('is not well: a monitor of /healthz sees it', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const { send } = gatewayInFrontOf(never)
    const response = await send('/healthz', {}, { ...faulty })
    expect(response.status).toBe(503)
    expect(await response.json()).toEqual({
      status: 'misconfigured',
      keys_usable: 0,
      keys_total: 0,
    })
  })

  it('is logged again while requests come, at most once a minute', async () => {
    const lines = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    let nowMs = Date.now()
    const { send } = gatewayInFrontOf(never, { nowMs: () => nowMs })
    const bindings = { ...faulty }
    const countAfter = async (ms: number) => {
      nowMs += ms
      await send('/v1/models', {}, bindings)
      await send('/healthz', {}, bindings)
      return lines.mock.calls.length
    }
    expect(await countAfter(0)).toBe(1)
    expect(await countAfter(59_999)).toBe(1)
    expect(await countAfter(1)).toBe(2)
    expect(await countAfter(59_999)).toBe(2)
    expect(await countAfter(3_600_000)).toBe(3)
    expect(new Set(lines.mock.calls.map(([line]) => line)).size).toBe(1)
  })

  it('is one that lets nobody in: no client key, and no anonymous callers', async () => {
    const lines = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const { send } = gatewayInFrontOf(never)
    const bindings = { CLIENT_KEYS: undefined }
    const response = await send('/v1/chat/completions', chat(), bindings)
    expect(response.status).toBe(500)
    expect(await reasonOf(response)).toBe('gateway_misconfigured')
    expect((await send('/healthz', {}, bindings)).status).toBe(503)
    expect(lines).toHaveBeenCalledTimes(1)
    expect(String(lines.mock.calls[0]?.[0])).toMatch(/CLIENT_KEYS: no client key is configured/)
  })
})

describe('every answer', () => {
  it('names its request, with the caller’s name for it if it has one', async () => {
    const { send } = gatewayInFrontOf(never)
    expect((await send('/nowhere')).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    const named = await send('/nowhere', { headers: { 'x-request-id': 'my-request-1' } })
    expect(named.headers.get('x-request-id')).toBe('my-request-1')
    const forged = await send('/nowhere', { headers: { 'x-request-id': 'a b"c' } })
    expect(forged.headers.get('x-request-id')).not.toBe('a b"c')
  })

  it('may be read by pages of any origin, without credentials', async () => {
    const { send } = gatewayInFrontOf(
      () => new Response(ANSWER, { headers: { 'content-type': 'application/json' } }),
    )
    const response = await send('/v1/chat/completions', chat())
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    expect(response.headers.has('access-control-allow-credentials')).toBe(false)
    const preflight = await send('/v1/chat/completions', {
      method: 'OPTIONS',
      headers: {
        origin: 'https://app.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*')
    // Files are deleted, too.
    expect(preflight.headers.get('access-control-allow-methods')).toBe('GET,HEAD,POST,DELETE')
    expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization')
  })

  it('shows pages of other origins all the headers that it has', async () => {
    const upstreamHeaders = {
      'content-type': 'application/json',
      'x-generation-id': 'gen-1',
      'x-provider-name': 'Acme',
      'x-ratelimit-limit': '20',
      'x-ratelimit-remaining': '19',
      'x-ratelimit-reset': '1',
      'x-openrouter-cache-status': 'HIT',
      'x-openrouter-cache-age': '1',
      'x-openrouter-cache-ttl': '9',
      'retry-after': '1',
      ...Object.fromEntries(RETURNED_NAMES.map((name) => [name, '1'])),
    }
    const { send } = gatewayInFrontOf(() => new Response(ANSWER, { headers: upstreamHeaders }))
    const answers = [
      await send('/v1/chat/completions', chat()),
      await send('/v1/providers?exposed'),
      await send('/v1/chat/completions', chat({ headers: {} })),
    ]
    // https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name
    const safe = [
      'cache-control',
      'content-language',
      'content-length',
      'content-type',
      'expires',
      'last-modified',
      'pragma',
    ]
    for (const { headers } of answers) {
      const exposed = (headers.get('access-control-expose-headers') ?? '').split(/,\s*/)
      expect(exposed).toContain('*')
      const hidden = [...headers.keys()].filter(
        (name) =>
          !(safe.includes(name) || exposed.includes(name) || name.startsWith('access-control-')),
      )
      expect(hidden).toEqual([])
    }
    expect(answers[0]?.headers.get('x-provider-name')).toBe('1')
  })

  it('to a bug of ours is a 500 that shows nothing of it, while the log does', async () => {
    const lines = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const { send } = gatewayInFrontOf(never, {
      uniqueId() {
        throw new Error('a bug in some module')
      },
    })
    const response = await send('/v1/chat/completions', chat())
    expect(response.status).toBe(500)
    expect(await response.clone().text()).not.toContain('a bug')
    expect(await reasonOf(response)).toBe('internal_error')
    expect(JSON.stringify(lines.mock.calls)).toContain('a bug in some module')
  })

  const bug = (): never => {
    throw new Error('a bug in some module')
  }
  it.each([
    ['before its journey', { timer: bug }],
    ['in its journey', { uniqueId: bug }],
    ['in its journey, after an attempt', { random: bug }],
  ])('to a bug of ours %s has one line in the log', async (_, changes) => {
    const lines = vi.spyOn(console, 'log').mockImplementation(() => undefined)
    const bugs = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const error = { code: 500, message: 'No' }
    const { send } = gatewayInFrontOf(() => json({ error }, { status: 500 }), changes)
    expect((await send('/v1/chat/completions', chat())).status).toBe(500)
    const logged = lines.mock.calls.map(([text]) => JSON.parse(String(text)))
    expect(logged).toMatchObject([{ message: 'request', status: 500, reason: 'internal_error' }])
    expect(bugs).toHaveBeenCalled()
  })
})

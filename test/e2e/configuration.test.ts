import { describe, expect, test } from 'vitest'
import {
  errorOf,
  journeyOf,
  keyOf,
  MESSAGES,
  MODEL,
  secretOf,
  startGateway,
  TOKEN,
  useGateway,
  useSimulator,
} from './harness.ts'
import { useRecorder } from './recorder.ts'

const upstream = useSimulator()

describe('a faulty configuration', () => {
  const gateway = useGateway(upstream, {
    policy: {
      stratgy: 'priority',
      max_attempts: 99,
      breaker: { failures: 0, colour: 'red' },
      timeouts: { idle_ms: '60s' },
    },
    vars: { UPSTREAM_URL: 'http://openrouter.example/api/v1', ANONYMOUS_CLIENTS: 'maybe' },
    secrets: {
      OPENROUTER_KEYS: `hunter2-is-no-key, ${secretOf('alpha')}`,
      OPENROUTER_KEY_2: secretOf('alpha'),
      CLIENT_KEYS: 'forgotten-colon-hunter3',
    },
  })

  test('answers 500 gateway_misconfigured to every request, and says no more to strangers', async () => {
    for (const [method, path] of [
      ['POST', '/api/v1/chat/completions'],
      ['POST', '/v1/chat/completions'],
      ['GET', '/v1/models'],
      ['GET', '/nowhere'],
    ] as const) {
      const response = await gateway().send(path, { method })
      expect(response.status).toBe(500)
      const error = await errorOf(response)
      expect(error).toMatchObject({
        code: 500,
        metadata: { source: 'switchyard', reason: 'gateway_misconfigured' },
      })
      expect(JSON.stringify(error)).not.toMatch(/hunter|simulated-|POLICY|KEYS/)
    }
    expect(await upstream.control.log()).toEqual([])
  })

  test('logs every fault at once, by field, once a minute, without a part of any secret', async () => {
    for (let i = 0; i < 3; i += 1) await gateway().chat({})
    const lines = gateway()
      .logs()
      .filter(({ text }) => text.includes('"message":"gateway_misconfigured"'))
    expect(lines).toHaveLength(1)
    expect(lines[0]?.level).toBe('error')
    const { faults } = JSON.parse(lines[0]?.text ?? '{}')
    const fields = faults.map((fault: string) => fault.slice(0, fault.indexOf(':'))).sort()
    expect(fields).toEqual(
      [
        'ANONYMOUS_CLIENTS',
        'CLIENT_KEYS[0]',
        'OPENROUTER_KEYS[0].key',
        'OPENROUTER_KEY_2[0]',
        'POLICY.breaker.colour',
        'POLICY.breaker.failures',
        'POLICY.max_attempts',
        'POLICY.stratgy',
        'POLICY.timeouts.idle_ms',
        'UPSTREAM_URL',
      ].sort(),
    )
    expect(JSON.stringify(gateway().logs())).not.toMatch(/hunter|simulated-alpha/)
  })

  test('such as no keys at all is said as such', async () => {
    const keyless = await startGateway(upstream, { secrets: { OPENROUTER_KEYS: '' } })
    expect((await keyless.chat({})).status).toBe(500)
    expect(keyless.logs().map(({ text }) => text)).toContainEqual(
      expect.stringContaining('OPENROUTER_KEYS'),
    )
  })
})

test('keys of all secrets of that name are joined, and named by their hash where they have no id', async () => {
  const gateway = await startGateway(upstream, {
    policy: { strategy: 'round-robin' },
    secrets: {
      OPENROUTER_KEYS: secretOf('alpha'),
      OPENROUTER_KEY_2: secretOf('gamma'),
      OPENROUTER_KEYS_EU: `${secretOf('delta')}\n${secretOf('beta')}`,
    },
  })
  const names = new Set()
  for (let i = 0; i < 4; i += 1) names.add(journeyOf(await gateway.chat({})).key)
  expect(names.size).toBe(4)
  for (const name of names) expect(name).toMatch(/^key-[0-9a-f]{8}$/)
  const { perKey } = await upstream.control.stats()
  expect(Object.values(perKey).map(({ requests }) => requests)).toEqual([1, 1, 1, 1])
})

describe('callers without a client key', () => {
  const anonymously = (origin: string) =>
    fetch(`${origin}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ model: MODEL, messages: MESSAGES }),
    })

  test('are let in where ANONYMOUS_CLIENTS is "allow" and no client keys are set', async () => {
    const gateway = await startGateway(upstream, {
      vars: { ANONYMOUS_CLIENTS: 'allow' },
      secrets: { CLIENT_KEYS: '' },
    })
    expect((await anonymously(gateway.origin)).status).toBe(200)
  })

  test('are not where client keys are set', async () => {
    const gateway = await startGateway(upstream, { vars: { ANONYMOUS_CLIENTS: 'allow' } })
    expect((await anonymously(gateway.origin)).status).toBe(401)
    expect((await gateway.chat({})).status).toBe(200)
  })

  test('are not by default; where nobody else could call either, that is a fault', async () => {
    const gateway = await startGateway(upstream, { secrets: { CLIENT_KEYS: '' } })
    expect((await anonymously(gateway.origin)).status).toBe(500)
    expect((await gateway.send('/healthz')).status).toBe(503)
    expect(gateway.logs().map(({ text }) => text)).toContainEqual(
      expect.stringContaining('CLIENT_KEYS: no client key is configured, so nobody can call'),
    )
  })
})

test('a POLICY that is a JSON text does as well as a table', async () => {
  const gateway = await startGateway(upstream, {
    vars: { POLICY: JSON.stringify({ strategy: 'priority', max_attempts: 1 }) },
  })
  const response = await gateway.chat({ model: 'sim/401@alpha' })
  expect(response.status).toBe(502)
  expect(journeyOf(response).attempts).toBe(1)
  expect(keyOf(await gateway.settledPool(), 'gamma').total.attempts).toBe(0)
})

describe('headers', () => {
  const recorder = useRecorder()
  const gateway = useGateway(upstream, () => ({ vars: { UPSTREAM_URL: recorder.url() } }))
  const ALLOWED = {
    'content-type': 'application/json; charset=utf-8',
    accept: 'application/json',
    'http-referer': 'https://app.example',
    'x-title': 'An app',
    'x-openrouter-cache': 'true',
    'x-session-id': 'session-1',
    'anthropic-version': '2023-06-01',
    'anthropic-beta': 'tools',
    'x-anthropic-beta': 'tools',
    'user-agent': 'app/1.0',
  }
  const NOT_ALLOWED = {
    'x-api-key': 'sy-another',
    cookie: 'session=caller',
    'cf-connecting-ip': '203.0.113.7',
    'cf-ipcountry': 'XX',
    'x-forwarded-for': '203.0.113.7',
    'x-forwarded-host': 'internal.example',
    'x-real-ip': '203.0.113.7',
    forwarded: 'for=203.0.113.7',
    'proxy-authorization': 'Basic YTpi',
    'x-stainless-os': 'Linux',
    'x-anything-else': '1',
    origin: 'https://app.example',
    referer: 'https://app.example/secret-path',
  }
  /** Headers that the runtime itself adds to every request. */
  const OF_THE_RUNTIME =
    /^(host|connection|content-length|accept-(encoding|language)|sec-fetch-mode|cf-(worker|ray|ew-via)|cdn-loop|transfer-encoding)$/

  test('go upstream only if they are on the list, with the key’s credential in place of the caller’s', async () => {
    const response = await gateway().chat({}, { ...ALLOWED, ...NOT_ALLOWED })
    expect(response.status).toBe(200)
    // Any key may serve: a request for OpenRouter's response cache goes to the key of its affinity.
    const { key } = journeyOf(response)
    const [request] = recorder.requests
    expect(request?.headers).toMatchObject({
      ...ALLOWED,
      authorization: `Bearer sk-or-v1-simulated-${key}`,
      'accept-encoding': 'identity',
    })
    const names = Object.keys(request?.headers ?? {})
    const unexpected = names.filter(
      (name) => !(name in ALLOWED || name === 'authorization' || OF_THE_RUNTIME.test(name)),
    )
    expect(unexpected).toEqual([])
    expect(JSON.stringify(request?.rawHeaders)).not.toMatch(/203\.0\.113\.7|caller|another/)
    expect(JSON.stringify(request?.rawHeaders)).not.toContain(TOKEN)
  })

  test('come back only if they are on the list', async () => {
    const { headers } = await gateway().chat({})
    expect(headers.get('x-ratelimit-remaining')).toBe('9')
    expect(headers.get('x-openrouter-cache-status')).toBe('MISS')
    expect(headers.get('set-cookie')).toBeNull()
    expect(headers.get('x-internal-node')).toBeNull()
  })

  test('of a request for the catalogue carry no credential at all', async () => {
    const response = await gateway().send('/v1/models', {
      headers: { cookie: 'session=caller', 'x-api-key': 'sy-another' },
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('set-cookie')).toBeNull()
    const [request] = recorder.requests
    expect(request?.url).toBe('/api/v1/models')
    for (const name of ['authorization', 'x-api-key', 'cookie']) {
      expect(request?.headers).not.toHaveProperty(name)
    }
  })

  test('of a redirect lead nowhere: the key is not carried to another host', async () => {
    const gateway = await startGateway(upstream, { keys: ['alpha'] })
    const response = await gateway.chat({ model: 'sim/redirect' })
    expect(response.status).toBe(502)
    expect(response.headers.get('location')).toBeNull()
  })
})

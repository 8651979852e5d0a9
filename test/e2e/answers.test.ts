import { describe, expect, test } from 'vitest'
import { errorOf, journeyOf, MESSAGES, MODEL, TOKEN, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream, { policy: { strategy: 'round-robin' } })

const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}

describe('OpenAI’s client', () => {
  test.each(['/api/v1', '/v1'])('gets a whole answer under %s', async (path) => {
    const answer = await gateway()
      .client({ path })
      .chat.completions.create({ model: MODEL, messages: MESSAGES })
    expect(answer.choices[0]?.message.content).toMatch(/You said: Wie geht’s\?$/)
    expect(answer.choices[0]?.finish_reason).toBe('stop')
    expect(answer.usage?.completion_tokens).toBeGreaterThan(0)
  })

  test('gets a streamed answer that adds up to the whole one', async () => {
    const client = gateway().client()
    const whole = await client.chat.completions.create({ model: MODEL, messages: MESSAGES })
    const stream = await client.chat.completions.create({
      model: MODEL,
      messages: MESSAGES,
      stream: true,
    })
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe(whole.choices[0]?.message.content)
  })

  test('gets tool calls, whole and assembled from their pieces', async () => {
    const client = gateway().client()
    const request = { model: MODEL, messages: MESSAGES, tools: [WEATHER] }
    const whole = await client.chat.completions.create(request)
    const streamed = await client.chat.completions.stream(request).finalChatCompletion()
    for (const answer of [whole, streamed]) {
      expect(answer.choices[0]?.finish_reason).toBe('tool_calls')
      const call = answer.choices[0]?.message.tool_calls?.[0]
      expect(call).toMatchObject({ type: 'function', function: { name: 'weather' } })
      const args = call?.type === 'function' ? JSON.parse(call.function.arguments) : null
      expect(args).toEqual({ city: expect.any(String) })
    }
  })

  test('gets a model’s reasoning, whole and streamed', async () => {
    const client = gateway().client()
    const request = { model: 'deepseek/deepseek-r1', messages: MESSAGES }
    const whole = await client.chat.completions.create(request)
    const stream = await client.chat.completions.create({ ...request, stream: true })
    let reasoning = ''
    for await (const chunk of stream) {
      const delta = chunk.choices[0]?.delta ?? {}
      if ('reasoning' in delta) reasoning += String(delta.reasoning ?? '')
    }
    expect(reasoning).not.toBe('')
    expect(whole.choices[0]?.message).toMatchObject({ reasoning })
  })

  test('is told apart from a stranger by its token alone', async () => {
    const response = await gateway().chat({}, { authorization: 'Bearer sy-someone-else' })
    expect(response.status).toBe(401)
  })
})

describe('an answer’s headers', () => {
  test.each([false, true])('say who served it and what it took (streamed: %s)', async (stream) => {
    const response = await gateway().chat({ stream })
    const { headers } = response
    const text = await response.text()
    expect(headers.get('x-request-id')).toMatch(/^[\w-]{10,}$/)
    expect(headers.get('x-switchyard-key')).toMatch(/^(alpha|gamma|delta)$/)
    expect(headers.get('x-switchyard-attempts')).toBe('1')
    expect(headers.get('x-switchyard-degraded')).toBeNull()
    expect(headers.get('server-timing')).toMatch(
      /^auth;dur=\d+, acquire;dur=\d+, wait;dur=\d+, upstream;dur=\d+$/,
    )
    expect(text).toContain(headers.get('x-generation-id'))
    expect(headers.get('content-type')).toMatch(stream ? /^text\/event-stream/ : /json/)
    expect(headers.get('cache-control')).toBe('no-cache')
    // The simulated edge sets a cookie. The gateway must not pass it on.
    expect(headers.get('set-cookie')).toBeNull()
    expect(headers.get('cf-ray')).toBeNull()
  })

  test('have a request id of their own each, or the caller’s', async () => {
    const ids: (string | null)[] = []
    for (let i = 0; i < 2; i += 1) ids.push((await gateway().chat({})).headers.get('x-request-id'))
    expect(new Set(ids).size).toBe(2)
    const named = await gateway().chat({}, { 'x-request-id': 'trace-17' })
    expect(named.headers.get('x-request-id')).toBe('trace-17')
  })

  test('let a page of any origin read them, without credentials', async () => {
    const response = await gateway().chat({}, { origin: 'https://app.example' })
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    expect(response.headers.get('access-control-allow-credentials')).toBeNull()
    expect(response.headers.get('access-control-expose-headers')).toContain('x-switchyard-key')
  })
})

test('a preflight is answered without a token, and not by OpenRouter', async () => {
  const response = await fetch(`${gateway().origin}/api/v1/chat/completions`, {
    method: 'OPTIONS',
    headers: {
      origin: 'https://app.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    },
  })
  expect(response.ok).toBe(true)
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  expect(response.headers.get('access-control-allow-methods')).toContain('POST')
  expect(response.headers.get('access-control-allow-headers')).toContain('authorization')
  expect(await upstream.control.log()).toEqual([])
})

test('a refused request can be read by a page of any origin too', async () => {
  const response = await gateway().chat({}, { authorization: 'Bearer no', origin: 'https://a.b' })
  expect(response.status).toBe(401)
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
})

test('the body goes upstream byte for byte', async () => {
  const body = `{ "model":"${MODEL}" ,\n "messages":[{"role":"user","content":"Gr\\u00fc\\u00dfe \u{1f642}"}], "x": 1.50 }`
  const response = await gateway().send('/v1/chat/completions?debug=1', { method: 'POST', body })
  expect(response.status).toBe(200)
  const [entry] = await upstream.control.log()
  expect(entry?.body).toMatchObject({ text: body, bytes: new TextEncoder().encode(body).length })
})

describe('the public catalogue', () => {
  test.each([
    '/models',
    `/models/${MODEL}/endpoints`,
    '/providers',
    '/embeddings/models',
    '/endpoints/zdr',
  ])('%s is open to everybody and asked for without any key', async (path) => {
    for (const prefix of ['/api/v1', '/v1']) {
      const response = await fetch(gateway().origin + prefix + path)
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toMatch(/json/)
      expect(response.headers.get('set-cookie')).toBeNull()
      expect(JSON.parse(await response.text())).toHaveProperty('data')
    }
    const entries = await upstream.control.log()
    expect(entries).not.toEqual([])
    for (const entry of entries) expect(entry).toMatchObject({ method: 'GET', path, key: null })
  })

  test('keeps the query apart from the list without one', async () => {
    const count = async (query: string) => {
      const response = await fetch(`${gateway().origin}/v1/models${query}`)
      return JSON.parse(await response.text()).data.length
    }
    const all = await count('')
    expect(await count('?limit=2')).toBe(2)
    expect(all).toBeGreaterThan(2)
  })

  test('passes on that a model does not exist', async () => {
    const response = await fetch(`${gateway().origin}/v1/models/no/such/endpoints`)
    expect(response.status).toBe(404)
    expect(await errorOf(response)).toMatchObject({ code: 404 })
  })

  test('lists models for OpenAI’s client', async () => {
    const { data } = await gateway().client().models.list()
    expect(data.map(({ id }) => id)).toContain(MODEL)
  })
})

test('/healthz says how many keys can serve, to everybody and without asking OpenRouter', async () => {
  const response = await fetch(`${gateway().origin}/healthz`)
  expect(response.status).toBe(200)
  expect(JSON.parse(await response.text())).toEqual({
    status: 'ok',
    keys_usable: 3,
    keys_total: 3,
  })
  expect(await upstream.control.log()).toEqual([])
})

describe('what is not served', () => {
  test.each([
    ['GET', '/api/v1/keys'],
    ['POST', '/api/v1/keys'],
    ['DELETE', '/api/v1/keys/0123'],
    ['GET', '/api/v1/credits'],
    ['GET', '/api/v1/activity'],
    ['GET', '/api/v1/guardrails'],
    ['GET', '/api/v1/workspaces'],
    ['POST', '/api/v1/auth/keys'],
    ['GET', '/api/v1/generation?id=gen-1'],
    ['GET', '/api/v1/chat/completions'],
    ['PUT', '/v1/chat/completions'],
    ['POST', '/v1/chat/completions/'],
    ['POST', '/v1/models'],
    ['GET', '/v1/nothing-of-ours'],
    ['GET', '/api/v1'],
    ['GET', '/'],
    ['GET', '/admin'],
    ['GET', '/admin/api/pool'],
    ['GET', '/metrics'],
    ['POST', '/chat/completions'],
    ['GET', '/api/v1/..%2f..%2fkeys'],
    ['GET', '/api/v1/models/%2e%2e/keys'],
    ['GET', '/api/v1/models/..%2fkeys'],
  ])('%s %s is a 404 in OpenRouter’s shape, and is never forwarded', async (method, path) => {
    const response = await gateway().send(path, {
      method,
      ...(method === 'GET' ? {} : { body: '{}' }),
    })
    expect(response.status).toBe(404)
    expect(journeyOf(response).key).toBeNull()
    expect(await errorOf(response)).toMatchObject({
      code: 404,
      message: expect.any(String),
      metadata: { source: 'switchyard', reason: 'not_found' },
    })
    expect(await upstream.control.log()).toEqual([])
  })
})

test('a request’s log line names its client, key and cost, and nothing that was said', async () => {
  const response = await gateway().chat({
    messages: [{ role: 'user', content: 'the launch code is heliotrope' }],
  })
  await response.text()
  const requestId = response.headers.get('x-request-id')
  await gateway().settledPool()
  const line = gateway()
    .logs()
    .find(({ text }) => text.includes(String(requestId)))
  expect(JSON.parse(line?.text ?? '{}')).toMatchObject({
    message: 'request',
    client: 'tester',
    model: MODEL,
    outcome: 'answered',
    attempts: [{ key: journeyOf(response).key, fault: null }],
    usage: { costUsd: expect.any(Number), estimated: false },
  })
  expect(line?.text).not.toContain('heliotrope')
  expect(line?.text).not.toContain(TOKEN)
})

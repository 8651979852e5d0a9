import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { errorOf, journeyOf, MESSAGES, MODEL, TOKEN, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream)

const GOOD_BODY = JSON.stringify({ model: MODEL, messages: MESSAGES })
const LIMIT_BYTES = 26_214_400

/** After every test: OpenRouter has received nothing of it, and the next caller is served. */
afterEach(async () => {
  expect((await upstream.control.log()).map(({ path }) => path)).toEqual([])
  const response = await gateway().chat({})
  expect(response.status).toBe(200)
  expect(await response.text()).toContain('geht’s?')
})

async function expectError(response: Response, status: number, reason: string) {
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toMatch(/^application\/json/)
  expect(response.headers.get('x-request-id')).not.toBeNull()
  expect(journeyOf(response).key).toBeNull()
  const error = await errorOf(response)
  expect(error).toEqual({
    code: status,
    message: expect.stringMatching(/^[A-Z].*\.$/),
    metadata: expect.objectContaining({ source: 'switchyard', reason }),
  })
  return error
}

const post = (body: RequestInit['body'], headers: Record<string, string> = {}) =>
  gateway().send('/api/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body }),
    // Node requires this option to send a stream.
    ...(body instanceof ReadableStream ? { duplex: 'half' as const } : {}),
  })

describe('a body that is no request', () => {
  test.each([
    ['nothing', ''],
    ['no JSON', 'model=gpt'],
    ['half an object', '{"model":"openai/gpt-4o-mini","messages":['],
    ['an array', '[{"model":"openai/gpt-4o-mini"}]'],
    ['a string', '"openai/gpt-4o-mini"'],
    ['null', 'null'],
    ['no model', '{"messages":[]}'],
    ['an empty model', '{"model":""}'],
    ['a number for a model', '{"model":4}'],
    ['a list for a model', '{"model":["openai/gpt-4o-mini"]}'],
    ['a model without end', `{"model":"${'m'.repeat(10_000)}"}`],
    ['too deep a nesting', `${'['.repeat(200_000)}`],
  ])('(%s) is refused', async (_, body) => {
    await expectError(await post(body), 400, 'invalid_request')
  })

  test('(bytes that are not UTF-8) is refused', async () => {
    const bytes = Buffer.from(GOOD_BODY.replace('Wie', 'W\u00ee'), 'latin1')
    expect(Buffer.from(bytes.toString('utf8'), 'utf8').equals(bytes)).toBe(false)
    await expectError(await post(bytes), 400, 'invalid_request')
  })

  test('(no body at all) is refused', async () => {
    const error = await expectError(await post(undefined), 400, 'invalid_request')
    expect(error.message).toContain('JSON')
  })
})

describe('a body larger than max_body_bytes', () => {
  test('is refused by its content-length', async () => {
    // Nothing of the body is sent: a client that still writes may lose the answer with the connection.
    const heard = await overSocket(LIMIT_BYTES + 1, '', false)
    expect(heard).toContain('413 ')
    expect(heard).toContain('body_too_large')
    expect(heard).toContain(`"max_body_bytes":${LIMIT_BYTES}`)
  })

  test('is refused by its bytes where it comes in chunks', async () => {
    const bytes = Buffer.alloc(LIMIT_BYTES + 1, ' ')
    let sent = 0
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent >= bytes.length) return controller.close()
        controller.enqueue(bytes.subarray(sent, sent + 1_000_000))
        sent += 1_000_000
      },
    })
    const error = await expectError(await post(stream), 413, 'body_too_large')
    expect(error.metadata.max_body_bytes).toBe(LIMIT_BYTES)
  })
})

/** Writes a request's head and a partial body to a socket, and reads the answer to its end. */
async function overSocket(contentLength: number, body: string, hangUp: boolean): Promise<string> {
  const { hostname, port } = new URL(gateway().origin)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.write(
    'POST /api/v1/chat/completions HTTP/1.1\r\n' +
      `host: ${hostname}\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\n` +
      `content-length: ${contentLength}\r\nconnection: close\r\n\r\n${body}`,
  )
  let heard = ''
  socket.on('data', (chunk) => {
    heard += chunk.toString()
  })
  socket.on('error', () => undefined)
  if (hangUp) socket.end()
  await Promise.race([once(socket, 'close'), new Promise((resolve) => setTimeout(resolve, 2000))])
  socket.destroy()
  return heard
}

describe('a content-length that is a lie', () => {
  test('and promises more than comes brings no request to OpenRouter', async () => {
    const heard = await overSocket(GOOD_BODY.length + 500, GOOD_BODY, true)
    expect(heard).not.toContain('200 OK')
  })

  test('and promises less than comes gets what was promised judged', async () => {
    const heard = await overSocket(20, GOOD_BODY, false)
    expect(heard).toContain('400 Bad Request')
    expect(heard).toContain('invalid_request')
  })
})

describe('a caller without a right token', () => {
  test.each([
    ['no header', {}],
    ['an empty one', { authorization: '' }],
    ['another scheme', { authorization: `Basic ${TOKEN}` }],
    ['no scheme', { authorization: TOKEN }],
    ['a token of nobody', { authorization: 'Bearer sy-nobody' }],
    ['a prefix of a token', { authorization: `Bearer ${TOKEN.slice(0, -1)}` }],
    ['an extension of one', { authorization: `Bearer ${TOKEN}x` }],
    ['one in capitals', { authorization: `Bearer ${TOKEN.toUpperCase()}` }],
    ['two of them', { authorization: `Bearer ${TOKEN} ${TOKEN}` }],
    ['the client’s name', { authorization: 'Bearer tester' }],
    ['an OpenRouter key of the pool', { authorization: 'Bearer sk-or-v1-simulated-alpha' }],
    ['a wrong x-api-key', { 'x-api-key': 'sy-nobody' }],
    ['an empty x-api-key', { 'x-api-key': '' }],
  ])('(%s) is refused before its body is looked at', async (_, headers: Record<string, string>) => {
    const response = await fetch(`${gateway().origin}/api/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: 'not even JSON',
    })
    expect(response.headers.get('www-authenticate')).toBe('Bearer')
    await expectError(response, 401, 'unauthorized')
  })
})

describe('a right token', () => {
  test.each([
    ['in x-api-key, as Anthropic’s client sends it', { 'x-api-key': TOKEN }],
    ['after a scheme in any case', { authorization: `bearer ${TOKEN}` }],
  ])('is taken %s', async (_, headers: Record<string, string>) => {
    const response = await fetch(`${gateway().origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: GOOD_BODY,
    })
    expect(response.status).toBe(200)
    await response.text()
    const [entry] = await upstream.control.log()
    expect(entry).toMatchObject({ key: 'alpha' })
    await upstream.control.reset()
  })
})

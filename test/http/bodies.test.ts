import { describe, expect, it } from 'vitest'
import { ANSWER, chat, gatewayInFrontOf, reasonOf } from './gateway-driver.ts'

const answering = () =>
  gatewayInFrontOf(() => new Response(ANSWER, { headers: { 'content-type': 'application/json' } }))
const CHAT = '/v1/chat/completions'

/** A streamed body. Its request has no `content-length`. */
function streamed(bytes: number): ReadableStream<Uint8Array> {
  let left = bytes
  return new ReadableStream({
    pull(controller) {
      if (left <= 0) return controller.close()
      const size = Math.min(left, 65_536)
      controller.enqueue(new Uint8Array(size).fill(0x20))
      left -= size
    },
  })
}

describe('a body that cannot be served', () => {
  it.each([
    ['nothing', ''],
    ['no JSON', 'hello'],
    ['half of one', '{"model": "vendor/model"'],
    ['an array', '[]'],
    ['a text', '"model"'],
    ['null', 'null'],
    ['no model', '{"messages": []}'],
    ['an empty model', '{"model": ""}'],
    ['a model that is a number', '{"model": 7}'],
    ['no model and no models', '{"models": []}'],
    ['models that are no list', '{"models": "a"}'],
    ['models that are numbers', '{"model": null, "models": [5]}'],
    ['a model that is a number, beside models', '{"model": 7, "models": ["a"]}'],
    ['a model of absurd length', JSON.stringify({ model: 'm'.repeat(257) })],
    ['broken UTF-8', new Uint8Array([0x7b, 0xff, 0xfe, 0x7d])],
  ])('%s gets a 400 that says what is wrong, and goes nowhere', async (_, body) => {
    const { send, received } = answering()
    const response = await send(CHAT, chat({ body }))
    expect(response.status).toBe(400)
    expect(await reasonOf(response)).toBe('invalid_request')
    expect(received).toEqual([])
    expect((await send(CHAT, chat())).status).toBe(200)
  })

  it.each([
    ['announced', (bytes: number) => new Uint8Array(bytes).fill(0x20)],
    ['not announced', streamed],
  ])('one that is too large gets a 413, its length being %s', async (_, bodyOf) => {
    const { send, received } = answering()
    const policy = { POLICY: { max_body_bytes: 100_000 } }
    const response = await send(CHAT, chat({ body: bodyOf(100_001) }), policy)
    expect(response.status).toBe(413)
    expect(await reasonOf(response)).toBe('body_too_large')
    // A body of exactly the allowed size is read, and then refused since it is not JSON.
    expect((await send(CHAT, chat({ body: bodyOf(100_000) }), policy)).status).toBe(400)
    expect(received).toEqual([])
  })

  it('one that ends before it is complete gets a 400', async () => {
    const broken = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"model":'))
        controller.error(new Error('gone'))
      },
    })
    const response = await answering().send(CHAT, chat({ body: broken }))
    expect(response.status).toBe(400)
    expect(await reasonOf(response)).toBe('invalid_request')
  })
})

it.each([204, 205])('an answer of %i, which can have no body, is an answer', async (status) => {
  const { send, received } = gatewayInFrontOf(() => new Response(null, { status }))
  const response = await send('/v1/videos', chat(), { POLICY: { extra_paths: ['videos'] } })
  expect(response.status).toBe(status)
  expect(await response.text()).toBe('')
  expect(received).toHaveLength(1)
})

it('a fallback may be an alias: its model is sent, and no model twice', async () => {
  const models: unknown[] = []
  const { send } = gatewayInFrontOf(({ body }) => {
    models.push(JSON.parse(new TextDecoder().decode(body)).model)
    const error = { code: 404, message: 'No endpoints found for that model.' }
    return Response.json({ error }, { status: 404 })
  })
  const POLICY = {
    aliases: { 'task:fast': 'vendor/fast', 'task:same': 'vendor/model' },
    routes: [
      { models: ['*'], fallback_models: ['task:fast', 'vendor/fast', 'task:same', 'vendor/last'] },
    ],
  }
  await send(CHAT, chat(), { POLICY })
  expect(models).toEqual(['vendor/model', 'vendor/fast', 'vendor/last'])
})

describe('a request that names only models', () => {
  const POLICY = {
    aliases: { 'task:fast': 'vendor/fast' },
    routes: [{ models: ['vendor/a'], fallback_models: ['vendor/last'] }],
  }
  const BODY = '{ "models":["vendor/a", "vendor/b"],"messages":[] , "model": null}'

  it('is routed by the first of them, and passed on as it came', async () => {
    const { send, received } = answering()
    const response = await send(CHAT, chat({ body: BODY }), { POLICY })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-switchyard-model')).toBeNull()
    expect(received.map(({ body }) => new TextDecoder().decode(body))).toEqual([BODY])
  })

  it('gets no other model put in: neither by a fallback nor by an alias', async () => {
    const { send, received } = gatewayInFrontOf(() =>
      Response.json({ error: { code: 404, message: 'No such model' } }, { status: 404 }),
    )
    expect((await send(CHAT, chat({ body: BODY }), { POLICY })).status).toBe(404)
    const aliased = BODY.replace('vendor/a', 'task:fast')
    expect((await send(CHAT, chat({ body: aliased }), { POLICY })).status).toBe(404)
    expect(received.map(({ body }) => new TextDecoder().decode(body))).toEqual([BODY, aliased])
  })
})

describe('a body that is encoded', () => {
  const encoded = (encoding: string) => {
    const init = chat()
    const headers = new Headers(init.headers)
    headers.set('content-encoding', encoding)
    return { ...init, headers }
  }

  it.each(['gzip', 'br', 'deflate, gzip', 'GZIP', 'identity, gzip', 'nonsense'])(
    'as %s gets a 415 that says what to do, and goes nowhere',
    async (encoding) => {
      const { send, received } = answering()
      const response = await send(CHAT, encoded(encoding))
      expect(response.status).toBe(415)
      expect(await reasonOf(response)).toBe('unsupported_encoding')
      expect(received).toEqual([])
    },
  )

  it.each(['identity', 'Identity', ''])('as "%s" is not encoded', async (encoding) => {
    const { send } = answering()
    expect((await send(CHAT, encoded(encoding))).status).toBe(200)
  })
})

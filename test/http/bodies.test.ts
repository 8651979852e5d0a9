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
    ['models and no model', '{"models": ["a", "b"]}'],
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

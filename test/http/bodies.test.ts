import { describe, expect, it, vi } from 'vitest'
import { ISOLATE_BYTES } from '../../src/gateway/byte-budget.ts'
import { MEMORY as memory } from '../../src/http/composition-root.ts'
import { ANSWER, chat, gatewayInFrontOf, reasonOf } from './gateway-driver.ts'

const answering = () =>
  gatewayInFrontOf(() => new Response(ANSWER, { headers: { 'content-type': 'application/json' } }))
const CHAT = '/v1/chat/completions'

const AS_JSON = { headers: { 'content-type': 'application/json' } }
const answerOf = (content: string) =>
  JSON.stringify({
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2, cost: 0.001 },
  })
const longAnswer = answerOf('"usage" \n'.repeat(100_000))
const longerAnswer = answerOf('"usage" \n'.repeat(1_000_000))

const streamOf = (text: string): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text))
      controller.close()
    },
  })

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

  it.each([
    ['short', { 'content-length': '1000' }],
    ['long', { 'content-length': '3000000' }],
    ['not announced', {}],
  ])('one that ends before it is complete gets a 400, its length being %s', async (_, length) => {
    const broken = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"model":'))
        controller.error(new Error('gone'))
      },
    })
    const { send, received } = answering()
    const { headers, ...request } = chat({ body: broken })
    const response = await send(CHAT, { ...request, headers: { ...headers, ...length } })
    expect(response.status).toBe(400)
    expect(await reasonOf(response)).toBe('invalid_request')
    expect(received).toEqual([])
    expect(memory.heldBytes()).toBe(0)
  })
})

describe('an upload', () => {
  const timeouts = { POLICY: { timeouts: { idle_ms: 300, total_ms: 5_000 } } }
  const text = JSON.stringify({
    model: 'vendor/model',
    messages: [{ role: 'user', content: 'Hi' }],
  })

  /** A body whose pieces come one by one, and then nothing more if it does not end. */
  function slow(pieces: readonly string[], pauseMs: number, ends: boolean) {
    let next = 0
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (next === pieces.length) {
          if (ends) return controller.close()
          return await new Promise(() => undefined)
        }
        if (next > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
        controller.enqueue(new TextEncoder().encode(pieces[next]))
        next += 1
      },
    })
  }

  it('of which no byte comes any more gets a 408, and its room is free again', async () => {
    const { send, received } = answering()
    const body = slow([text.slice(0, 20)], 0, false)
    const response = await send(CHAT, chat({ body }), timeouts)
    expect(response.status).toBe(408)
    expect(await reasonOf(response)).toBe('request_timeout')
    expect(received).toEqual([])
    expect(memory.heldBytes()).toBe(0)
  })

  it('that is slow but steady is served, whatever it takes in all', async () => {
    const { send, received } = answering()
    const pieces = text.match(/.{1,15}/g) ?? []
    const response = await send(CHAT, chat({ body: slow(pieces, 100, true) }), timeouts)
    expect(response.status).toBe(200)
    expect(new TextDecoder().decode(received[0]?.body)).toBe(text)
    expect(memory.heldBytes()).toBe(0)
  })

  it('for which there is no room gets a 503 that says when to come again, and no lease', async () => {
    const other = memory.open()
    expect(other.grow(ISOLATE_BYTES - 100_000)).toBe(true)
    const { send, received } = answering()
    const large = JSON.stringify({ model: 'vendor/model', messages: ['x'.repeat(200_000)] })
    for (const body of [streamOf(large), large]) {
      const headers = { ...chat().headers, 'content-length': String(large.length) }
      const response = await send(CHAT, chat({ body, headers }))
      expect(response.status).toBe(503)
      expect(response.headers.get('retry-after')).toBe('1')
      expect(await reasonOf(response)).toBe('overloaded')
    }
    expect(received).toEqual([])
    expect((await send(CHAT, chat())).status).toBe(200)
    other.release()
    expect((await send(CHAT, chat({ body: large }))).status).toBe(200)
    expect(memory.heldBytes()).toBe(0)
  })

  it.each([
    ['is refused', chat({ body: '{"model":""}' }), undefined],
    ['fails', chat(), () => Promise.reject(new Error('no route'))],
    ['is answered at length', chat(), () => new Response(longAnswer, AS_JSON)],
    ['is answered at great length', chat(), () => new Response(longerAnswer, AS_JSON)],
  ])('that %s holds nothing afterwards', async (_, request, upstream) => {
    const { send } = upstream === undefined ? answering() : gatewayInFrontOf(upstream)
    await send(CHAT, request)
    expect(memory.heldBytes()).toBe(0)
  })
})

describe('the budget of bytes', () => {
  const failing = (error: object) => JSON.stringify({ error, padding: 'x'.repeat(500_000) })

  it('does not count the own body of a request against its answer', async () => {
    const answers = [failing({ code: 502, message: 'No' }), ANSWER]
    const { send, received } = gatewayInFrontOf(() => new Response(answers.shift(), AS_JSON))
    const body = JSON.stringify({ model: 'vendor/model', messages: ['x'.repeat(ISOLATE_BYTES)] })
    const headers = { ...chat().headers, 'content-length': String(body.length) }
    const policy = { POLICY: { max_body_bytes: 2 * ISOLATE_BYTES } }
    const response = await send(CHAT, chat({ body, headers }), policy)
    expect(await response.text()).toBe(ANSWER)
    expect(received).toHaveLength(2)
    expect(memory.heldBytes()).toBe(0)
  })

  it('has back what a failed attempt held that nobody will see', async () => {
    const heldBytes: number[] = []
    const refusals = [401, 502, 402]
    const { send } = gatewayInFrontOf(() => {
      heldBytes.push(memory.heldBytes())
      const status = refusals.shift()
      if (status === undefined) return new Response(ANSWER, AS_JSON)
      return new Response(failing({ code: status, message: 'No' }), { status, ...AS_JSON })
    })
    const body = String(chat().body)
    const headers = { ...chat().headers, 'content-length': String(body.length) }
    await send(CHAT, chat({ headers }))
    // A rejected key's answer reaches no client. That of the failure after it may.
    // The keys are walked by chance: whether one is left after the third is not the point.
    expect(heldBytes.slice(0, 3).map((bytes) => bytes > 500_000)).toEqual([false, false, true])
    expect(Math.max(...heldBytes)).toBeLessThan(600_000)
    expect(memory.heldBytes()).toBe(0)
  })
})

it.each([
  ['read whole', 100_000],
  ['passed on as it comes', 1_000_000],
])('an answer that is %s arrives byte for byte, and its usage is counted', async (_, texts) => {
  const answer = answerOf('"usage" \n'.repeat(texts))
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined)
  const { send } = gatewayInFrontOf(() => new Response(answer, AS_JSON))
  const response = await send(CHAT, chat())
  expect((await response.text()) === answer).toBe(true)
  const lines = log.mock.calls.map(([text]) => JSON.parse(text))
  const line = lines.find(({ message }) => message === 'request')
  expect(line.usage).toMatchObject({ promptTokens: 1, completionTokens: 1, estimated: false })
  vi.restoreAllMocks()
})

it('a cut stream counts what a picture is to a model, and not its bytes', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined)
  const event = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
  const { send } = gatewayInFrontOf(
    () => new Response(streamOf(event), { headers: { 'content-type': 'text/event-stream' } }),
  )
  const url = `data:image/png;base64,${'iVBORw0KGgo9'.repeat(160_000)}`
  const content = [{ type: 'image_url', image_url: { url } }]
  const body = JSON.stringify({ model: 'vendor/model', stream: true, messages: [{ content }] })
  await send(CHAT, chat({ body }))
  const lines = log.mock.calls.map(([text]) => JSON.parse(text))
  const line = lines.find(({ message }) => message === 'request')
  expect(line).toMatchObject({ outcome: 'failed', usage: { estimated: true } })
  expect(line.usage.promptTokens).toBeGreaterThan(5_000)
  expect(line.usage.promptTokens).toBeLessThan(12_000)
  vi.restoreAllMocks()
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

import { describe, expect, it } from 'vitest'
import { messages } from '../../src/openrouter/shapes/messages.ts'
import { API_SHAPES, unknownShape } from '../../src/openrouter/shapes/shape-registry.ts'
import { errorAnswer, openStream, type Script } from './upstream-script.ts'
import { createVirtualWorld, type WorldOptions } from './virtual-world.ts'

const shapeOf = (path: string) => {
  const shape = API_SHAPES.find((each) => each.path === path)
  if (shape === undefined) throw new Error(`No shape ${path}`)
  return shape
}

async function journey(path: string, script: Script, options: WorldOptions = {}) {
  const world = createVirtualWorld({ shape: shapeOf(path), ...options })
  world.upstream.on(path, script)
  const sent = world.send()
  const report = await world.finish(sent)
  return { world, report, ...(await sent.whole()) }
}

describe('an answer that is larger than can be judged', () => {
  it('is passed on as it comes, once, and marks no key', async () => {
    const piece = new Uint8Array(1024 * 1024).fill(0x20)
    const body = Array.from({ length: 40 }, () => ({ bytes: piece }))
    const headers = { 'content-type': 'application/json' }
    const answer = await journey('embeddings', { headers, body })
    expect(answer.status).toBe(200)
    expect(answer.text.length).toBe(40 * 1024 * 1024)
    expect(answer.world.upstream.calls).toHaveLength(1)
    expect(answer.world.pool.settlements).toMatchObject([{ outcome: 'success' }])
  })
})

describe('an answer with nothing in it', () => {
  const videos = { shape: unknownShape('videos') }

  it.each([
    ['200 of no type', { status: 200, headers: {} }],
    ['200 of JSON', { status: 200, headers: { 'content-type': 'application/json' } }],
  ])('(%s) is one, where nobody knows what an answer is', async (_, script) => {
    const world = createVirtualWorld(videos)
    world.upstream.on('videos', script)
    const sent = world.send()
    await world.finish(sent)
    const { status, text } = await sent.whole()
    expect({ status, text }).toEqual({ status: script.status, text: '' })
    expect(world.upstream.calls).toHaveLength(1)
    expect(world.pool.settlements).toMatchObject([{ outcome: 'success' }])
  })

  it('is the transcription of silence', async () => {
    const headers = { 'content-type': 'text/plain; charset=utf-8' }
    expect((await journey('audio/transcriptions', { headers })).status).toBe(200)
  })

  it('is no sound', async () => {
    const headers = { 'content-type': 'audio/mpeg' }
    expect((await journey('audio/speech', { headers })).status).toBe(502)
  })
})

describe('a caller’s mistake that upstream words in its own way', () => {
  it.each([
    ['a page', 413, 'text/html', '<html>Too large</html>'],
    ['a plain text', 400, 'text/plain', 'No'],
    ['another JSON', 422, 'application/json', '{"detail":[{"loc":["body"]}]}'],
  ])('(%s) comes back as it was, once, and marks no key', async (_, status, type, text) => {
    const script = { status, headers: { 'content-type': type }, body: [{ text }] }
    const answer = await journey('chat/completions', script)
    expect(answer).toMatchObject({ status, text })
    expect(answer.headers.get('content-type')).toBe(type)
    expect(answer.world.upstream.calls).toHaveLength(1)
    expect(answer.world.pool.settlements).toMatchObject([{ outcome: 'ignorable' }])
  })
})

describe('a stream of messages that is cut', () => {
  const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`
  const start = event({
    type: 'message_start',
    message: { id: 'gen-1', usage: { input_tokens: 8, output_tokens: 0 } },
  })
  const delta = event({
    type: 'content_block_delta',
    index: 0,
    delta: { type: 'text_delta', text: 'word ' },
  })

  it('has used what it said of its prompt, and about a token for each event', async () => {
    const world = createVirtualWorld({ shape: messages })
    world.upstream.on('messages', {
      ...openStream(start + delta.repeat(300)),
      end: 'error',
      endAfterMs: 10,
    })
    const report = await world.finish(world.send())
    expect(report.usage).toMatchObject({ promptTokens: 8, estimated: true })
    expect(report.usage?.completionTokens).toBeGreaterThanOrEqual(300)
  })
})

it('a bug that even an error answer meets breaks the request off, and hangs nobody', async () => {
  const world = createVirtualWorld()
  world.upstream.on('chat/completions', errorAnswer(400, 'Bad'))
  // A header cannot hold such a name, so the gateway throws.
  const sent = world.send({ asked: 'an alias', model: 'vendor/a\u0000b' })
  await expect(world.finish(sent)).rejects.toThrow()
  await expect(sent.whole()).rejects.toThrow()
  expect(world.pool.inFlight()).toBe(0)
})

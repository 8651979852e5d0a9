import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { images } from '../../src/openrouter/shapes/images.ts'
import { messages } from '../../src/openrouter/shapes/messages.ts'
import { DONE, EMPTY_DELTA, PROCESSING, ROLE, STREAM_TEXTS, said } from './stream-texts.ts'
import { type BodyStep, bytesOf, openStream, streamOf } from './upstream-script.ts'
import { createVirtualWorld } from './virtual-world.ts'

const CHAT = 'chat/completions'
const EVENT_STREAM = { 'content-type': 'text/event-stream' }

/** Sends a stream through in these chunks, and returns the chunks that the client received. */
async function pass(chunks: readonly Uint8Array[]): Promise<Uint8Array[]> {
  // Each call has its own world, since a stream that ends with an error counts against its key.
  const world = createVirtualWorld()
  world.upstream.on(CHAT, { headers: EVENT_STREAM, body: chunks.map((bytes) => ({ bytes })) })
  const client = world.send()
  await client.whole()
  return client.chunks.map(({ bytes }) => bytes)
}

function cut(bytes: Uint8Array, ...places: readonly number[]): Uint8Array[] {
  const ends = [...new Set(places)].sort((a, b) => a - b)
  return [0, ...ends]
    .map((start, i) => bytes.subarray(start, ends[i] ?? bytes.length))
    .filter((chunk) => chunk.length > 0)
}

/**
 * Whether two lists of chunks differ. This is much cheaper than `toEqual`. Of an error event that comes
 * in parts the gateway may hold an end back for the next chunk, since a secret may begin there.
 */
function differs(sent: readonly Uint8Array[], received: readonly Uint8Array[]): boolean {
  if (textIn(sent).includes('error')) return textIn(sent) !== textIn(received)
  return (
    sent.length !== received.length ||
    sent.some((chunk, i) => {
      const other = received[i]
      return chunk.length !== other?.length || chunk.some((byte, at) => byte !== other[at])
    })
  )
}

function textIn(chunks: readonly Uint8Array[]): string {
  const decoder = new TextDecoder('windows-1252')
  return chunks.map((chunk) => decoder.decode(chunk)).join('')
}

describe('a stream arrives as it was sent, chunk for chunk', () => {
  for (const [name, text] of STREAM_TEXTS) {
    const bytes = bytesOf(text)

    it(`with ${name}, cut in two at every byte`, async () => {
      const offenders: number[] = []
      for (let at = 0; at <= bytes.length; at++) {
        const chunks = cut(bytes, at)
        if (differs(chunks, await pass(chunks))) offenders.push(at)
      }
      expect(offenders).toEqual([])
    })

    it(`with ${name}, byte for byte`, async () => {
      const chunks = Array.from(bytes, (byte) => Uint8Array.of(byte))
      const received = await pass(chunks)
      expect(differs(chunks, received)).toBe(false)
    })
  }

  it('however it is cut', async () => {
    const texts = fc.constantFrom(...STREAM_TEXTS.values())
    await fc.assert(
      fc.asyncProperty(texts, fc.array(fc.nat(), { maxLength: 20 }), async (text, places) => {
        const bytes = bytesOf(text)
        const chunks = cut(bytes, ...places.map((place) => place % bytes.length))
        expect(differs(chunks, await pass(chunks))).toBe(false)
      }),
      { numRuns: 150, seed: 7 },
    )
  })

  it('when it is far larger than what is looked into', async () => {
    const chunks = [bytesOf(said('x'.repeat(3_000_000))), bytesOf(said('y')), bytesOf(DONE)]
    const received = await pass(chunks)
    expect(differs(chunks, received)).toBe(false)
  })
})

describe('a stream of Messages arrives as it was sent, but for the end mark', () => {
  const event = (data: { type: string }) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
  const delta = { type: 'content_block_delta', delta: { type: 'text_delta', text: 'Grüße' } }
  const START = event({ type: 'message_start' })
  const STOP = [delta, { type: 'message_stop' }].map(event).join('')
  const MARK = 'event: data\ndata: [DONE]\n\n'

  async function passMessages(...chunks: readonly BodyStep[]) {
    const world = createVirtualWorld({ shape: messages, maxAttempts: 1 })
    world.upstream.on('messages', { headers: EVENT_STREAM, body: chunks })
    const client = world.send()
    const report = await world.finish(client)
    return { text: (await client.whole()).text, report }
  }

  it('cut in two at every byte', async () => {
    const bytes = bytesOf(PROCESSING + START + STOP + MARK)
    for (let at = 0; at <= bytes.length; at++) {
      const { text, report } = await passMessages(
        ...cut(bytes, at).map((chunk) => ({ bytes: chunk })),
      )
      expect(text).toBe(PROCESSING + START + STOP)
      expect(report.outcome).toBe('answered')
    }
  })

  it('after keep-alives', async () => {
    const { text } = await passMessages(
      { text: PROCESSING },
      { afterMs: 3_000, text: START },
      { text: `${STOP}${MARK}` },
    )
    expect(text).toBe(`${PROCESSING}: PROCESSING\n\n${START}${STOP}`)
  })

  it('where it failed before its first output', async () => {
    const failed = event({
      type: 'error',
      error: { type: 'invalid_request_error', message: 'No' },
    } as never)
    const { text } = await passMessages({ text: failed }, { text: MARK })
    expect(text).toBe(failed)
  })

  it('and what only begins like one is passed on at the end', async () => {
    const { text, report } = await passMessages({ text: `${STOP}event: da` })
    expect(text).toBe(`${STOP}event: da`)
    expect(report.outcome).toBe('answered')
  })

  it('and is complete without one, and without its last blank line', async () => {
    const { text, report } = await passMessages({ text: STOP.trimEnd() })
    expect(text).toBe(STOP.trimEnd())
    expect(report.outcome).toBe('answered')
  })
})

describe('nothing is held back', () => {
  it('after the first output: the client has each chunk before the next is sent', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, openStream(said('first')))
    const client = world.send()
    await world.time.drain()
    // Parts of an event, comments, and a byte that belongs to no event.
    const pieces = ['data: {"choi', 'ces":[]}\n', '\n', PROCESSING, ': half a comment', '\n\n', 'x']
    for (const [i, piece] of pieces.entries()) {
      expect(client.chunks).toHaveLength(i + 1)
      world.upstream.calls[0]?.push(piece)
      await world.time.drain()
    }
    expect(client.text()).toBe(said('first') + pieces.join(''))
    expect(client.state()).toBe('open')
  })

  it('at the first output: what was held goes out in the chunks in which it came', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, openStream(PROCESSING, ROLE + EMPTY_DELTA.slice(0, 9)))
    const client = world.send()
    await world.time.drain()
    expect(client.response()).toBeNull()
    world.upstream.calls[0]?.push(EMPTY_DELTA.slice(9))
    world.upstream.calls[0]?.push(`${said('now')}data: {"cut`)
    await world.time.drain()
    expect(client.chunks.map(({ bytes }) => new TextDecoder().decode(bytes))).toEqual([
      PROCESSING,
      ROLE + EMPTY_DELTA.slice(0, 9),
      EMPTY_DELTA.slice(9),
      `${said('now')}data: {"cut`,
    ])
  })
})

describe('an answer that is not streamed', () => {
  it('arrives byte for byte, however oddly it is written', async () => {
    const odd =
      ' \n{ "choices" :[ {"message":{"content":"Gr\\u00fc\\u00dfe \u{1f44b}"}} ],"usage":{}}\r\n '
    const world = createVirtualWorld()
    const headers = { 'content-type': 'application/json' }
    world.upstream.on(CHAT, { headers, body: cut(bytesOf(odd), 3, 40).map((bytes) => ({ bytes })) })
    const client = world.send()
    const { text } = await client.whole()
    expect(text).toBe(odd)
  })
})

describe('the request goes upstream', () => {
  it('byte for byte, with its query, and with the leased key alone as its credential', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, openStream(said('x')))
    const body = '{ "model":"vendor/model" ,"stream":true,"x":"\\u00fc ü"}\n'
    world.send({
      body,
      search: '?debug=1',
      headers: {
        authorization: 'Bearer of-the-caller',
        'x-api-key': 'of-the-caller',
        cookie: 'a=b',
        'x-forwarded-for': '192.0.2.1',
        'x-title': 'App',
      },
    })
    await world.time.drain()
    const [call] = world.upstream.calls
    expect(new TextDecoder().decode(call?.body)).toBe(body)
    expect(call?.url).toMatch(/\/chat\/completions\?debug=1$/)
    expect(world.keysCalled()).toEqual(['a'])
    expect(Object.fromEntries(call?.headers ?? [])).toEqual({
      'accept-encoding': 'identity',
      authorization: 'Bearer sk-or-virtual-a',
      'x-title': 'App',
    })
  })
})

describe('an event of several megabytes', () => {
  const picture = (bytes: number) =>
    `data: ${JSON.stringify({
      type: 'image_generation.completed',
      b64_json: 'A'.repeat(bytes),
      usage: { input_tokens: 5, output_tokens: 1_290, total_tokens: 1_295, cost: 0.04 },
    })}\n\n${DONE}`

  it.each([
    ['is read for what it cost', 3_000_000, 0.04],
    ['that is larger still is passed on unread', 9_000_000, 0],
  ])('%s', async (_, bytes, costUsd) => {
    const text = picture(bytes)
    const world = createVirtualWorld({ shape: images })
    world.upstream.on('images', streamOf(text))
    const client = world.send()
    const report = await world.finish(client)
    expect((await client.whole()).text).toBe(text)
    expect(report.usage?.costUsd).toBe(costUsd)
  })
})

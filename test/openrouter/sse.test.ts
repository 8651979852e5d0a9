import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createSseScanner,
  parseSseEvent,
  type SseBlock,
  type SseScanner,
} from '../../src/openrouter/sse.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const bytesOf = (text: string) => encoder.encode(text)

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]))
}

/** Feeds copies of the pieces to the scanner and returns all blocks. */
function scan(scanner: SseScanner, pieces: readonly Uint8Array[]): SseBlock[] {
  return pieces.flatMap((piece) => scanner.push(piece.slice()))
}

function cut(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const edges = [0, ...at, bytes.length]
  return edges.slice(1).map((end, index) => bytes.subarray(edges[index], end))
}

/** The stream as a reader sees it: comments with only line ends do not count. */
function received(blocks: readonly SseBlock[]): string[] {
  return blocks
    .map(({ kind, bytes }) => ({ kind, text: decoder.decode(bytes) }))
    .filter(({ kind, text }) => kind !== 'comment' || text.trim() !== '')
    .map(({ kind, text }) => `${kind} ${text.trim()}`)
}

const chunk = (delta: object, rest: object = {}) =>
  JSON.stringify({
    id: 'gen-1790000000-abcdefghijklmnopqrst',
    object: 'chat.completion.chunk',
    provider: 'Azure',
    choices: [{ index: 0, delta, finish_reason: null }],
    ...rest,
  })

const STREAM = [
  ': OPENROUTER PROCESSING',
  '',
  ': OPENROUTER PROCESSING',
  '',
  `data: ${chunk({ role: 'assistant', content: '' })}`,
  '',
  `data: ${chunk({ content: 'Grüße, 世界 👋' })}`,
  '',
  `data: ${chunk({}, { usage: { prompt_tokens: 3, completion_tokens: 5 } })}`,
  '',
  'data: [DONE]',
  '',
  '',
].join('\n')

const MESSAGES_STREAM =
  'event: message_start\ndata: {"type":"message_start"}\n\nevent: ping\ndata: {"type":"ping"}\n\nevent: data\ndata: [DONE]\n\n'

const SHORT = [
  ': é\n\ndata: ü\n\n',
  'data: a\r\n\r\n: c\r\n\r\ndata: b\r\n\r\n',
  'data: a\r\rdata: b\r\r',
  '\uFEFFdata: a\n\n: b\n\n',
  'data: a\n: comment within\ndata: b\n\n',
  '\n\n\r\n\ndata: a\n\n\n\n',
  'data: cut off',
  'event: x\r\ndata\r\n\r\nid: 7\r\n\r\n',
]

describe('the scanner', () => {
  it('cuts a stream into its blocks and tells comments from events', () => {
    const blocks = scan(createSseScanner(), [bytesOf(STREAM)])
    expect(blocks.map(({ kind }) => kind)).toEqual([
      'comment',
      'comment',
      'event',
      'event',
      'event',
      'event',
    ])
    expect(blocks.map(({ bytes }) => decoder.decode(bytes)).join('')).toBe(STREAM)
    expect(decoder.decode(blocks[5]?.bytes)).toBe('data: [DONE]\n\n')
  })

  it.each([
    STREAM,
    STREAM.replaceAll('\n', '\r\n'),
    STREAM.replaceAll('\n', '\r'),
    MESSAGES_STREAM,
  ])('sees the same wherever a stream is cut in two (%#)', (text) => {
    const bytes = bytesOf(text)
    const whole = received(scan(createSseScanner(), [bytes]))
    for (let at = 0; at <= bytes.length; at += 1) {
      const scanner = createSseScanner()
      const blocks = scan(scanner, cut(bytes, [at]))
      expect(received(blocks)).toEqual(whole)
      expect(joined([...blocks.map((block) => block.bytes), scanner.tail()])).toEqual(bytes)
      expect(scanner.atBoundary()).toBe(true)
    }
  })

  it.each(SHORT)('sees the same wherever a short stream is cut in three: %j', (text) => {
    const bytes = bytesOf(text)
    const all = createSseScanner()
    const whole = received(scan(all, [bytes]))
    for (let first = 0; first <= bytes.length; first += 1) {
      for (let second = first; second <= bytes.length; second += 1) {
        const scanner = createSseScanner()
        const blocks = scan(scanner, cut(bytes, [first, second]))
        expect(received(blocks)).toEqual(whole)
        expect(joined([...blocks.map((block) => block.bytes), scanner.tail()])).toEqual(bytes)
        expect(scanner.tail()).toEqual(all.tail())
        expect(scanner.atBoundary()).toBe(all.atBoundary())
      }
    }
  })

  it.each([...SHORT, STREAM, STREAM.replaceAll('\n', '\r\n')])(
    'sees the same byte by byte (%#)',
    (text) => {
      const bytes = bytesOf(text)
      const scanner = createSseScanner()
      const blocks = scan(
        scanner,
        [...bytes].map((byte) => Uint8Array.of(byte)),
      )
      expect(received(blocks)).toEqual(received(scan(createSseScanner(), [bytes])))
      expect(joined([...blocks.map((block) => block.bytes), scanner.tail()])).toEqual(bytes)
    },
  )

  it('hands back every byte of anything, however it is cut and whatever the limit', () => {
    const pieces = fc.array(
      fc.oneof(
        fc
          .constantFrom('data: x', ':', '\n', '\r', '\r\n', '\n\n', '\uFEFF', '日', 'event')
          .map(bytesOf),
        fc.uint8Array({ maxLength: 12 }),
      ),
      { maxLength: 40 },
    )
    const limits = fc.constantFrom(0, 1, 7, 1024)
    fc.assert(
      fc.property(pieces, limits, (chunks, maxBlockBytes) => {
        const scanner = createSseScanner({ maxBlockBytes })
        const blocks = scan(scanner, chunks)
        expect(joined([...blocks.map((block) => block.bytes), scanner.tail()])).toEqual(
          joined(chunks),
        )
        expect(scanner.tail().length).toBeLessThanOrEqual(maxBlockBytes)
      }),
    )
  })

  it('takes a part of a byte order mark for a field that nobody knows, not for an empty line', () => {
    for (const at of [0, 1, 2]) {
      const blocks = scan(createSseScanner(), cut(Uint8Array.of(0xef, 0xbb, 0x0a, 0x0a), [at]))
      expect(blocks.map(({ kind, bytes }) => [kind, bytes.length])).toEqual([['event', 4]])
    }
  })

  it('gives an event out as soon as its blank line has come, also where CR ends lines', () => {
    const scanner = createSseScanner()
    expect(received(scanner.push(bytesOf('data: a\r\n\r')))).toEqual(['event data: a'])
    expect(scanner.atBoundary()).toBe(true)
    expect(scanner.push(bytesOf('\ndata: b\r\r')).map(({ kind }) => kind)).toEqual([
      'comment',
      'event',
    ])
  })

  it('is at a boundary before, between and after blocks, and nowhere else', () => {
    const scanner = createSseScanner()
    const steps: [string, boolean][] = [
      ['', true],
      ['data: a', false],
      ['\n', false],
      ['\n', true],
      [': c\n', false],
      ['\n', true],
    ]
    for (const [text, boundary] of steps) {
      scanner.push(bytesOf(text))
      expect(scanner.atBoundary()).toBe(boundary)
    }
  })

  it('copies nothing of a block that lies in one chunk', () => {
    const bytes = bytesOf(STREAM)
    for (const block of createSseScanner().push(bytes)) {
      expect(block.bytes.buffer).toBe(bytes.buffer)
    }
  })

  it('keeps what it handed out as it was, and the tail apart', () => {
    const scanner = createSseScanner()
    scanner.push(bytesOf('data: first'))
    const tail = scanner.tail()
    const [first] = scanner.push(bytesOf(' one\n\ndata: second'))
    scanner.push(bytesOf(' one\n\n'))
    expect(decoder.decode(first?.bytes)).toBe('data: first one\n\n')
    expect(decoder.decode(tail)).toBe('data: first')
  })
})

describe('a block that is too large', () => {
  const long = bytesOf(`data: ${'x'.repeat(100)}\n\n`)
  const after = bytesOf('data: ok\n\n')

  it.each([1, 7, 30, 108])('is handed out in pieces as it comes, %i bytes at a time', (size) => {
    const scanner = createSseScanner({ maxBlockBytes: 20 })
    const blocks: SseBlock[] = []
    for (let at = 0; at < long.length; at += size) {
      blocks.push(...scanner.push(long.slice(at, at + size)))
      expect(scanner.tail().length).toBeLessThanOrEqual(20)
    }
    expect(new Set(blocks.map(({ kind }) => kind))).toEqual(new Set(['oversized']))
    expect(joined(blocks.map(({ bytes }) => bytes))).toEqual(long)
    expect(scanner.atBoundary()).toBe(true)
    expect(received(scanner.push(after))).toEqual(['event data: ok'])
  })

  it('is too large from the first byte over the limit, and not before', () => {
    const kinds = (maxBlockBytes: number) =>
      scan(createSseScanner({ maxBlockBytes }), [after]).map(({ kind }) => kind)
    expect(kinds(after.length)).toEqual(['event'])
    expect(kinds(after.length - 1)).toEqual(['oversized'])
  })

  it('leaves no boundary in its middle', () => {
    const scanner = createSseScanner({ maxBlockBytes: 20 })
    scanner.push(long.slice(0, 50))
    expect(scanner.tail().length).toBe(0)
    expect(scanner.atBoundary()).toBe(false)
  })

  it('may be as large as 8 MiB unless told otherwise, and joins that byte by byte in linear time', () => {
    const MAX_BYTES = 8 * 1024 * 1024
    const scanner = createSseScanner()
    const blank = bytesOf('\n\n')
    const body = new Uint8Array(MAX_BYTES - blank.length).fill(0x78)
    let blocks: SseBlock[] = []
    for (let at = 0; at < body.length; at += 64)
      blocks.push(...scanner.push(body.subarray(at, at + 64)))
    expect(blocks).toEqual([])
    blocks = scanner.push(blank)
    expect(blocks.map(({ kind, bytes }) => [kind, bytes.length])).toEqual([['event', MAX_BYTES]])
  })
})

describe('parseSseEvent', () => {
  it.each([
    ['data: hello\n\n', { event: 'message', data: 'hello' }],
    ['data:hello\r\n\r\n', { event: 'message', data: 'hello' }],
    ['data:  two\r\r', { event: 'message', data: ' two' }],
    ['data: a\ndata: b\n\n', { event: 'message', data: 'a\nb' }],
    ['data\n\n', { event: 'message', data: '' }],
    ['event: ping\ndata: {}\n\n', { event: 'ping', data: '{}' }],
    ['event: a\nevent: b\ndata: 1\n\n', { event: 'b', data: '1' }],
    ['event:\ndata: 1\n\n', { event: 'message', data: '1' }],
    ['id: 7\nretry: 10\n: note\ndata: x:y\nother: z\n\n', { event: 'message', data: 'x:y' }],
    ['\uFEFFdata: 世界\n\n', { event: 'message', data: '世界' }],
    ['data: no blank line', { event: 'message', data: 'no blank line' }],
    ['Data: x\ndata: y\n\n', { event: 'message', data: 'y' }],
  ])('reads %j', (text, event) => {
    expect(parseSseEvent(bytesOf(text))).toEqual(event)
  })

  it.each([': comment\n\n', '\n', 'event: ping\n\n', 'id: 7\n\n', ' data: x\n\n', ''])(
    'finds no event in %j',
    (text) => {
      expect(parseSseEvent(bytesOf(text))).toBeNull()
    },
  )

  it('reads every event that the scanner finds, whatever the line ends', () => {
    const line = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll(/[\r\n\uFEFF]/g, ''))
    const ends = fc.constantFrom('\n', '\r\n', '\r')
    fc.assert(
      fc.property(fc.array(line, { minLength: 1 }), ends, (lines, end) => {
        const text = lines.map((data) => `data: ${data}${end}`).join('') + end
        const blocks = scan(createSseScanner(), [bytesOf(text)])
        expect(blocks.map(({ bytes }) => parseSseEvent(bytes)?.data)).toEqual([lines.join('\n')])
      }),
    )
  })
})

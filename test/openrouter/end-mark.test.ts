import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createEndMarkFilter } from '../../src/openrouter/end-mark.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** What passes of a stream that comes in these chunks. */
function pass(chunks: readonly Uint8Array[]): Uint8Array[] {
  const filter = createEndMarkFilter()
  return [...chunks.flatMap((chunk) => filter.push(chunk)), ...filter.end()]
}

function textOf(chunks: readonly Uint8Array[]): string {
  return decoder.decode(Uint8Array.from(chunks.flatMap((chunk) => [...chunk])))
}

function cut(text: string, places: readonly number[]): Uint8Array[] {
  const bytes = encoder.encode(text)
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...ends].map((start, i) => bytes.subarray(start, ends[i] ?? bytes.length))
}

/** The same rule over the whole text: a mark after a blank line, with some line ends after it. */
function withoutMark(text: string): string {
  const end = '(?:\\r\\n|\\n|\\r)'
  const mark = `(?:event: ?data${end})?data: ?\\[DONE\\]${end}{0,4}$`
  const blankLine = '(?:\\n\\n|\\n\\r\\n|\\n\\r(?!\\n)|\\r\\r\\n?)'
  // A stream begins as if after a blank line.
  const found = new RegExp(`${blankLine}(${mark})`).exec(`\n\n${text}`)
  return found === null ? text : text.slice(0, text.length - (found[1] ?? '').length)
}

const STOP = 'event: message_stop\ndata: {"type":"message_stop"}\n\n'

describe('the end mark', () => {
  const marks = [
    'event: data\ndata: [DONE]\n\n',
    'data: [DONE]\n\n',
    'data:[DONE]\n\n',
    'data: [DONE]\n',
    'data: [DONE]',
    'event:data\ndata:[DONE]\n\n\n',
  ]
  const ends = ['\n', '\r\n', '\r'] as const
  for (const end of ends) {
    it.each(marks)(`is left out wherever chunks end (${JSON.stringify(end)}): %j`, (mark) => {
      const before = `: hi\n\n${STOP}`.replaceAll('\n', end)
      const text = before + mark.replaceAll('\n', end)
      for (let first = 0; first <= text.length; first += 1) {
        expect(textOf(pass(cut(text, [first])))).toBe(before)
        expect(textOf(pass(cut(text, [first, first + 1, first + 4])))).toBe(before)
      }
      expect(textOf(pass([...encoder.encode(text)].map((byte) => Uint8Array.of(byte))))).toBe(
        before,
      )
    })
  }

  it('is left out where it is all that came', () => {
    expect(pass(cut('data: [DONE]\n\n', [3, 13]))).toEqual([])
  })

  it.each([
    STOP,
    `${STOP}data: [DON`,
    `${STOP}data: [DONE]\n\n${STOP}`,
    `${STOP}data: [DONE]\n\n: comment\n\n`,
    `${STOP}data: [DONE]x\n\n`,
    `${STOP}event: other\ndata: [DONE]\n\n`,
    `${STOP}id: 1\ndata: [DONE]\n\n`,
    'event: content_block_delta\ndata: [DONE]\n\n',
    ' data: [DONE]\n\n',
    'event: error\ndata: {"message":"data: [DONE]\\n\\n"}\n\n',
    'event: d',
    'e',
    '',
  ])('is nothing else: %j', (text) => {
    for (let first = 0; first <= text.length; first += 1) {
      expect(textOf(pass(cut(text, [first])))).toBe(text)
    }
  })

  it('leaves the chunks before it as they are', () => {
    const chunks = [STOP, STOP.slice(0, 9), STOP.slice(9)].map((text) => encoder.encode(text))
    expect(pass([...chunks, encoder.encode('data: [DONE]\n\n')])).toEqual(chunks)
    const filter = createEndMarkFilter()
    for (const chunk of chunks) expect(filter.push(chunk)[0]).toBe(chunk)
  })

  it('is found as in the whole text, whatever comes and however it is cut', () => {
    const pieces = fc.constantFrom(
      ...['data: [DONE]', 'data:', ' [DONE]', 'event: data', 'event: ', 'data', ': c', '{}'],
      ...['\n', '\r', '\r\n', '\n\n', 'x', 'é', STOP],
    )
    const texts = fc.array(pieces, { maxLength: 12 }).map((all) => all.join(''))
    const places = fc.array(fc.nat({ max: 400 }), { maxLength: 12 })
    let found = 0
    fc.assert(
      fc.property(texts, places, fc.boolean(), (text, at, ends) => {
        const all = ends ? `${text}\n\ndata: [DONE]\n\n` : text
        const expected = withoutMark(all)
        if (expected !== all) found += 1
        expect(textOf(pass(cut(all, at)))).toBe(expected)
      }),
      { numRuns: 1000 },
    )
    expect(found).toBeGreaterThan(100)
  })
})

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createSseScanner, parseSseEvent, type SseEvent } from '../../src/openrouter/sse.ts'
import { fuzz } from '../property-limits.ts'

/** The lines of a text, where CR, LF and both together end one. The last one may have no end. */
function linesOf(text: string): string[] {
  const lines = ['']
  for (let i = 0; i < text.length; i += 1) {
    const character = text.charAt(i)
    if (character === '\r' && text[i + 1] === '\n') i += 1
    if (character === '\r' || character === '\n') lines.push('')
    else lines[lines.length - 1] += character
  }
  return lines
}

/** The events of a whole stream, as the HTML standard tells it. */
function referenceEvents(bytes: Uint8Array): SseEvent[] {
  const events: SseEvent[] = []
  let data: string[] = []
  let event = ''
  // The last event counts even without the blank line that ends it.
  for (const line of [...linesOf(new TextDecoder().decode(bytes)), '']) {
    const [, name = '', value = ''] = /^([^:]*)(?:: ?)?(.*)$/su.exec(line) ?? []
    if (name === 'data') data.push(value)
    if (name === 'event') event = value
    if (line !== '') continue
    if (data.length > 0) events.push({ event: event || 'message', data: data.join('\n') })
    data = []
    event = ''
  }
  return events
}

function scannedEvents(chunks: readonly Uint8Array[]): (SseEvent | null)[] {
  const scanner = createSseScanner()
  const blocks = chunks.flatMap((chunk) => scanner.push(chunk.slice())).map(({ bytes }) => bytes)
  return [...blocks, scanner.tail()].map(parseSseEvent).filter((event) => event !== null)
}

const piece = fc.oneof(
  fc.constantFrom(
    'data: x',
    'data:',
    'data',
    'data:  two',
    'event: ping',
    'event',
    ': note',
    'id: 7',
  ),
  fc.constantFrom('\n', '\n', '\n\n', '\r', '\r\n', '\r\n\r\n', ' ', ':', '日', '👋', '\u2028'),
  fc.json().map((json) => `data: ${json}\n\n`),
  fc.string({ unit: 'binary', maxLength: 6 }),
)
const stream = fc
  .array(piece, { maxLength: 30 })
  .map((pieces) => new TextEncoder().encode(pieces.join('').replaceAll('\uFEFF', '')))

it('finds the events that the standard finds, wherever the stream is cut', () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat(), { maxLength: 12 }), (bytes, cuts) => {
      const edges = cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b)
      const chunks = [0, ...edges].map((from, i) => bytes.subarray(from, edges[i] ?? bytes.length))
      expect(scannedEvents(chunks)).toEqual(referenceEvents(bytes))
    }),
    fuzz(500),
  )
})

it('finds them byte by byte, whatever the bytes are', () => {
  const anything = fc.array(
    fc.oneof(fc.constantFrom(0x0a, 0x0d, 0x3a, 0x20, 0xe2, 0x80), fc.nat(255)),
  )
  fc.assert(
    fc.property(anything, (noise) => {
      const bytes = new TextEncoder().encode('data: ')
      // A byte order mark counts at the beginning only, where this stream has none.
      const whole = Uint8Array.from([...bytes, ...noise])
      fc.pre(!Buffer.from(whole).includes(Buffer.from([0xef, 0xbb, 0xbf])))
      const chunks = Array.from(whole, (byte) => Uint8Array.of(byte))
      expect(scannedEvents(chunks)).toEqual(referenceEvents(whole))
    }),
    fuzz(),
  )
})

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createEventNumbering, offsetAfter, readEventId } from '../../src/flight/event-ids.ts'
import { joinPieces } from '../../src/openrouter/pieces.ts'

const encode = (text: string) => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

function numbered(chunks: readonly Uint8Array[]): Uint8Array {
  const numbering = createEventNumbering('req-1')
  return joinPieces([...chunks.flatMap((chunk) => numbering.push(chunk)), ...numbering.end()])
}

it('numbers events and nothing else', () => {
  const text = ': hello\n\ndata: a\n\n: more\n\nevent: x\ndata: b\n\ndata: [DONE]\n\n'
  expect(decode(numbered([encode(text)]))).toBe(
    ': hello\n\nid: req-1.1\ndata: a\n\n: more\n\nid: req-1.2\nevent: x\ndata: b\n\nid: req-1.3\ndata: [DONE]\n\n',
  )
})

it('numbers a last event without its blank line', () => {
  expect(decode(numbered([encode('data: a\n\ndata: b')]))).toBe(
    'id: req-1.1\ndata: a\n\nid: req-1.2\ndata: b',
  )
})

const block = fc.constantFrom(
  'data: a\n\n',
  ': c\n\n',
  'event: e\ndata: "é"\n\n',
  'data: b\r\n\r\n',
)

it('finds the rest after any event, in whatever pieces the stream came', () => {
  fc.assert(
    fc.property(
      fc.array(block, { minLength: 1, maxLength: 12 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
      (blocks, sizes) => {
        const bytes = encode(blocks.join(''))
        const chunks: Uint8Array[] = []
        for (let at = 0; at < bytes.length; ) {
          const size = sizes.next().value ?? 1
          chunks.push(bytes.slice(at, at + size))
          at += size
        }
        const all = decode(numbered(chunks))
        expect(all.replaceAll(/id: req-1\.\d+\n/g, '')).toBe(blocks.join(''))
        const events = blocks.filter((one) => !one.startsWith(':')).length
        for (let after = 0; after <= events; after += 1) {
          const rest = decode(encode(all).subarray(offsetAfter(encode(all), after)))
          expect(all.endsWith(rest)).toBe(true)
          const first = /id: req-1\.(\d+)/.exec(rest)?.[1]
          expect(first).toBe(after < events ? String(after + 1) : undefined)
        }
      },
    ),
    { numRuns: 100 },
  )
})

it('reads its own ids, and no others', () => {
  expect(readEventId('req-1.12')).toEqual({ answerId: 'req-1', events: 12 })
  expect(readEventId(' a.0 ')).toEqual({ answerId: 'a', events: 0 })
  for (const other of [null, '', '12', 'a.', '.1', 'a.b.1', 'a.-1', 'a.1234567890']) {
    expect(readEventId(other)).toBeNull()
  }
})

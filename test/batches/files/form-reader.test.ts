import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type FormEvent, FormReader } from '../../../src/batches/files/form-reader.ts'
import { joinPieces } from '../../../src/openrouter/pieces.ts'
import { fuzz } from '../../property-limits.ts'

const TYPE = 'multipart/form-data; boundary=B-42'
const encoder = new TextEncoder()

interface Part {
  readonly name: string
  readonly filename: string | null
  readonly content: Uint8Array
}

function formOf(parts: readonly Part[]): Uint8Array {
  return joinPieces([
    ...parts.flatMap(({ name, filename, content }) => [
      encoder.encode(
        `--B-42\r\nContent-Disposition: form-data; name="${name}"${filename === null ? '' : `; filename="${filename}"`}\r\n\r\n`,
      ),
      content,
      encoder.encode('\r\n'),
    ]),
    encoder.encode('--B-42--\r\n'),
  ])
}

function read(body: Uint8Array, cuts: readonly number[]): readonly (Part | 'broken')[] {
  const reader = FormReader.of(TYPE)
  if (reader === null) throw new Error('No form')
  const events: FormEvent[] = []
  let start = 0
  for (const end of [...cuts, body.length]) {
    events.push(...reader.push(body.slice(start, end)))
    start = end
  }
  events.push(...reader.end())
  return collected(events)
}

function collected(events: readonly FormEvent[]): readonly (Part | 'broken')[] {
  const parts: (Part | 'broken')[] = []
  let open: { name: string; filename: string | null; pieces: Uint8Array[] } | null = null
  for (const event of events) {
    if (event.kind === 'part') open = { name: event.name, filename: event.filename, pieces: [] }
    if (event.kind === 'bytes') open?.pieces.push(event.bytes.slice())
    if (event.kind === 'broken') parts.push('broken')
    if (event.kind === 'part_end' && open !== null) {
      parts.push({ ...open, content: joinPieces(open.pieces), pieces: undefined } as Part)
    }
  }
  return parts
}

// Much of what the reader looks for, so that a delimiter is nearly found at every turn.
const piece = fc.constantFrom('a', '\r', '\n', '-', '--', '\r\n', '--B-4', '\r\n--B-', 'B-42', '{}')
const content = fc.array(piece, { maxLength: 30 }).map((pieces) => encoder.encode(pieces.join('')))

describe('a form that comes in pieces', () => {
  it('is read as it was written, wherever it is cut', () => {
    const part = fc.record({
      name: fc.constantFrom('purpose', 'file'),
      filename: fc.constantFrom(null, 'lines.jsonl'),
      content: content.filter((bytes) => !new TextDecoder().decode(bytes).includes('\r\n--B-42')),
    })
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 4 }),
        fc.infiniteStream(fc.nat(9)),
        (parts, sizes) => {
          const body = formOf(parts)
          const cuts: number[] = []
          for (let at = 0; at < body.length; ) {
            at += sizes.next().value ?? 1
            if (at < body.length) cuts.push(at)
            if (cuts.length > 2000) break
          }
          const told = read(
            body,
            cuts.filter((cut, i) => cut >= (cuts[i - 1] ?? 0)),
          )
          expect(
            told.map((each) => each !== 'broken' && { ...each, content: [...each.content] }),
          ).toEqual(parts.map((each) => ({ ...each, content: [...each.content] })))
        },
      ),
      fuzz(),
    )
  })

  it('is broken if it ends too early, and never without saying so', () => {
    const body = formOf([{ name: 'file', filename: 'a', content: encoder.encode('line') }])
    const last = body.length - '--\r\n'.length
    for (let length = 0; length < last; length += 1) {
      expect(read(body.slice(0, length), []), `${length}`).toContain('broken')
    }
  })

  it.each([
    ['no boundary', 'multipart/form-data'],
    ['no form', 'application/json'],
  ])('is none with %s', (_, type) => {
    expect(FormReader.of(type)).toBe(null)
  })

  it('has parts with names only', () => {
    expect(read(encoder.encode('--B-42\r\n\r\nx\r\n--B-42--'), [])).toEqual(['broken'])
    expect(read(encoder.encode(`--B-42\r\n${'x'.repeat(20_000)}`), [])).toEqual(['broken'])
  })
})

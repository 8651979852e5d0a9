import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fieldNames } from '../../../src/openrouter/requests/field-names.ts'
import {
  createWalkNotes,
  fieldsOf,
  itemsOf,
  ObjectWalk,
} from '../../../src/openrouter/requests/json-walk.ts'

const encoder = new TextEncoder()
const NAMES = ['model', 'models', 'n', 'max_completion_tokens', 'session_id', 'user']
const LOOKED_FOR = fieldNames(NAMES)
const strict = () => new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

function walk(bytes: Uint8Array) {
  const notes = createWalkNotes()
  const fields = fieldsOf(bytes, { start: 0, end: bytes.length }, LOOKED_FOR, notes)
  return { fields, notes }
}

/** The same, in steps of so many bytes. */
function walkInSteps(bytes: Uint8Array, stepBytes: number) {
  const notes = createWalkNotes()
  const steps = new ObjectWalk(bytes, { start: 0, end: bytes.length }, LOOKED_FOR, notes)
  while (steps.goOn(stepBytes));
  return { fields: steps.fields(), notes }
}

/** The values that the walk finds, parsed one by one; null if it refuses the body. */
function found(bytes: Uint8Array): Record<string, unknown> | null {
  const { fields } = walk(bytes)
  if (fields === null) return null
  return Object.fromEntries(
    [...fields].map(([name, { start, end }]) => [
      name,
      JSON.parse(strict().decode(bytes.subarray(start, end))),
    ]),
  )
}

/** What parsing the whole finds of the same fields; null if it is no JSON object. */
function parsed(bytes: Uint8Array): Record<string, unknown> | null {
  let value: unknown
  try {
    value = JSON.parse(strict().decode(bytes))
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
  const own = Object.entries(value).filter(([name]) => NAMES.includes(name))
  return Object.fromEntries(own)
}

/** A key in one of the ways in which JSON can write it. */
const written = (name: string) =>
  fc
    .array(fc.boolean(), { minLength: name.length, maxLength: name.length })
    .map((escaped) =>
      [...name]
        .map((letter, index) =>
          escaped[index]
            ? `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`
            : JSON.stringify(letter).slice(1, -1),
        )
        .join(''),
    )
const key = fc.oneof(
  fc.constantFrom(...NAMES, '__proto__', 'Model', 'mode', 'models2').chain(written),
  fc.string({ unit: 'binary', maxLength: 8 }).map((text) => JSON.stringify(text).slice(1, -1)),
)
const space = fc.constantFrom('', '', ' ', '\n\t', ' \r\n')
const text = fc
  .tuple(
    fc.array(fc.tuple(space, key, space, space, fc.jsonValue({ stringUnit: 'binary' }), space)),
    fc.constantFrom('', '', '\uFEFF'),
    space,
    fc.nat(2),
  )
  .map(([members, mark, around, indent]) => {
    const inner = members.map(
      ([a, name, b, c, value, d]) =>
        `${a}"${name}"${b}:${c}${JSON.stringify(value, null, indent)}${d}`,
    )
    return `${mark}${around}{${inner.join(',')}}${around}`
  })

describe('a walk over JSON', () => {
  it('finds the top-level fields that JSON.parse finds, whatever the body holds', () => {
    fc.assert(
      fc.property(text, (body) => {
        const bytes = encoder.encode(body)
        expect(found(bytes)).toEqual(parsed(bytes))
      }),
      { numRuns: 500 },
    )
  })

  it('refuses nothing that JSON.parse takes, and finds nothing else in it, after any damage', () => {
    const damage = fc.tuple(fc.nat(), fc.nat(3), fc.constantFrom(...'{}[]",:\\ /\u0000\'tn0'))
    fc.assert(
      fc.property(text, fc.array(damage, { minLength: 1, maxLength: 3 }), (body, damages) => {
        let broken = body
        for (const [place, cut, added] of damages) {
          const at = place % (broken.length + 1)
          broken = broken.slice(0, at) + added + broken.slice(at + cut)
        }
        const bytes = encoder.encode(broken)
        const expected = parsed(bytes)
        if (expected !== null) expect(found(bytes)).toEqual(expected)
        else expect(() => walk(bytes)).not.toThrow()
      }),
      { numRuns: 1000 },
    )
  })

  it('finds and notes the same in steps of any length, which end within keys, strings and escapes', () => {
    const long = fc.constantFrom(
      '',
      ...['x', '\\"', '\\n', 'é', '🙂'].map((part) => part.repeat(600)),
    )
    fc.assert(
      fc.property(
        text,
        long,
        fc.nat(),
        fc.integer({ min: 1, max: 9 }),
        (body, added, place, step) => {
          const at = place % (body.length + 1)
          const bytes = encoder.encode(`${body.slice(0, at)}${added}${body.slice(at)}`)
          const expected = walk(bytes)
          const { fields, notes } = walkInSteps(bytes, step)
          expect(fields).toEqual(expected.fields)
          // Of a broken body the notes are nobody's.
          if (fields !== null) expect(notes).toEqual(expected.notes)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('makes many steps of one long string, key or list', () => {
    const escapes = '\\"'.repeat(4_000)
    for (const body of [`{"a":"${escapes}"}`, `{"${escapes}":1}`, `{"a":["${escapes}"]}`]) {
      const bytes = encoder.encode(body)
      const span = { start: 0, end: bytes.length }
      const steps = new ObjectWalk(bytes, span, LOOKED_FOR, createWalkNotes())
      let count = 1
      while (steps.goOn(1_000)) count += 1
      expect(steps.fields()).not.toBeNull()
      expect(count).toBeGreaterThan(7)
    }
  })

  it.each([
    ['a comment that hides a quote', '{"model":"a","x":[/*"*/],"model":"b","y":["]}'],
    ['single quotes', `{"model":"a",'model':"b"}`],
    ['a key without quotes', '{"model":"a",model:"b"}'],
    ['a comma at the end', '{"model":"a",}'],
    ['a second object', '{"model":"a"}{"model":"b"}'],
    ['a member without a value', '{"model":}'],
    ['an end too many', '{"model":"a"}}'],
    ['no end', '{"model":"a","b":[1,2}'],
    ['a string without an end', '{"model":"a","b":"c\\"}'],
    ['two values', '{"model":"a" "b"}'],
    ['a list', '[{"model":"a"}]'],
    ['nothing', ''],
  ])('refuses %s', (_, body) => {
    expect(found(encoder.encode(body))).toBeNull()
  })

  it('refuses what is no UTF-8, and nothing else for its bytes', () => {
    const edges = [0x61, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0]
    const more = [0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff]
    const piece = fc.oneof(
      fc.array(fc.constantFrom(...edges, ...more), { minLength: 1, maxLength: 4 }),
      fc.string({ unit: 'binary', maxLength: 4 }).map((text) => [...encoder.encode(text)]),
    )
    const isText = (bytes: Uint8Array) => {
      try {
        return strict().decode(bytes) !== null
      } catch {
        return false
      }
    }
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), fc.boolean(), (pieces, isKey) => {
        const inner = pieces.flat().map((byte) => (byte === 0x22 || byte === 0x5c ? 0x61 : byte))
        const [before, after] = isKey ? ['{"a', '":1,"model":"x"}'] : ['{"a":["', '"],"model":"x"}']
        const bytes = new Uint8Array([
          ...encoder.encode(before),
          ...inner,
          ...encoder.encode(after),
        ])
        expect(walk(bytes).fields !== null).toBe(isText(bytes))
      }),
      { numRuns: 2000 },
    )
    const escaped = [...encoder.encode('{"a":"\\'), 0xff, ...encoder.encode('"}')]
    expect(walk(new Uint8Array(escaped)).fields).toBeNull()
  })

  it.each([
    ['brackets', '['.repeat(200_000) + ']'.repeat(200_000)],
    ['objects', `${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`],
    ['escapes', `"${'\\"\\\\'.repeat(100_000)}"`],
    ['short strings', `[${'"",'.repeat(200_000)}1]`],
  ])('walks over %s of any depth and number', (_, value) => {
    const bytes = encoder.encode(`{"a":${value},"model":"x"}`)
    expect(found(bytes)).toEqual({ model: 'x' })
  })

  it('notes long strings, and how much structure there is', () => {
    const long = 'x'.repeat(2000)
    const body = `{"a":["${long}","short"],"model":"y"}`
    const { notes } = walk(encoder.encode(body))
    expect(notes.longStrings.map(({ start, end }) => body.slice(start, end))).toEqual([`"${long}"`])
    expect(notes.structure).toBe(7)
  })

  it('goes over a list item by item', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue({ stringUnit: 'binary' })), fc.nat(2), (items, indent) => {
        const bytes = encoder.encode(JSON.stringify(items, null, indent))
        const spans = [...itemsOf(bytes, { start: 0, end: bytes.length }, createWalkNotes())]
        const read = spans.map(({ start, end }) => strict().decode(bytes.subarray(start, end)))
        expect(read.map((item) => JSON.parse(item))).toEqual(JSON.parse(JSON.stringify(items)))
      }),
    )
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseJson } from '../../src/config/json-text.ts'
import { faultsOf } from './environment.ts'

const faultOf = (text: string) => {
  const parsed = parseJson(text)
  return parsed.ok ? null : parsed.fault
}

describe('a fault of JSON', () => {
  it.each([
    ['[{"key": "a"', 'it ends too early, at line 1, column 13'],
    ['[{"key": "a",}]', 'unexpected } at line 1, column 14'],
    ['[{"key": "a"}\n {"key": "b"}]', 'unexpected { at line 2, column 2'],
    ['[{key: "a"}]', 'an unexpected character at line 1, column 3'],
    ["[{'key': 'a'}]", 'a single quotation mark (JSON takes only ") at line 1, column 3'],
    ['[{“key”: “a”}]', 'a typographic quotation mark (JSON takes only ") at line 1, column 3'],
    [
      '[\n  {"key": "a\n"}]',
      'a string without an end, or with a line break or an odd backslash in it, at line 2, column 11',
    ],
    ['[01]', 'an unexpected character at line 1, column 3'],
    ['[1, 2]]', 'unexpected ] at line 1, column 7'],
    ['{"a" "b"}', 'unexpected " at line 1, column 6'],
    ['', 'it ends too early, at line 1, column 1'],
  ])('%j: %s', (text, fault) => {
    expect(faultOf(text)).toBe(`not valid JSON: ${fault}`)
  })

  it('is found where the engine finds one, and nowhere else; the text before it can be completed', () => {
    const edit = fc.tuple(
      fc.nat(200),
      fc.constantFrom('', '"', ',', '}', ']', '{', ':', '\\', 'x', '0', '\n', ' '),
    )
    fc.assert(
      fc.property(fc.json({ maxDepth: 3 }), fc.array(edit, { maxLength: 3 }), (json, edits) => {
        const text = edits.reduce((current, [at, piece]) => {
          const place = at % (current.length + 1)
          return current.slice(0, place) + piece + current.slice(place + (piece === '' ? 1 : 0))
        }, json)
        let isJson = true
        try {
          JSON.parse(text)
        } catch {
          isJson = false
        }
        const fault = faultOf(text)
        expect(fault === null).toBe(isJson)
        if (fault === null) return
        const [, line = 0, column = 0] = /line (\d+), column (\d+)$/.exec(fault)?.map(Number) ?? []
        const before = text.split('\n').slice(0, line - 1)
        const prefix = [...before, text.split('\n')[line - 1]?.slice(0, column - 1)].join('\n')
        // What lies before the fault is the beginning of some JSON: the engine only misses its end.
        expect(String(faultOf(prefix))).toMatch(/it ends too early|^null$/)
      }),
      { numRuns: 500 },
    )
  })
})

it('of a secret or a variable is told with its place and without the text', async () => {
  const faults = await faultsOf({
    OPENROUTER_KEYS: '[\n  {"key": "sk-or-v1-0123456789" "id": "a"}\n]',
    CLIENT_KEYS: '[{"id": "app", token: "hunter2hunter2hunter2"}]',
    POLICY: '{"strategy": }',
  })
  expect(faults).toEqual([
    'POLICY: must be a table, or the JSON text of one, and is not valid JSON: unexpected } at line 1, column 14',
    'OPENROUTER_KEYS: looks like JSON but is not valid JSON: unexpected " at line 2, column 33',
    'CLIENT_KEYS: looks like JSON but is not valid JSON: an unexpected character at line 1, column 16',
  ])
})

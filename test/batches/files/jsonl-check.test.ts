import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { linesOf } from '../../../src/batches/files/batch-lines.ts'
import { JsonlCheck } from '../../../src/batches/files/jsonl-check.ts'
import { fuzz } from '../../property-limits.ts'

const encoder = new TextEncoder()

const request = (id: string, changes: object = {}) => ({
  custom_id: id,
  method: 'POST',
  url: '/v1/chat/completions',
  body: { model: 'vendor/model', messages: [] },
  ...changes,
})
const line = (id: string, changes: object = {}) => JSON.stringify(request(id, changes))

function checked(bytes: Uint8Array | string, cuts: readonly number[] = []) {
  const whole = typeof bytes === 'string' ? encoder.encode(bytes) : bytes
  const check = new JsonlCheck()
  let start = 0
  for (const end of [...cuts, whole.length]) {
    check.push(whole.slice(start, end))
    start = end
  }
  return check.end()
}

describe('a file of requests', () => {
  it.each([
    ['lines with their ends', `${line('a')}\n${line('b')}\n`, 2],
    ['no end after the last line', `${line('a')}\n${line('b')}`, 2],
    ['ends as Windows writes them', `${line('a')}\r\n${line('b')}\r\n`, 2],
    ['a mark at the beginning', `\uFEFF${line('a')}\n`, 1],
    ['blank lines', `\n${line('a')}\n\r\n  \n${line('b')}\n\n`, 2],
    ['the other prefix', line('a', { url: '/api/v1/chat/completions' }), 1],
    ['models without a first choice', line('a', { body: { models: ['vendor/model'] } }), 1],
    ['escapes in its names', line('a').replace('custom_id', 'custom\\u005fid'), 1],
  ])('may have %s', (_, text, requests) => {
    expect(checked(text)).toMatchObject({
      ...{ requests, faultCount: 0, faults: [], endpoint: '/v1/chat/completions' },
    })
  })

  it.each([
    ['what is no JSON', '{"custom_id":', 2, 'The line is not JSON.'],
    ['what is no object', '[1]', 2, 'The line must be a JSON object.'],
    ['an id twice', line('a'), 2, '"custom_id" is that of line 1. It must be unique.'],
    ['no id', line('', {}), 2, '"custom_id" must be a string of 1 to 512 characters.'],
    ['an id that is no text', line('b', { custom_id: 7 }), 2, '"custom_id" must be a string'],
    ['another method', line('b', { method: 'GET' }), 2, '"method" must be "POST".'],
    ['a url of its own', line('b', { url: '/v1/embeddings' }), 2, '"url" must be the same in all'],
    ['a url that is none', line('b', { url: '/v1/images' }), 2, '"url" must be one of /v1/chat'],
    ['no body', line('b', { body: null }), 2, '"body" must be a JSON object.'],
    ['a stream', line('b', { body: { stream: true } }), 2, '"body.stream" must not be true'],
    ['no model', line('b', { body: { messages: [] } }), 2, '"body" must name a model'],
    ['two megabytes', line('b', { body: { x: 'y'.repeat(2 ** 21) } }), 2, 'The line has more than'],
  ])('with %s has a fault with the number of the line', (_, text, number, message) => {
    const { faults, faultCount } = checked(`${line('a')}\n${text}\n${line('z')}\n`)
    expect(faultCount).toBe(1)
    expect(faults[0]?.line).toBe(number)
    expect(faults[0]?.message).toContain(message)
  })

  it.each([
    ['ends as Windows writes them', (lines: readonly string[]) => lines.join('\r\n'), 3],
    ['a mark at the beginning', (lines: readonly string[]) => `\uFEFF${lines.join('\n')}`, 3],
    ['blank lines', (lines: readonly string[]) => lines.join('\n\n'), 5],
    ['an end after the last line', (lines: readonly string[]) => `${lines.join('\n')}\n`, 3],
  ])('with %s tells the number that an editor shows', (_, join, number) => {
    const { faults } = checked(join([line('a'), line('b'), 'nonsense']))
    expect(faults).toEqual([{ line: number, message: 'The line is not JSON.' }])
  })

  it('that is not UTF-8 has a fault', () => {
    expect(checked(new Uint8Array([0x7b, 0xff, 0x7d])).faults).toEqual([
      { line: 1, message: 'The line is not UTF-8.' },
    ])
  })

  it.each([
    ['nothing', ''],
    ['blank lines alone', '\n\r\n \n'],
  ])('of %s is refused', (_, text) => {
    expect(checked(text).faults).toEqual([{ line: 1, message: 'The file has no request.' }])
  })

  it('has 50,000 requests at most', () => {
    const lines = Array.from({ length: 50_001 }, (_, i) => line(`${i}`))
    const { faults } = checked(lines.join('\n'))
    expect(faults.map(({ message }) => message)).toEqual([
      'The file has 50001 requests. A batch may have 50000.',
    ])
  })

  it('tells the first twenty faults, and counts all', () => {
    const { faults, faultCount } = checked('x\n'.repeat(500))
    expect([faults.length, faultCount, faults.at(-1)?.line]).toEqual([20, 500, 20])
  })
})

describe('ranges', () => {
  const anyLine = fc.oneof(
    { weight: 6, arbitrary: fc.nat(3).map((n) => ({ padding: 10 ** n })) },
    { weight: 1, arbitrary: fc.constant({ padding: 400_000 }) },
    { weight: 1, arbitrary: fc.constant('blank') },
  )

  it('hold every request once, in order, and are small enough for one message', () => {
    fc.assert(
      fc.property(
        fc.array(anyLine, { minLength: 1, maxLength: 80 }),
        fc.constantFrom('\n', '\r\n'),
        fc.array(fc.nat(5000), { maxLength: 5 }),
        (parts, end, cuts) => {
          const lines = parts.map((part, i) =>
            typeof part === 'string'
              ? ' '
              : line(`id-${i}`, { body: { model: 'é'.repeat(part.padding / 2) } }),
          )
          const bytes = encoder.encode(lines.join(end))
          const sorted = cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b)
          const { ranges, requests, faultCount } = checked(bytes, sorted)
          const ids = lines.flatMap((text, i) => (text === ' ' ? [] : [`id-${i}`]))
          expect(faultCount).toBe(ids.length === 0 ? 1 : 0)
          expect(requests).toBe(ids.length)
          const told = ranges.flatMap(
            ({ offset, bytes: length, firstRequest, requests: count }) => {
              const found = linesOf(bytes.subarray(offset, offset + length), firstRequest)
              expect(found.length).toBe(count)
              expect(count).toBeLessThanOrEqual(10)
              expect(length).toBeLessThanOrEqual(1024 * 1024)
              return found
            },
          )
          expect(told.map(({ customId }) => customId)).toEqual(ids)
          expect(told.map(({ line: number }) => number)).toEqual(ids.map((_, i) => i + 1))
        },
      ),
      fuzz(40),
    )
  })

  it('give each body byte for byte', () => {
    const body = '{ "a" : 1.0e+2,\t"b": "\\u00e9 \\/" , "n": 12345678901234567890 }'
    const text = `{"body":${body} ,"url":"/v1/embeddings","custom_id":"caf\\u00e9","method":"POST"}\r\n`
    const [only] = linesOf(encoder.encode(text), 7)
    expect(only).toMatchObject({ line: 7, customId: 'café' })
    expect(new TextDecoder().decode(only?.body)).toBe(body)
  })
})

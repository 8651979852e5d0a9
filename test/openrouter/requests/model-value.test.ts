import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { withFormModel, withModel } from '../../../src/openrouter/requests/model-value.ts'
import { readFormModel } from '../../../src/openrouter/requests/multipart-model.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const bytesOf = (text: string) => encoder.encode(text)

function changed(text: string, model = 'x/new'): string {
  return decoder.decode(withModel(bytesOf(text), model))
}

describe('withModel', () => {
  it.each([
    ['{"model":"old"}', '{"model":"x/new"}'],
    [
      '{"messages":[{"role":"user","content":"Grüße 👋"}],"model":"old","n":1.0}',
      '{"messages":[{"role":"user","content":"Grüße 👋"}],"model":"x/new","n":1.0}',
    ],
    ['\uFEFF{ "model" : "old" , "a" : 1e3 }\n', '\uFEFF{ "model" : "x/new" , "a" : 1e3 }\n'],
    ['\r\n{\t"model"\n:\r\n"old"\t}\r\n', '\r\n{\t"model"\n:\r\n"x/new"\t}\r\n'],
    ['{"a":"\\u00e9\\/\\n","model":"o\\"l,d}"}', '{"a":"\\u00e9\\/\\n","model":"x/new"}'],
    ['{"model":null,"b":[]}', '{"model":"x/new","b":[]}'],
    ['{"model":{"model":["a",{"b":"}"}]},"b":2}', '{"model":"x/new","b":2}'],
    ['{"model":-1.5e+3 }', '{"model":"x/new" }'],
  ])('changes the value and nothing else: %j', (before, after) => {
    expect(changed(before)).toBe(after)
  })

  it.each([
    [
      '{"tool":{"model":"in"},"list":[{"model":"in"}],"model":"old"}',
      '{"tool":{"model":"in"},"list":[{"model":"in"}],"model":"x/new"}',
    ],
    [
      '{"text":"\\"model\\":\\"in\\"","model":"old"}',
      '{"text":"\\"model\\":\\"in\\"","model":"x/new"}',
    ],
    ['{"model":"old","after":{"model":"in"}}', '{"model":"x/new","after":{"model":"in"}}'],
    ['{"a":"model","model":"old"}', '{"a":"model","model":"x/new"}'],
    [
      '{"Model":"in","models":["in"],"model":"old"}',
      '{"Model":"in","models":["in"],"model":"x/new"}',
    ],
    ['{"a":"\\\\","model":"old"}', '{"a":"\\\\","model":"x/new"}'],
    ['{"\\\\u006dodel":"in","model":"old"}', '{"\\\\u006dodel":"in","model":"x/new"}'],
  ])('leaves other models alone: %j', (before, after) => {
    expect(changed(before)).toBe(after)
  })

  it.each(['mod\\u0065l', '\\u006D\\u006F\\u0064\\u0065\\u006C', '\\u006dodel'])(
    'knows the key in its disguise %s',
    (key) => {
      expect(changed(`{"${key}":"old","a":1}`)).toBe(`{"${key}":"x/new","a":1}`)
    },
  )

  it.each([
    ['{"model":"a","model":"b"}', '{"model":"a","model":"x/new"}'],
    ['{"model":"a","mod\\u0065l":"b","c":1}', '{"model":"a","mod\\u0065l":"x/new","c":1}'],
  ])('changes the one of several keys that counts: %j', (before, after) => {
    expect(changed(before)).toBe(after)
    expect(JSON.parse(after).model).toBe('x/new')
  })

  it('escapes what JSON needs escaped', () => {
    const model = 'a"b\\c\n\u2028ü'
    expect(JSON.parse(changed('{"model":"old"}', model))).toEqual({ model })
  })

  it.each(['{}', '{"a":{"model":"in"}}', '["model"]', '[{"model":"in"}]', '"model"', '', 'model:'])(
    'gives back the same bytes where there is no model: %j',
    (text) => {
      const body = bytesOf(text)
      expect(withModel(body, 'x/new')).toBe(body)
    },
  )

  it('comes back from anything that is no JSON', () => {
    const pieces = fc.constantFrom(...'{}[]":,\\ \n', 'model', '"model"', '\\u', 'ü', '1')
    fc.assert(
      fc.property(fc.array(pieces), (parts) => {
        expect(withModel(bytesOf(`{${parts.join('')}`), 'x')).toBeInstanceOf(Uint8Array)
      }),
    )
  })

  it('changes any JSON as parsing, setting and nothing else would', () => {
    const key = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('model', 'Model', 'a"}', '\\'),
    )
    const value = fc.jsonValue({ stringUnit: 'binary' })
    const members = fc.array(fc.tuple(key, value), { maxLength: 6 })
    const gap = fc.constantFrom('', ' ', '\n\t', ' \r\n')
    fc.assert(
      fc.property(
        ...([members, value, members, gap, fc.string(), fc.nat()] as const),
        (before, old, after, space, model, indent) => {
          const write = ([name, item]: readonly [string, unknown]) =>
            `${space}${JSON.stringify(name)}${space}:${space}${JSON.stringify(item, null, indent % 3)}${space}`
          const others = after.filter(([name]) => name !== 'model')
          const head = `${[...before, ['model', 0] as const].map(write).join(',').replace(/0\s*$/, '')}`
          const start = `${space}{${head}`
          const end = `${space}${others.map((member) => `,${write(member)}`).join('')}}${space}`
          const text = start + JSON.stringify(old, null, indent % 3) + end
          const result = changed(text, model)
          expect(result).toBe(start + JSON.stringify(model) + end)
          expect(JSON.parse(result)).toEqual({ ...JSON.parse(text), model })
        },
      ),
      { numRuns: 500 },
    )
  })

  it('changes 2 MB byte for byte, and as deep as one likes', () => {
    const prose = JSON.stringify(`Zwei "Sätze" und ein 👋.\n`.repeat(60_000))
    const deep = '['.repeat(10_000) + ']'.repeat(10_000)
    const objects = `${'{"model":'.repeat(10_000)}1${'}'.repeat(10_000)}`
    const start = `{"messages":[${prose}],"deep":${deep},"objects":${objects}, "model" : `
    const end = ` ,"more":${prose}}`
    expect(start.length + end.length).toBeGreaterThan(2 * 1024 * 1024)
    expect(changed(`${start}"old"${end}`) === `${start}"x/new"${end}`).toBe(true)
  })

  it('does not touch the body it was given', () => {
    const body = bytesOf('{"model":"old"}')
    withModel(body, 'x')
    expect(decoder.decode(body)).toBe('{"model":"old"}')
  })
})

describe('withFormModel', () => {
  const TYPE = 'multipart/form-data; boundary=xyz'
  const form = (model: string) =>
    `--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\0\r\n--xy\xff\r\n` +
    `--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\n${model}\r\n--xyz--\r\n`

  it('changes the field and nothing else', () => {
    const result = withFormModel(bytesOf(form('whisper-1')), TYPE, 'öpenai/whisper')
    expect(result && decoder.decode(result)).toBe(form('öpenai/whisper'))
  })

  it('writes what is read again', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (model) => {
        fc.pre(!/[\r\n]/.test(model))
        const result = withFormModel(bytesOf(form('old')), TYPE, model)
        expect(result && readFormModel(result, TYPE)).toBe(model)
      }),
    )
  })

  it('has no answer where there is no model, or none that a form can hold', () => {
    expect(withFormModel(bytesOf('--xyz--\r\n'), TYPE, 'x')).toBeNull()
    expect(withFormModel(bytesOf(form('old')), 'application/json', 'x')).toBeNull()
    expect(withFormModel(bytesOf(form('old')), TYPE, 'x\r\n--xyz--')).toBeNull()
  })
})

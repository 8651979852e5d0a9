import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readFormModel } from '../../../src/openrouter/requests/multipart-model.ts'

const encoder = new TextEncoder()

/** One byte per character. With it, a test can write a form with binary files as a text. */
const bytesOf = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0))

const TYPE = 'multipart/form-data; boundary=xyz'
const field = (name: string, value: string) =>
  `--xyz\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
const file = (content: string, name = 'file') =>
  `--xyz\r\nContent-Disposition: form-data; name="${name}"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n${content}\r\n`
const END = '--xyz--\r\n'

const read = (text: string, type = TYPE) => readFormModel(bytesOf(text), type)

async function encode(form: FormData): Promise<{ body: Uint8Array; type: string }> {
  const request = new Response(form)
  const type = request.headers.get('content-type') ?? ''
  return { body: new Uint8Array(await request.arrayBuffer()), type }
}

describe('readFormModel', () => {
  it('reads what the platform writes, wherever the field stands', async () => {
    const audio = new File([crypto.getRandomValues(new Uint8Array(50_000))], 'a "b".wav')
    for (const order of [
      ['model', 'file', 'language'],
      ['file', 'language', 'model'],
      ['language', 'model', 'file'],
    ]) {
      const form = new FormData()
      for (const name of order) form.append(name, name === 'file' ? audio : `${name} ü`)
      const { body, type } = await encode(form)
      expect(readFormModel(body, type)).toBe('model ü')
    }
  })

  it.each([
    'multipart/form-data; boundary=xyz',
    'multipart/form-data; boundary="xyz"',
    'multipart/form-data;boundary="x\\yz"',
    'Multipart/Form-Data ; charset=utf-8 ; Boundary=xyz;',
    'multipart/form-data; note="; boundary=other"; boundary=xyz',
  ])('finds the boundary in %s', (type) => {
    expect(read(field('model', 'whisper-1') + END, type)).toBe('whisper-1')
  })

  it.each(['=_/:?()+,.-', 'a b', '----WebKitFormBoundary7MA4YWxkTrZu0gW', 'x'.repeat(70)])(
    'takes the boundary %j',
    (boundary) => {
      const text = (field('model', 'whisper-1') + END).replaceAll('xyz', boundary)
      expect(read(text, `multipart/form-data; boundary="${boundary}"`)).toBe('whisper-1')
    },
  )

  it.each([
    'application/json',
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=""',
    'multipart/form-data; boundary="x\r\n"',
    'multipart/form-data; boundary=xyz; boundary=abc',
    'multipart/mixed; boundary=xyz',
    'multipart/form-data; boundary="xyz',
    `multipart/form-data; boundary=${'x'.repeat(300)}`,
    '',
  ])('reads nothing of a body of the type %j', (type) => {
    expect(read(field('model', 'whisper-1') + END, type)).toBeNull()
  })

  it.each([
    '\r\n--xy',
    '\r\n--xyzz\r\n',
    '\r\n--xyz-\r\n',
    '\r\n--xyz \t.\r\n',
    '\n--xyz\n',
    '\r--xyz\r',
    '\r\r\n\r\n--',
    `x${field('model', 'evil').replaceAll('\r\n', '\n')}`,
    'x--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil',
  ])('is not misled by a file with %j in it', (content) => {
    expect(read(file(content) + field('model', 'whisper-1') + END)).toBe('whisper-1')
    expect(read(field('model', 'whisper-1') + file(content) + END)).toBe('whisper-1')
  })

  it('reads beyond a line end before a form, blanks after a boundary, and a text after the end', () => {
    const text = `\r\n${field('model', 'whisper-1').replace('xyz', 'xyz \t')}${END}`
    expect(read(text + field('model', 'evil'))).toBe('whisper-1')
  })

  it.each([
    'content-disposition:form-data;name=model',
    'CONTENT-DISPOSITION: Form-Data; NAME="model"',
    'Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"\r\nX-Other: name="x"',
  ])('knows the field by the headers %j', (headers) => {
    expect(read(`--xyz\r\n${headers}\r\n\r\nwhisper-1\r\n${END}`)).toBe('whisper-1')
  })

  it('takes no file and no field of another name for it', () => {
    const others = ['models', 'Model', ' model', 'model[]', 'x; name=model']
    const text = others.map((name) => field(name, 'evil')).join('')
    expect(read(text + file('evil', 'model') + END)).toBeNull()
    expect(read(text + file('evil', 'model') + field('model', 'whisper-1') + END)).toBe('whisper-1')
  })

  it.each([
    ['two such fields', field('model', 'a') + field('model', 'b') + END],
    ['an empty one', field('model', '') + END],
    ['one that is far too long', field('model', 'x'.repeat(5000)) + END],
    ['one that is no UTF-8', field('model', '\xff') + END],
    ['no end', field('model', 'a')],
    ['a text before it', `text\r\n${field('model', 'a')}${END}`],
    [
      'no blank line',
      `--xyz\r\nContent-Disposition: form-data; name="a"\r\n${field('model', 'a')}${END}`,
    ],
    ['a boundary right after the headers', field('a', field('model', 'b')) + END],
    ['a part without headers', `--xyz\r\n\r\nx\r\n${field('model', 'a')}${END}`],
    [
      'a part with two names',
      `--xyz\r\nContent-Disposition: form-data; name="a"; name="model"\r\n\r\nx\r\n${field('model', 'a')}${END}`,
    ],
    [
      'a name in the extended form',
      `--xyz\r\nContent-Disposition: form-data; name="a"; name*=utf-8''model\r\n\r\nx\r\n${field('model', 'a')}${END}`,
    ],
    ['a name with a backslash', field('mo\\del', 'x') + field('model', 'a') + END],
    [
      'headers without end',
      `--xyz\r\nContent-Disposition: form-data; name="model"\r\nX: ${'x'.repeat(20_000)}\r\n\r\na\r\n${END}`,
    ],
    ['too many parts', field('a', 'b').repeat(256) + field('model', 'a') + END],
    ['nothing', ''],
  ])('reads no model where readers might differ: %s', (_, text) => {
    expect(read(text)).toBeNull()
  })

  it('reads the last of as many parts as it allows', () => {
    expect(read(field('a', 'b').repeat(255) + field('model', 'whisper-1') + END)).toBe('whisper-1')
  })

  it('agrees with the platform on every form that this writes', async () => {
    const name = fc.oneof(
      fc.constantFrom('model', 'file', 'language', 'a"b', 'a\r\nb'),
      fc.string(),
    )
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .array(fc.constantFrom('\r\n', '\r', '\n', '--', 'name="model"', '\r\n\r\n'))
        .map((parts) => encoder.encode(parts.join(''))),
    )
    const entries = fc.array(fc.tuple(name, fc.oneof(fc.string({ unit: 'grapheme' }), bytes)), {
      maxLength: 8,
    })
    let models = 0
    await fc.assert(
      fc.asyncProperty(entries, async (all) => {
        const form = new FormData()
        for (const [key, value] of all) {
          if (typeof value === 'string') form.append(key, value)
          else form.append(key, new File([value.slice()], 'f'))
        }
        const { body, type } = await encode(form)
        const parsed = await new Response(body.slice(), {
          headers: { 'content-type': type },
        }).formData()
        const values = parsed.getAll('model').filter((value) => typeof value === 'string')
        const isClear = values.length === 1 && !all.some(([key]) => key.includes('\\'))
        const expected = isClear && values[0] !== '' ? values[0] : null
        if (expected !== null) models += 1
        expect(readFormModel(body, type)).toBe(expected)
      }),
      { numRuns: 300 },
    )
    expect(models).toBeGreaterThan(10)
  })

  it('says the same of a broken form as the platform, or nothing', async () => {
    const whole = bytesOf(field('a', 'b') + file('\r\n--xy') + field('model', 'whisper-1') + END)
    const edit = fc.record({
      at: fc.nat({ max: whole.length }),
      drop: fc.nat({ max: 6 }),
      put: fc.constantFrom('', '\r\n', '-', '--xyz', '\r\n--xyz\r\n', '"', ';', 'model', '\\'),
    })
    let read = 0
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
        const body = Uint8Array.from(
          edits.reduce(
            (bytes, { at, drop, put }) => [
              ...bytes.slice(0, at),
              ...bytesOf(put),
              ...bytes.slice(at + drop),
            ],
            [...whole],
          ),
        )
        const model = readFormModel(body, TYPE)
        if (model === null) return
        const parsed = await new Response(body, { headers: { 'content-type': TYPE } })
          .formData()
          .catch(() => null)
        if (parsed === null) return
        read += 1
        expect(parsed.getAll('model').filter((value) => typeof value === 'string')).toEqual([model])
      }),
      { numRuns: 1000 },
    )
    expect(read).toBeGreaterThan(30)
  })
})

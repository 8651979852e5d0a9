import { describe, expect, it } from 'vitest'
import { keyId } from '../../../src/balancing/ids.ts'
import { createSecretRedaction } from '../../../src/gateway/answers/secret-redaction.ts'

const SECRET = 'sk-or-v1-0123456789abcdef'
const redaction = createSecretRedaction([
  { secret: SECRET, keyId: keyId('alpha') },
  { secret: `${SECRET}99`, keyId: keyId('beta') },
  { secret: 'sk-or-v1-with"/quote', keyId: keyId('gamma') },
])
const redacted = (text: string) =>
  new TextDecoder().decode(redaction.bytes(new TextEncoder().encode(text)))

const percent = (text: string) =>
  [...text].map((c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`).join('')
const unicode = (text: string) =>
  [...text].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')

describe('a secret in an error', () => {
  it.each([
    ['as it is', `Bad key ${SECRET}!`, 'Bad key alpha!'],
    ['twice', `${SECRET} ${SECRET}`, 'alpha alpha'],
    ['of two that begin alike', `${SECRET}99, ${SECRET}`, 'beta, alpha'],
    ['in percents', `?key=${percent(SECRET)}&x`, '?key=alpha&x'],
    ['in escapes of JSON', `"${unicode(SECRET)}"`, '"alpha"'],
    ['in part escaped', `sk\\u002dor%2Dv1-0123456789abcdef`, 'alpha'],
    ['in a JSON text in a JSON text', `"{\\"k\\":\\"${SECRET}\\"}"`, '"{\\"k\\":\\"alpha\\"}"'],
    ['with characters that JSON escapes', '"sk-or-v1-with\\"\\/quote"', '"gamma"'],
    ['beside other letters', `Schlüssel ${SECRET} – ungültig 🙂`, 'Schlüssel alpha – ungültig 🙂'],
  ])('%s becomes the id of its key, and nothing else changes', (_, text, expected) => {
    expect(redacted(text)).toBe(expected)
  })

  it('is replaced among bytes that are no UTF-8', () => {
    const body = Uint8Array.from([0xff, 0x80, ...new TextEncoder().encode(SECRET), 0x81, 0xfe])
    expect([...redaction.bytes(body)]).toEqual([
      ...[0xff, 0x80, ...new TextEncoder().encode('alpha'), 0x81, 0xfe],
    ])
  })

  it('is replaced in a header', () => {
    const headers = new Headers({ 'x-openrouter-note': `for ${SECRET}`, 'retry-after': '5' })
    expect(Object.fromEntries(redaction.headers(headers))).toEqual({
      'x-openrouter-note': 'for alpha',
      'retry-after': '5',
    })
  })
})

it('what is no secret of the pool stays as it is, the same bytes', () => {
  for (const text of ['', 'x', 'sk-or-v1-another', 'sk-or-v1-0123…cdef', '%', '\\u', '%zz']) {
    const body = new TextEncoder().encode(text)
    expect(redaction.bytes(body)).toBe(body)
  }
})

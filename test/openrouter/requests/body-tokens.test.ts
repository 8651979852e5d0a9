import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { promptTokens, roughTokens } from '../../../src/openrouter/requests/body-tokens.ts'
import { estimatePromptTokens } from '../../../src/openrouter/requests/token-estimate.ts'
import { walkBody } from '../../../src/openrouter/requests/walked-body.ts'
import { seededRandom } from '../../balancing/seeded-random.ts'

const walked = async (text: string) => {
  const body = await walkBody(new TextEncoder().encode(text), async () => undefined)
  if (body === null) throw new Error('No JSON object')
  return body
}
const estimate = async (text: string, seed = 1) =>
  promptTokens(await walked(text), seededRandom(seed))
const rough = async (text: string, seed = 1) => roughTokens(await walked(text), seededRandom(seed))
const base64 = (length: number) => {
  const random = seededRandom(3)
  return Buffer.from(Array.from({ length }, () => Math.floor(random() * 256))).toString('base64')
}
const PROSE = 'The quick brown fox jumps over the lazy dog, "while nobody is watching".\n'
const CHINESE = '人工智能是计算机科学的一个分支，它企图了解智能的实质。'
const CODE = 'export function sum(a: number, b: number): number {\n\treturn a + b // "both"\n}\n'

const chat = (content: unknown) => ({
  model: 'vendor/model',
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content },
  ],
})
const asAscii = (text: string) =>
  text.replaceAll(/[^ -~]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`)

describe('the estimate of a body', () => {
  it('is that of the parsed request where the body is small', async () => {
    const body = fc.dictionary(fc.string(), fc.jsonValue({ stringUnit: 'binary' }))
    await fc.assert(
      fc.asyncProperty(body, async (request) => {
        const text = JSON.stringify(request)
        expect(await estimate(text)).toBe(estimatePromptTokens(JSON.parse(text), seededRandom(1)))
      }),
      { numRuns: 30 },
    )
  })

  it.each([
    ['prose', PROSE],
    ['Chinese', CHINESE],
    ['code', CODE],
  ])('is near that where the body is large: %s', async (_, piece) => {
    const request = chat(piece.repeat(Math.ceil(600_000 / piece.length)))
    const expected = estimatePromptTokens(request, seededRandom(2))
    for (const text of [JSON.stringify(request), asAscii(JSON.stringify(request))]) {
      for (const seed of [1, 2, 3]) {
        expect(await estimate(text, seed)).toBeGreaterThan(expected * 0.85)
        expect(await estimate(text, seed)).toBeLessThan(expected * 1.15)
      }
    }
  })

  const picture = base64(1_400_000)
  const PICTURES: readonly [string, unknown][] = [
    ['image_url', { type: 'image_url', image_url: { url: `data:image/png;base64,${picture}` } }],
    [
      'source',
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: picture } },
    ],
    ['input_image', { type: 'input_image', image_url: `data:image/jpeg;base64,${picture}` }],
    ['input_audio', { type: 'input_audio', input_audio: { data: picture, format: 'wav' } }],
    ['file', { type: 'file', file: { file_data: `data:application/pdf;base64,${picture}` } }],
  ]

  it.each(PICTURES)('does not count the bytes of a file: %s', async (_, part) => {
    for (const write of [
      (value: unknown) => JSON.stringify(value),
      (value: unknown) => JSON.stringify(value, null, 2),
      (value: unknown) => JSON.stringify(value).replaceAll('/', '\\/'),
    ]) {
      const text = write(chat([{ type: 'text', text: PROSE }, part]))
      for (const tokens of [await estimate(text), await rough(text)]) {
        expect(tokens).toBeGreaterThan(5_000)
        expect(tokens).toBeLessThan(12_000)
      }
    }
  })

  it('is no hiding place for text', async () => {
    const prose = PROSE.repeat(10_000)
    const least = estimatePromptTokens({ prompt: prose }, seededRandom(1)) * 0.8
    const hidden = `data:image/png;base64,${base64(300)}${prose}`
    for (const part of [
      { type: 'image_url', image_url: { url: hidden } },
      { type: 'text', text: hidden },
      { type: 'text', text: `data:image/png;base64,${picture}` },
      { input_audio: { data: base64(300) + prose } },
    ]) {
      const text = JSON.stringify(chat([part]))
      expect(await estimate(text)).toBeGreaterThan(least)
      expect(await rough(text)).toBeGreaterThan(least)
    }
  })

  it.each([
    ['brackets', `${'['.repeat(2e6)}${']'.repeat(2e6)}`],
    ['keys', `{${Array.from({ length: 200_000 }, (_, i) => `"k${i}":${i}`).join(',')}}`],
    ['escapes', `"${'\\u0041\\"'.repeat(400_000)}"`],
    ['numbers', `[${'1,'.repeat(1e6)}1]`],
  ])('of a hostile body is a number that its size bounds: %s', async (_, value) => {
    const text = `{"model":"m","prompt":${value}}`
    const tokens = await estimate(text)
    expect(tokens).toBeGreaterThan(text.length / 100)
    expect(tokens).toBeLessThan(text.length * 2)
  })
})

import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import type { JsonObject } from '../../../src/openrouter/json-value.ts'
import * as textTokens from '../../../src/openrouter/requests/text-tokens.ts'
import { estimatePromptTokens } from '../../../src/openrouter/requests/token-estimate.ts'
import { seededRandom } from '../../balancing/seeded-random.ts'

// Test files of this project share their modules: one that was loaded before has the real module.
vi.hoisted(() => vi.resetModules())
vi.mock('../../../src/openrouter/requests/text-tokens.ts', { spy: true })

const PROSE = 'The quick brown fox jumps over the lazy dog while nobody is watching. '
const estimate = (body: JsonObject, seed = 1) => estimatePromptTokens(body, seededRandom(seed))
const ofText = (text: string, seed = 1) => estimate({ prompt: text }, seed)

/** A text of the given length, made of random pieces. */
function textOf(length: number, piece: (random: () => number) => string): string {
  const random = seededRandom(7)
  let text = ''
  while (text.length < length) text += piece(random)
  return text.slice(0, length)
}

const from = (alphabet: string) => (random: () => number) =>
  alphabet[Math.floor(random() * alphabet.length)] ?? ''
const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
const point = (first: number, count: number) => (random: () => number) =>
  String.fromCodePoint(first + Math.floor(random() * count))

const CHINESE = '人工智能是计算机科学的一个分支，它企图了解智能的实质，并生产出一种新的智能机器。'
const THAI = 'ปัญญาประดิษฐ์คือความฉลาดเทียมที่สร้างขึ้นให้กับสิ่งที่ไม่มีชีวิต'

/** Tokens per character of these texts, counted by the tokenizer o200k_base. */
const DENSE: readonly [string, string, number][] = [
  ['Chinese', CHINESE.repeat(500), 0.65],
  ['Thai', THAI.repeat(300), 0.39],
  ['emoji', textOf(20_000, point(0x1f600, 64)), 0.94],
  ['emoji in a word', `a${textOf(20_000, point(0x1f600, 64))}`, 0.94],
  ['bytes', textOf(20_000, point(0, 256)), 1.06],
  ['base64', textOf(20_000, from(`${LETTERS}${LETTERS.toUpperCase()}0123456789+/`)), 0.68],
  ['hex', textOf(20_000, from('0123456789abcdef')), 0.57],
  ['letters', textOf(20_000, from(LETTERS)), 0.52],
  ['digits', textOf(20_000, from('0123456789')), 0.33],
  ['signs', textOf(20_000, from('!@#$%^&*()[]{};:,.<>/?|~`')), 0.68],
]

describe('the estimate of a prompt', () => {
  it('is near what tokenizers count for a chat in English', () => {
    const messages = [
      { role: 'system', content: 'You are a helpful assistant.' },
      { role: 'user', content: 'What is the capital of France? Answer with one word.' },
    ]
    const tokens = estimate({ model: 'openai/gpt-4o', messages, temperature: 0.7, stream: true })
    // 17 tokens of text, and some tokens between messages.
    expect(tokens).toBeGreaterThanOrEqual(17)
    expect(tokens).toBeLessThanOrEqual(30)
    expect(ofText(PROSE.repeat(100))).toBeGreaterThan(1300)
    expect(ofText(PROSE.repeat(100))).toBeLessThan(1600)
  })

  it.each([
    ['chat', (text: string) => ({ messages: [{ role: 'user', content: text }] })],
    [
      'chat with parts',
      (text: string) => ({ messages: [{ role: 'user', content: [{ type: 'text', text }] }] }),
    ],
    [
      'a tool call',
      (text: string) => ({ messages: [{ tool_calls: [{ function: { arguments: text } }] }] }),
    ],
    ['a tool', (text: string) => ({ tools: [{ function: { name: 'f', description: text } }] })],
    ['the name of a tool’s field', (text: string) => ({ tools: [{ properties: { [text]: {} } }] })],
    ['an old function', (text: string) => ({ functions: [{ name: 'f', description: text }] })],
    [
      'a schema for the answer',
      (text: string) => ({ response_format: { json_schema: { schema: { description: text } } } }),
    ],
    ['completions', (prompt: string) => ({ prompt })],
    ['completions of several', (text: string) => ({ prompt: ['a', text] })],
    ['a suffix', (suffix: string) => ({ prompt: 'a', suffix })],
    ['the system prompt of Messages', (system: string) => ({ system, messages: [] })],
    [
      'a document of Messages',
      (data: string) => ({
        messages: [{ content: [{ type: 'document', source: { type: 'text', data } }] }],
      }),
    ],
    [
      'a tool call of Messages',
      (text: string) => ({
        messages: [{ content: [{ type: 'tool_use', input: { image_url: { url: text } } }] }],
      }),
    ],
    ['Responses', (input: string) => ({ input, instructions: 'a' })],
    ['instructions', (instructions: string) => ({ input: 'a', instructions })],
    ['items of Responses', (text: string) => ({ input: [{ content: [{ text }] }] })],
    ['rerank', (query: string) => ({ query, documents: ['a', { text: 'b' }] })],
    ['documents', (text: string) => ({ query: 'a', documents: [{ text }] })],
    ['what is not known yet', (text: string) => ({ novelty: { deep: [[text]] } })],
  ])('counts the text of %s', (_, body) => {
    const tokens = estimate(body(PROSE.repeat(50)))
    expect(tokens).toBeGreaterThanOrEqual(ofText(PROSE.repeat(50)))
    expect(tokens).toBeLessThan(ofText(PROSE.repeat(50)) + 20)
  })

  it('counts nothing that no model reads', () => {
    const steering = {
      model: PROSE,
      models: [PROSE],
      metadata: { note: PROSE },
      user: PROSE,
      session_id: PROSE,
      provider: { order: [PROSE] },
      logit_bias: { 100: 1 },
      temperature: 0.123456,
      max_tokens: 1000,
      stream: true,
    }
    expect(estimate(steering)).toBe(0)
    expect(estimate({})).toBe(0)
    expect(estimate({ prompt: '' })).toBe(0)
  })

  it('counts token ids one by one', () => {
    const ids = Array.from({ length: 10_000 }, (_, index) => index)
    expect(estimate({ prompt: ids })).toBe(10_000)
    expect(estimate({ input: [ids, ids] })).toBe(20_000)
  })

  it('is a whole number of 0 or more for any JSON', () => {
    const bodies = fc.dictionary(fc.string(), fc.jsonValue({ stringUnit: 'binary' }))
    fc.assert(
      fc.property(bodies, fc.nat(), (body, seed) => {
        const tokens = estimate(body, seed)
        expect(Number.isSafeInteger(tokens) && tokens >= 0).toBe(true)
      }),
    )
  })

  it('is not overthrown by any depth', () => {
    const depth = 100_000
    const lists = JSON.parse(
      `${'['.repeat(depth)}${JSON.stringify(PROSE.repeat(50))}${']'.repeat(depth)}`,
    )
    const objects = JSON.parse(`${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`)
    expect(estimate({ messages: lists })).toBe(ofText(PROSE.repeat(50)))
    expect(estimate({ tools: objects })).toBeGreaterThan(depth / 8)
  })
})

describe('an attachment', () => {
  const base64 = textOf(1_000_000, from(`${LETTERS}${LETTERS.toUpperCase()}0123456789+/`))
  const url = `data:image/png;base64,${base64}`

  it.each([
    ['an image', { type: 'image_url', image_url: { url } }],
    ['an image of Responses', { type: 'input_image', image_url: url }],
    ['a video', { type: 'video_url', video_url: { url } }],
    ['a file', { type: 'file', file: { filename: 'a.pdf', file_data: url } }],
    ['a file of Responses', { type: 'input_file', file_data: base64 }],
    ['a recording', { type: 'input_audio', input_audio: { data: base64, format: 'wav' } }],
    ['an image of Messages', { type: 'image', source: { type: 'base64', data: base64 } }],
    ['an image to be ranked', { image: url }],
    ['an image that a model made', { type: 'image_generation_call', result: base64 }],
    ['speech that a model made', { audio: { id: 'a', data: base64 } }],
  ])('counts by its size, not as text: %s', (_, part) => {
    const tokens = estimate({ messages: [{ role: 'user', content: [part] }] })
    expect(tokens).toBeGreaterThanOrEqual(6000)
    expect(tokens).toBeLessThan(6100)
  })

  it('counts also where it stands at the top, as in transcriptions', () => {
    expect(estimate({ input_audio: { data: base64 } })).toBeLessThan(6100)
  })

  it('counts as a small one behind a link', () => {
    const link = { type: 'image_url', image_url: { url: 'https://example.com/a.png' } }
    const tokens = estimate({ messages: [{ role: 'user', content: [link] }] })
    expect(tokens).toBeGreaterThan(1000)
    expect(tokens).toBeLessThan(1030)
  })

  it('counts what can be read in it if it is a text', () => {
    const text = { file: { file_data: `data:text/plain;base64,${btoa(PROSE.repeat(2000))}` } }
    const tokens = estimate({ messages: [{ content: [text] }] })
    expect(tokens).toBeGreaterThan(ofText(PROSE.repeat(2000)))
  })

  it('is no hiding place for text', () => {
    const text = PROSE.repeat(5000)
    const least = ofText(text) * 0.9
    const hidden = `data:image/png;base64,${text}`
    const places: JsonObject[] = [
      { messages: [{ content: [{ type: 'image_url', image_url: { url: text } }] }] },
      { tools: [{ function: { parameters: { image_url: { url: hidden } } } }] },
      { messages: [{ content: [{ type: 'tool_use', input: { file_data: hidden } }] }] },
      { messages: [{ content: hidden }] },
      { messages: [{ content: [{ type: 'text', text: hidden }] }] },
      { prompt: hidden },
      { input: [hidden] },
    ]
    for (const body of places) expect(estimate(body)).toBeGreaterThan(least)
  })
})

describe('a prompt that is too long to be counted whole', () => {
  it('costs no more to estimate than one of 64K characters', () => {
    const estimator = vi.mocked(textTokens.textTokens)
    const bodies: JsonObject[] = [
      { prompt: PROSE.repeat(100_000) },
      { messages: Array.from({ length: 50_000 }, () => ({ role: 'user', content: PROSE })) },
    ]
    for (const body of bodies) {
      estimator.mockClear()
      estimate(body)
      const read = estimator.mock.calls.reduce((sum, [text = '']) => sum + text.length, 0)
      expect(read).toBeGreaterThan(10_000)
      expect(read).toBeLessThanOrEqual(64 * 1024)
    }
  })

  it.each([
    ['one text', (text: string, times: number) => ({ prompt: text.repeat(times) })],
    [
      'messages',
      (text: string, times: number) => ({ messages: Array.from({ length: times }, () => [text]) }),
    ],
  ])('grows with its length: %s', (_, body) => {
    const words = fc.oneof(
      fc.constantFrom(
        'the ',
        'internationalization, ',
        '世界',
        '👋',
        '0x1f ',
        '\n\n',
        '{"a": 1}, ',
      ),
      fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => `${text} `),
    )
    const texts = fc
      .array(words, { minLength: 50, maxLength: 200 })
      .map((all) => `${all.join('')} `)
    fc.assert(
      fc.property(texts, fc.integer({ min: 2, max: 400 }), fc.nat(), (text, times, seed) => {
        const once = estimate(body(text, 1), seed)
        const tokens = estimate(body(text, times), seed)
        expect(tokens).toBeGreaterThan(0.9 * times * once)
        expect(tokens).toBeLessThan(1.5 * times * once + 10)
      }),
      { numRuns: 60 },
    )
  })

  it.each(DENSE)('is seen to be dense, short or long: %s', (_, text, tokensPerCharacter) => {
    const real = text.length * tokensPerCharacter
    for (const times of [1, 20]) {
      expect(ofText(text.repeat(times))).toBeGreaterThan(0.65 * times * real)
      expect(ofText(text.repeat(times))).toBeLessThan(2 * times * real)
    }
  })

  it.each(DENSE)('is seen to end in something dense: %s', (_, text, tokensPerCharacter) => {
    const cheap = ' '.repeat(1_000_000)
    const added = ofText(cheap + text.repeat(10)) - ofText(cheap)
    expect(added).toBeGreaterThan(0.5 * text.length * 10 * tokensPerCharacter)
  })

  it('has no gaps that a text could be put into', () => {
    // If samples lay at regular distances, this pattern could show them only blanks.
    const stretch = 8192
    const [, dense = ''] = DENSE[0] ?? []
    const text = (' '.repeat(stretch / 2) + dense.slice(0, stretch / 2)).repeat(128)
    const whole = ofText(dense.slice(0, stretch / 2)) * 128
    const estimates = Array.from({ length: 50 }, (_, seed) => ofText(text, seed))
    expect(Math.min(...estimates)).toBeGreaterThan(0.8 * whole)
    expect(Math.max(...estimates)).toBeLessThan(2 * whole)
  })

  it('is on average what counting the whole gives', () => {
    // Prose and all that is dense in turn, each piece short enough to be counted whole.
    const pieces = DENSE.map(([, text]) => PROSE.repeat(100) + text.slice(0, 4000))
    const whole = pieces.reduce((sum, piece) => sum + ofText(piece), 0)
    const text = pieces.join('')
    for (const times of [1, 10]) {
      const estimates = Array.from({ length: 50 }, (_, seed) => ofText(text.repeat(times), seed))
      const mean = estimates.reduce((sum, tokens) => sum + tokens, 0) / estimates.length
      expect(mean / (times * whole)).toBeGreaterThan(0.98)
      expect(mean / (times * whole)).toBeLessThan(1.03)
      expect(Math.min(...estimates) / mean).toBeGreaterThan(0.85)
      expect(Math.max(...estimates) / mean).toBeLessThan(1.15)
    }
  })

  it('cannot be blown up with blanks for nothing', () => {
    for (const blank of [' ', '\n', '\t', ' \n']) {
      expect(ofText(blank.repeat(1_000_000))).toBeGreaterThan(100_000)
    }
  })

  it('is the same for the same random numbers', () => {
    const [, text = ''] = DENSE[0] ?? []
    const body = { prompt: (PROSE + text).repeat(20) }
    expect(estimate(body, 5)).toBe(estimate(body, 5))
    expect(estimate(body, 5)).not.toBe(estimate(body, 6))
  })
})

import { describe, expect, it } from 'vitest'
import {
  modelsNamed,
  priceTableOf,
  storedPriceTable,
  withEndpoints,
} from '../../../src/openrouter/prices/price-table.ts'

const LIST = {
  data: [
    {
      id: 'author/plain',
      canonical_slug: 'author/plain-2026-01-01',
      context_length: 128_000,
      architecture: { input_modalities: ['text', 'file'] },
      pricing: { prompt: '0.00000015', completion: '0.0000006', request: '0', image: null },
      top_provider: { context_length: 64_000, max_completion_tokens: 16_384 },
    },
    {
      id: 'author/plain:free',
      canonical_slug: 'author/plain-2026-01-01',
      pricing: { prompt: '0', completion: '0' },
    },
    {
      id: 'author/long',
      context_length: 1_000_000,
      pricing: {
        prompt: '0.000003',
        completion: '0.000015',
        input_cache_write: 'dear',
        overrides: [
          { min_prompt_tokens: 200_000, prompt: '0.000006', completion: '0.0000225' },
          { utc_start: 1630, utc_end: 30, prompt: '0.000001' },
          { utc_start: 2599, utc_end: 30, prompt: '0.000009' },
          'cheap',
        ],
      },
    },
    { id: 'openrouter/auto', pricing: { prompt: '-1', completion: '-1' } },
    { id: 'author/silent' },
    { id: 'author/half', pricing: { prompt: '0.000001', overrides: { prompt: '0' } } },
    { name: 'no id' },
    null,
    7,
  ],
}

const table = priceTableOf([LIST, { data: 'none' }, null], 1_000)
const model = (id: string) => table?.models[id]

describe('a list of models', () => {
  it('becomes prices in pico-dollars', () => {
    expect(model('author/plain')).toEqual({
      rates: { base: { prompt: 150_000, completion: 600_000, request: 0 }, overrides: [] },
      contextLength: 128_000,
      maxAnswerTokens: 16_384,
      readsFiles: true,
    })
  })

  it('keeps overrides with the conditions that can be read; what cannot always holds', () => {
    expect(model('author/long')?.rates).toEqual({
      base: { prompt: 3_000_000, completion: 15_000_000, input_cache_write: null },
      overrides: [
        { prices: { prompt: 6_000_000, completion: 22_500_000 }, overTokens: 200_000 },
        { prices: { prompt: 1_000_000 }, window: { from: 990, to: 30 } },
        { prices: { prompt: 9_000_000 } },
        { prices: { prompt: null, completion: null } },
      ],
    })
  })

  it('never makes 0 of a price that is not there or makes no sense', () => {
    const unknown = { prompt: null, completion: null }
    expect(model('openrouter/auto')?.rates.base).toEqual(unknown)
    expect(model('author/silent')?.rates.base).toEqual(unknown)
    expect(model('author/half')?.rates).toEqual({
      base: { prompt: 1_000_000, completion: null },
      overrides: [{ prices: unknown }],
    })
  })

  it('passes over what is no model, and is no table without any', () => {
    expect(Object.keys(table?.models ?? {})).toHaveLength(6)
    expect(priceTableOf([{ data: [null] }, { error: { code: 503 } }, 'x'], 0)).toBeNull()
  })
})

describe('the name of a model', () => {
  const named = (name: string) => (table === null ? null : modelsNamed(table, name))

  it.each([
    ['author/plain', ['author/plain']],
    ['author/plain:free', ['author/plain:free']],
    ['author/plain:nitro', ['author/plain']],
    ['author/plain:free:online', ['author/plain:free']],
    ['author/plain:online:floor', ['author/plain']],
    // A dated name may be the paid or the free one.
    ['author/plain-2026-01-01', ['author/plain', 'author/plain:free']],
    ['author/plain:thinking', []],
    ['author/other', []],
    ['constructor', []],
    ['__proto__', []],
  ])('%s', (name, ids) => {
    expect(named(name)).toEqual(ids)
  })
})

describe('the endpoints of a model', () => {
  const endpoints = (...list: readonly unknown[]) => ({ data: { endpoints: list } })
  const merged = (answer: unknown, id = 'author/plain') => {
    if (table === null) throw new Error('no table')
    return withEndpoints(table, id, answer, 2_000)
  }

  it('raise its prices to those of the dearest, each by itself', () => {
    const answer = endpoints(
      {
        tag: 'azure',
        context_length: 200_000,
        max_completion_tokens: 8_000,
        pricing: { prompt: '0.0000002', completion: '0.0000001', request: '0.01' },
      },
      {
        tag: 'deepinfra/fp8',
        context_length: 100_000,
        max_completion_tokens: 32_000,
        pricing: {
          prompt: '0.0000001',
          completion: '0.0000007',
          overrides: [{ min_prompt_tokens: 5, prompt: '0.1' }],
        },
      },
    )
    expect(merged(answer).models['author/plain']).toEqual({
      rates: {
        base: { prompt: 200_000, completion: 700_000, request: 10_000_000_000 },
        overrides: [{ prices: { prompt: 100_000_000_000 }, overTokens: 5 }],
      },
      fast: null,
      contextLength: 200_000,
      maxAnswerTokens: 32_000,
      readsFiles: true,
      endpointsAtMs: 2_000,
    })
  })

  it('of a dearer tier count only for those who ask for it', () => {
    const answer = endpoints(
      { tag: 'openai', pricing: { prompt: '0.00000015', completion: '0.0000006' } },
      { tag: 'openai/flex', pricing: { prompt: '0.00000007', completion: '0.0000003' } },
      { tag: 'openai/fast', pricing: { prompt: '0.0000003', completion: '0.0000012' } },
      { tag: 'azure/priority', pricing: { prompt: '0.0000004', completion: '0.000001' } },
    )
    const { rates, fast, maxAnswerTokens } = merged(answer).models['author/plain'] ?? {}
    expect(rates?.base).toMatchObject({ prompt: 150_000, completion: 600_000 })
    expect(fast?.base).toEqual({ prompt: 400_000, completion: 1_200_000 })
    // An endpoint that does not say may answer as long as it likes.
    expect(maxAnswerTokens).toBeNull()
  })

  it('make a price unknown if one of theirs cannot be read', () => {
    const answer = endpoints({ tag: 'x', pricing: { prompt: 'dear', completion: '0' } })
    expect(merged(answer).models['author/plain']?.rates.base.prompt).toBeNull()
  })

  it.each([
    ['an error', { error: { code: 404 } }],
    ['none', endpoints()],
    ['no list', { data: { endpoints: 'x' } }],
  ])('change nothing if the answer is %s', (_, answer) => {
    expect(merged(answer)).toBe(table)
  })

  it('change nothing of a model that is not in the list', () => {
    expect(merged(endpoints({ pricing: {} }), 'author/other')).toBe(table)
  })
})

describe('a stored table', () => {
  it('is read as it was written', () => {
    expect(storedPriceTable(JSON.parse(JSON.stringify(table)))).toEqual(table)
  })

  it('loses an entry that makes no sense, and no other', () => {
    const good = model('author/plain')
    const models = { good, bad: { ...good, rates: { base: { prompt: -1 }, overrides: [] } } }
    const read = storedPriceTable({ ...table, models: { ...models, worse: 1 } })
    expect(read?.models).toEqual({ good })
  })

  it.each([
    null,
    undefined,
    'text',
    {},
    { version: 2, madeAtMs: 1, models: {} },
    { version: 1, madeAtMs: 1, models: {} },
    { version: 1, models: { a: model('author/plain') } },
  ])('%j is none', (value) => {
    expect(storedPriceTable(value)).toBeNull()
  })
})

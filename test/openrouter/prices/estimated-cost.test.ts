import { describe, expect, it } from 'vitest'
import { estimatedCostUsd } from '../../../src/openrouter/prices/estimated-cost.ts'
import { priceTableOf } from '../../../src/openrouter/prices/price-table.ts'

const NOON_MS = Date.UTC(2026, 0, 15, 12)

const list = {
  data: [
    { id: 'v/plain', pricing: { prompt: '0.000001', completion: '0.000004', request: '0.001' } },
    { id: 'v/free', pricing: { prompt: '0', completion: '0' } },
    { id: 'v/odd', pricing: { prompt: '-1', completion: '0.000004' } },
    {
      id: 'v/long',
      canonical_slug: 'v/dated',
      pricing: {
        ...{ prompt: '0.000001', completion: '0.000004' },
        overrides: [{ min_prompt_tokens: 1000, prompt: '0.000002', completion: '0.000008' }],
      },
    },
    {
      id: 'v/night',
      canonical_slug: 'v/dated',
      pricing: {
        ...{ prompt: '0.000002', completion: '0.000002' },
        overrides: [{ utc_start: 0, utc_end: 600, prompt: '0.000009' }],
      },
    },
  ],
}

const table = priceTableOf([list], NOON_MS)

const cost = (model: string, promptTokens: number, completionTokens: number, atMs = NOON_MS) =>
  table === null
    ? 'no table'
    : estimatedCostUsd({ promptTokens, completionTokens }, model, table, atMs)

describe('the estimated cost of an answer', () => {
  it.each([
    ['prompt, answer and request', 'v/plain', 100, 10, 0.00114],
    ['the input alone', 'v/plain', 100, 0, 0.0011],
    ['another order of endpoints', 'v/plain:nitro', 100, 10, 0.00114],
    ['a model that is free', 'v/free', 100, 10, 0],
    ['below a tier', 'v/long', 1000, 10, 0.00104],
    ['above a tier', 'v/long', 1001, 10, 0.002082],
    ['the dearest of those that a name may mean', 'v/dated', 10, 10, 0.00005],
    ['by day', 'v/night', 100, 0, 0.0002],
  ])('is that of %s', (_, model, prompt, completion, usd) => {
    expect(cost(model, prompt, completion)).toBeCloseTo(usd, 12)
  })

  it('goes by the hour', () => {
    expect(cost('v/night', 100, 0, Date.UTC(2026, 0, 15, 3))).toBeCloseTo(0.0009, 12)
  })

  it.each(['v/unknown', 'v/odd', 'toString'])('is not known for %s', (model) => {
    expect(cost(model, 100, 10)).toBeNull()
  })
})

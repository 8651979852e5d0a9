import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mergeUsage, readUsage } from '../../src/openrouter/usage.ts'

describe('readUsage', () => {
  it('reads chat’s usage', () => {
    const usage = {
      prompt_tokens: 254,
      completion_tokens: 40,
      total_tokens: 294,
      cost: 0.000837,
      is_byok: false,
      prompt_tokens_details: { cached_tokens: 200, cache_write_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 12, image_tokens: 0 },
      cost_details: { upstream_inference_cost: null },
    }
    expect(readUsage(usage)).toEqual({
      promptTokens: 254,
      completionTokens: 40,
      cachedTokens: 200,
      reasoningTokens: 12,
      costUsd: 0.000837,
      estimated: false,
    })
  })

  it('reads the usage of /responses', () => {
    const usage = {
      input_tokens: 78,
      input_tokens_details: { cached_tokens: 8 },
      output_tokens: 30,
      output_tokens_details: { reasoning_tokens: 20 },
      total_tokens: 108,
      cost: 0.00002,
    }
    expect(readUsage(usage)).toMatchObject({
      promptTokens: 78,
      completionTokens: 30,
      cachedTokens: 8,
      reasoningTokens: 20,
    })
  })

  it('counts the cache of /messages into the prompt, as the other shapes do', () => {
    const usage = {
      input_tokens: 5,
      cache_read_input_tokens: 100,
      cache_creation_input_tokens: 20,
      output_tokens: 7,
      cost: 0.001,
    }
    expect(readUsage(usage)).toMatchObject({
      promptTokens: 125,
      completionTokens: 7,
      cachedTokens: 100,
      costUsd: 0.001,
    })
  })

  it('counts Anthropic’s thinking as reasoning', () => {
    const usage = {
      input_tokens: 5,
      output_tokens: 7,
      output_tokens_details: { thinking_tokens: 4 },
    }
    expect(readUsage(usage)).toMatchObject({ completionTokens: 7, reasoningTokens: 4 })
  })

  it('reads the usage of embeddings, and that of rerank', () => {
    expect(readUsage({ prompt_tokens: 9, total_tokens: 9, cost: 0.0001 })).toMatchObject({
      promptTokens: 9,
      completionTokens: 0,
    })
    expect(readUsage({ search_units: 1, total_tokens: 150, cost: 0.002 })).toMatchObject({
      promptTokens: 150,
      completionTokens: 0,
      costUsd: 0.002,
    })
  })

  it.each([undefined, null, 7, 'x', [], {}, { prompt_tokens: 'many' }, { cost: -1 }])(
    'finds no usage in %j',
    (value) => {
      expect(readUsage(value)).toBeNull()
    },
  )

  it('never gives a number that is negative or none', () => {
    const number = fc.oneof(fc.double(), fc.integer(), fc.anything())
    const fields = fc.record(
      {
        prompt_tokens: number,
        completion_tokens: number,
        input_tokens: number,
        output_tokens: number,
        total_tokens: number,
        cost: number,
        cache_read_input_tokens: number,
        cache_creation_input_tokens: number,
        prompt_tokens_details: fc.oneof(fc.record({ cached_tokens: number }), fc.anything()),
        completion_tokens_details: fc.oneof(fc.record({ reasoning_tokens: number }), fc.anything()),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.oneof(fields, fc.anything()), (value) => {
        const usage = readUsage(value)
        if (usage === null) return
        const { estimated, ...numbers } = usage
        expect(estimated).toBe(false)
        for (const amount of Object.values(numbers)) {
          expect(Number.isFinite(amount)).toBe(true)
          expect(amount).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })
})

describe('mergeUsage', () => {
  const start = readUsage({ input_tokens: 5, cache_read_input_tokens: 100, output_tokens: 1 })
  const end = readUsage({ input_tokens: null, output_tokens: 30, cost: 0.001 })

  it('keeps the prompt of the start beside the answer and the cost of the end', () => {
    expect(mergeUsage(start, end)).toEqual({
      promptTokens: 105,
      completionTokens: 30,
      cachedTokens: 100,
      reasoningTokens: 0,
      costUsd: 0.001,
      estimated: false,
    })
  })

  it('counts what is told twice only once', () => {
    expect(mergeUsage(end, end)).toEqual(end)
  })

  it('is what there is where one is missing', () => {
    expect(mergeUsage(null, end)).toEqual(end)
    expect(mergeUsage(start, null)).toEqual(start)
    expect(mergeUsage(null, null)).toBeNull()
  })
})

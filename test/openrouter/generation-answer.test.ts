import { describe, expect, it } from 'vitest'
import { readGeneration } from '../../src/openrouter/generation-answer.ts'

const DATA = {
  id: 'gen-1700000000-switchyard',
  total_cost: 0.00042,
  upstream_inference_cost: 0.0084,
  is_byok: false,
  tokens_prompt: 9,
  tokens_completion: 4,
  native_tokens_prompt: 11,
  native_tokens_completion: 5,
  native_tokens_reasoning: 2,
  native_tokens_cached: 3,
}

describe('readGeneration', () => {
  it('reads what the account was charged, and the native counts', () => {
    expect(readGeneration(200, { data: DATA })).toEqual({
      kind: 'found',
      usage: {
        ...{ promptTokens: 11, completionTokens: 5, cachedTokens: 3, reasoningTokens: 2 },
        ...{ costUsd: 0.00042, estimated: false },
      },
    })
  })

  it('counts the provider’s price beside the fee only with an own provider key', () => {
    const found = readGeneration(200, { data: { ...DATA, is_byok: true } })
    expect(found).toMatchObject({ usage: { costUsd: 0.00042, byokUsd: 0.0084 } })
  })

  it('takes the other counts where there are no native ones', () => {
    const { native_tokens_prompt: _, native_tokens_completion: __, ...data } = DATA
    const found = readGeneration(200, { data: { ...data, native_tokens_cached: null } })
    expect(found).toMatchObject({
      usage: { promptTokens: 9, completionTokens: 4, cachedTokens: 0 },
    })
  })

  it.each([
    [404, { error: { code: 404, message: 'Generation not found' } }, 'not_found'],
    [401, { error: { code: 401, message: 'No' } }, 'unknown'],
    [200, { data: { ...DATA, total_cost: null } }, 'unknown'],
    [200, { data: { ...DATA, total_cost: -1 } }, 'unknown'],
    [200, '<html>', 'unknown'],
    [502, undefined, 'unknown'],
    [0, undefined, 'unknown'],
  ])('says of %s %j: %s', (status, body, kind) => {
    expect(readGeneration(status, body)).toEqual({ kind })
  })
})

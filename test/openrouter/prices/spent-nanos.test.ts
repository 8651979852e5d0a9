import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { spentNanos } from '../../../src/openrouter/prices/spent-nanos.ts'
import { mergeUsage, readUsage } from '../../../src/openrouter/usage.ts'

const spent = (usage: object, includesByok: boolean) => {
  const read = readUsage({ prompt_tokens: 1, ...usage })
  return read === null ? null : spentNanos(read, includesByok)
}

const cost_details = { upstream_inference_cost: 0.000_03 }

describe('what an answer cost', () => {
  it.each<[string, object, number, number]>([
    [
      'without a key of the provider',
      { cost: 0.000_02, is_byok: false, cost_details },
      20_000,
      20_000,
    ],
    ['without a word about keys', { cost: 0.000_02, cost_details }, 20_000, 20_000],
    ['with a key of the provider', { cost: 0.000_002, is_byok: true, cost_details }, 2_000, 32_000],
    ['with a key, in an older form', { cost: 0.5, is_byok: true }, 500_000_000, 500_000_000],
    [
      'with a word that is no yes',
      { cost: 0.000_002, is_byok: 'true', cost_details },
      2_000,
      2_000,
    ],
    [
      'with a price that makes no sense',
      { cost: 1, is_byok: true, cost_details: { upstream_inference_cost: -3 } },
      ...([1e9, 1e9] as const),
    ],
  ])('%s', (_, usage, alone, withByok) => {
    expect(spent(usage, false)).toBe(alone)
    expect(spent(usage, true)).toBe(withByok)
  })

  it('keeps the price of the provider’s key when a stream reports its usage in parts', () => {
    const start = readUsage({ input_tokens: 9 })
    const end = readUsage({ output_tokens: 9, cost: 0.1, is_byok: true, cost_details })
    expect(mergeUsage(start, end)).toMatchObject({ costUsd: 0.1, byokUsd: 0.000_03 })
    expect(mergeUsage(end, start)).toMatchObject({ costUsd: 0.1, byokUsd: 0.000_03 })
    expect(mergeUsage(start, start)).not.toHaveProperty('byokUsd')
  })

  it('is what OpenRouter wrote, to the nano-dollar', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000_000_000 }), (nanos) => {
        const digits = String(nanos).padStart(10, '0')
        const cost = Number(`${digits.slice(0, -9)}.${digits.slice(-9)}`)
        expect(spent({ cost }, false)).toBe(nanos)
      }),
    )
  })
})

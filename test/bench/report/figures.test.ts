import { describe, expect, it } from 'vitest'
import { besideReference, beyondReference, decimal, whole } from './figures.ts'

const reference = [100, 200, 100]
const again = [102, 200, 98]

describe('a figure', () => {
  it('that could not be measured is not written as a number', () => {
    expect(whole(Number.NaN)).toBe('n/a')
    expect(decimal(Number.NaN, 2)).toBe('n/a')
    expect(whole(1234.5)).toBe('1,235')
  })

  it('stands beside the reference, and what is within the noise is marked', () => {
    expect(besideReference({ ours: reference, reference, again })).toBe('1')
    expect(besideReference({ ours: again, reference, again })).toBe('± 0.02')
    expect(besideReference({ ours: [50, 100, 51], reference, again })).toBe('0.50')
    expect(besideReference({ ours: [102, 202, 100], reference, again })).toBe('≈ 1.01')
  })

  it('lies beyond the reference by a difference', () => {
    expect(beyondReference({ ours: reference, reference, again }, 1)).toBe('0')
    expect(beyondReference({ ours: again, reference, again }, 1)).toBe('± 2.0')
    expect(beyondReference({ ours: [90, 190, 90], reference, again }, 1)).toBe('−10.0')
    expect(beyondReference({ ours: [102, 201, 100], reference, again }, 1)).toBe('≈ +1.0')
  })
})

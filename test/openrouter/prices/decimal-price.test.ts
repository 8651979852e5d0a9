import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { picosOf } from '../../../src/openrouter/prices/decimal-price.ts'

describe('a price', () => {
  it.each([
    ['0.00000015', 150_000],
    ['0.000003', 3_000_000],
    ['0.01', 10_000_000_000],
    ['.5', 500_000_000_000],
    ['0', 0],
    ['0.000', 0],
    ['1.5e-7', 150_000],
    [1.5e-7, 150_000],
    [0, 0],
    // Finer than a pico-dollar: rounded up.
    ['0.0000000000001', 1],
    ['0.0000001500004', 150_001],
    ['0.00000000000000000', 0],
    ['1e-20', 1],
  ])('%j is %d pico-dollars', (usd, picos) => {
    expect(picosOf(usd)).toBe(picos)
  })

  it.each([
    ...['-1', '-0.1', '', ' ', '.', 'free', '0x10', '1,5', '0.1 USD', 'NaN', 'Infinity', '9e99'],
    ...['99999999999', null, undefined, true, [], {}, Number.NaN, -1, Number.POSITIVE_INFINITY],
  ])('%j is none', (usd) => {
    expect(picosOf(usd)).toBeNull()
  })

  it('is exact for every decimal of twelve places', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (picos) => {
        const digits = String(picos).padStart(13, '0')
        expect(picosOf(`${digits.slice(0, -12)}.${digits.slice(-12)}`)).toBe(picos)
      }),
    )
  })
})

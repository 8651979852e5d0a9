import { describe, expect, it } from 'vitest'
import { compare, median, noiseOf, percentile, ratios } from './statistics.ts'

describe('percentile', () => {
  it('is the value at the nearest rank, whatever the order', () => {
    expect(percentile([5, 1, 4, 2, 3], 0.5)).toBe(3)
    expect(percentile([5, 1, 4, 2, 3], 0.99)).toBe(5)
    expect(percentile([5, 1, 4, 2, 3], 0)).toBe(1)
  })

  it('compares by value and not by text', () => {
    expect(percentile([10, 9, 100], 1)).toBe(100)
  })

  it('of nothing is not a number', () => {
    expect(percentile([], 0.5)).toBeNaN()
  })
})

describe('median', () => {
  it('is the middle value, or lies between the middle two', () => {
    expect(median([9, 1, 5])).toBe(5)
    expect(median([9, 1, 5, 7])).toBe(6)
    expect(median([])).toBeNaN()
  })
})

describe('noise', () => {
  it('is the distance from no difference that three rounds in four keep', () => {
    expect(noiseOf([100, 98, 105, 300], [100, 100, 100, 100])).toBeCloseTo(0.05)
    expect(noiseOf([90], [100])).toBeCloseTo(0.1)
  })

  it('decides what counts as a difference', () => {
    expect(compare([104, 103, 90], [100, 100, 100], 0.05)).toEqual({
      ratio: 1.03,
      isWithinNoise: true,
    })
    expect(compare([94, 50, 94], [100, 100, 100], 0.05).isWithinNoise).toBe(false)
  })

  it('is taken round by round, so that a slow round spoils nothing', () => {
    expect(ratios([50, 200], [100, 400])).toEqual([0.5, 0.5])
  })
})

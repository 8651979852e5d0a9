import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BUCKETS_MS,
  countOf,
  countTime,
  countTimes,
  createHistogram,
  createKeyTimes,
  quantileMs,
  restoreHistogram,
} from '../../../src/balancing/accounting/time-histogram.ts'

const anyTimes = fc.array(fc.oneof(fc.nat({ max: 200_000 }), fc.constantFrom(...BUCKETS_MS)), {
  minLength: 1,
  maxLength: 200,
})

function histogramOf(times: readonly number[]) {
  const histogram = createHistogram()
  for (const ms of times) countTime(histogram, ms)
  return histogram
}

describe('a histogram of times', () => {
  it('counts each time once, in the lowest bucket that holds it', () => {
    fc.assert(
      fc.property(anyTimes, (times) => {
        const { counts, sumMs } = histogramOf(times)
        const expected = [0, ...BUCKETS_MS].map((above, at) => {
          const upTo = BUCKETS_MS[at] ?? Number.POSITIVE_INFINITY
          return times.filter((ms) => ms <= upTo && (at === 0 || ms > above)).length
        })
        expect(counts).toEqual(expected)
        expect(countOf({ counts })).toBe(times.length)
        expect(sumMs).toBe(times.reduce((sum, ms) => sum + ms, 0))
      }),
    )
  })

  it('tells a quantile that lies in the bucket of the real one', () => {
    const bucketOf = (ms: number) => BUCKETS_MS.findIndex((bound) => ms <= bound)
    fc.assert(
      fc.property(anyTimes, fc.constantFrom(0.5, 0.9, 0.99), (times, share) => {
        const real = times.toSorted((a, b) => a - b)[Math.ceil(share * times.length) - 1] ?? 0
        const told = quantileMs(histogramOf(times), share) ?? Number.NaN
        const last = BUCKETS_MS.at(-1) ?? 0
        expect(told <= last ? bucketOf(told) : -1).toBe(bucketOf(Math.min(real, last)))
      }),
    )
  })

  it('tells none of nothing', () => {
    expect(quantileMs(createHistogram(), 0.5)).toBe(null)
  })

  it('is not restored from one of other buckets', () => {
    const stored = histogramOf([5, 500, 500_000])
    const same = createHistogram()
    restoreHistogram(same, stored)
    expect(same).toEqual(stored)
    restoreHistogram(same, { counts: [1, 2], sumMs: 9 })
    expect(same).toEqual(stored)
  })
})

describe('the times of a key', () => {
  it('are those of good answers, and of timeouts up to which nothing came', () => {
    const times = createKeyTimes()
    countTimes(times, { outcome: 'success', firstOutputMs: 300, tookMs: 900 })
    countTimes(times, { outcome: 'failure', firstOutputMs: 60_000, tookMs: 60_000 })
    countTimes(times, { outcome: 'failure', tookMs: 3 })
    countTimes(times, { outcome: 'ignorable', firstOutputMs: 400, tookMs: 20_000 })
    expect([countOf(times.firstOutput), countOf(times.answer)]).toEqual([3, 1])
    expect(times.answer.sumMs).toBe(900)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { observe, type PeakEwma, valueMs } from '../../../src/balancing/strategies/peak-ewma.ts'

const T = 1_800_000_000_000
const SECOND_MS = 1_000

/** The average after some samples, each with its time since the sample before. */
function averageOf(...samples: readonly (readonly [gapMs: number, sampleMs: number])[]) {
  let nowMs = T
  let average: PeakEwma | null = null
  for (const [gapMs, sampleMs] of samples) {
    nowMs += gapMs
    average = observe(average, sampleMs, nowMs)
  }
  return { average, nowMs }
}

describe('a peak-sensitive moving average', () => {
  it('is nothing while nothing was measured, and then the first sample', () => {
    expect(valueMs(null, T)).toBeNull()
    expect(valueMs(observe(null, 400, T), T)).toBe(400)
  })

  it('believes a slow answer at once, however many fast ones came before', () => {
    const fast = Array.from({ length: 100 }, () => [SECOND_MS, 200] as const)
    const { average, nowMs } = averageOf(...fast, [SECOND_MS, 9_000])
    expect(valueMs(average, nowMs)).toBe(9_000)
  })

  it('believes fast answers only as time passes, and not by their number', () => {
    const { average, nowMs } = averageOf(
      [0, 9_000],
      ...Array.from({ length: 100 }, () => [1, 200] as const),
    )
    expect(valueMs(average, nowMs)).toBeGreaterThan(8_900)
  })

  it('has forgotten most of a slow answer after half a minute of fast ones, and then nearly all', () => {
    const fast = (seconds: number) =>
      Array.from({ length: seconds }, () => [SECOND_MS, 200] as const)
    const soon = averageOf([0, 9_000], ...fast(30))
    expect(valueMs(soon.average, soon.nowMs)).toBeLessThan(200 + 0.4 * 8_800)
    const late = averageOf([0, 9_000], ...fast(180))
    expect(valueMs(late.average, late.nowMs)).toBeLessThan(230)
  })

  it('sinks while nobody measures, so that a slow key is tried again', () => {
    const average = observe(null, 9_000, T)
    const values = [0, 10, 20, 40, 60].map((s) => valueMs(average, T + s * SECOND_MS) ?? -1)
    expect(values).toEqual(values.toSorted((a, b) => b - a))
    expect(values.at(-1)).toBeGreaterThan(0)
    expect(values.at(-1)).toBeLessThan(0.2 * 9_000)
  })

  it('is no measurement any more after a minute, rather than nearly zero', () => {
    const average = observe(null, 9_000, T)
    expect(valueMs(average, T + 60 * SECOND_MS)).not.toBeNull()
    expect(valueMs(average, T + 60 * SECOND_MS + 1)).toBeNull()
  })

  it('begins anew with a sample that comes long after the last', () => {
    const { average, nowMs } = averageOf([0, 9_000], [3_600 * SECOND_MS, 300])
    expect(valueMs(average, nowMs)).toBeCloseTo(300, 6)
  })

  it('does not grow when the clock was set back', () => {
    const average = observe(null, 400, T)
    expect(valueMs(average, T - 3_600 * SECOND_MS)).toBe(400)
    const next = observe(average, 100, T - 3_600 * SECOND_MS)
    expect(valueMs(next, T - 3_600 * SECOND_MS)).toBe(400)
  })

  it('takes a time below zero for no time at all', () => {
    expect(valueMs(observe(null, -5, T), T)).toBe(0)
  })

  it('always lies between nothing and the slowest sample so far', () => {
    const anySamples = fc.array(
      fc.tuple(
        fc.oneof(fc.nat({ max: 120_000 }), fc.integer({ min: -60_000, max: 0 })),
        fc.double({ min: 0, max: 1e6, noNaN: true }),
      ),
      { minLength: 1, maxLength: 40 },
    )
    fc.assert(
      fc.property(anySamples, fc.nat({ max: 100_000 }), (samples, laterMs) => {
        const { average, nowMs } = averageOf(...samples)
        const value = valueMs(average, nowMs)
        expect(value).toBeGreaterThanOrEqual(0)
        expect(value).toBeLessThanOrEqual(Math.max(...samples.map(([, sampleMs]) => sampleMs)))
        expect(valueMs(average, nowMs + laterMs) ?? 0).toBeLessThanOrEqual(value ?? 0)
      }),
    )
  })
})

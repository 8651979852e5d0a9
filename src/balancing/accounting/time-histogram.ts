import type { Settlement } from '../settlement.ts'

/** How often a time fell into each of some fixed buckets. Histograms of the same buckets can be added. */
export interface TimeHistogram {
  /** By bucket of `BUCKETS_MS`; one more, at the end, for all that took longer. */
  readonly counts: number[]
  sumMs: number
}

/**
 * Upper bounds in milliseconds, each twice the one before: those that OpenTelemetry advises for the
 * duration of a call to a model. A quantile that is read from them is off by less than half of itself.
 */
export const BUCKETS_MS = [
  ...[10, 20, 40, 80, 160, 320, 640],
  ...[1_280, 2_560, 5_120, 10_240, 20_480, 40_960, 81_920],
] as const

/** What a key's attempts took. */
export interface KeyTimes {
  /** To the first output, or to the timeout that ended the attempt. */
  readonly firstOutput: TimeHistogram
  /** Of answers that were good to their end. */
  readonly answer: TimeHistogram
}

export function createKeyTimes(): KeyTimes {
  return { firstOutput: createHistogram(), answer: createHistogram() }
}

export function createHistogram(): TimeHistogram {
  return { counts: Array.from({ length: BUCKETS_MS.length + 1 }, () => 0), sumMs: 0 }
}

/** Counts a time. A bound belongs to the bucket below it, as in Prometheus. */
export function countTime(histogram: TimeHistogram, ms: number): void {
  let at = 0
  while (ms > (BUCKETS_MS[at] ?? Number.POSITIVE_INFINITY)) at += 1
  histogram.counts[at] = (histogram.counts[at] ?? 0) + 1
  histogram.sumMs += ms
}

/** Counts what an attempt took. Of one that failed only a timeout tells anything of its key's speed. */
export function countTimes(
  times: KeyTimes,
  { outcome, firstOutputMs, tookMs }: Pick<Settlement, 'outcome' | 'firstOutputMs' | 'tookMs'>,
): void {
  if (firstOutputMs !== undefined) countTime(times.firstOutput, firstOutputMs)
  if (tookMs !== undefined && outcome === 'success') countTime(times.answer, tookMs)
}

/** How many times were counted. */
export function countOf({ counts }: Pick<TimeHistogram, 'counts'>): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

/**
 * A quantile, in milliseconds, as if the times of a bucket were spread evenly over it; null if nothing
 * was counted. What took longer than every bound counts as the last bound.
 * @param share 0.5 for the median
 */
export function quantileMs(histogram: TimeHistogram, share: number): number | null {
  const rank = share * countOf(histogram)
  if (rank === 0) return null
  let below = 0
  for (const [at, boundMs] of BUCKETS_MS.entries()) {
    const count = histogram.counts[at] ?? 0
    if (below + count >= rank) {
      const fromMs = BUCKETS_MS[at - 1] ?? 0
      return fromMs + ((boundMs - fromMs) * (rank - below)) / count
    }
    below += count
  }
  return BUCKETS_MS.at(-1) ?? null
}

/** Puts what was stored into a histogram. Of other buckets nothing can be told apart. */
export function restoreHistogram(histogram: TimeHistogram, stored: TimeHistogram): void {
  if (stored.counts.length !== histogram.counts.length) return
  histogram.counts.splice(0, histogram.counts.length, ...stored.counts)
  histogram.sumMs = stored.sumMs
}

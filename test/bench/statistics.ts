/** The value that a share of the others lies below, 0 to 1; nearest rank. NaN where there are none. */
export function percentile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort()
  const rank = Math.ceil(share * sorted.length) - 1
  return sorted[Math.max(0, rank)] ?? Number.NaN
}

/** The middle value; the mean of the middle two where their number is even. NaN where there are none. */
export function median(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort()
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
  return (lower + upper) / 2
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/**
 * Round by round, one thing's figure divided by another's. What a noisy machine does to a round it
 * does to both, so these differ less than the figures themselves.
 */
export function ratios(ours: readonly number[], reference: readonly number[]): number[] {
  return ours.map((value, round) => value / (reference[round] ?? Number.NaN))
}

/**
 * How far two measurements of one and the same thing lie apart: three rounds in four are closer to
 * each other than this. What is compared is the median of the rounds, which is steadier than a
 * round, so that this is rather too large; the worst round of all would say nothing but that once
 * something else ran on the machine.
 */
export function noiseOf(again: readonly number[], once: readonly number[]): number {
  return percentile(
    ratios(again, once).map((ratio) => Math.abs(ratio - 1)),
    NOISE_SHARE,
  )
}

/** Of rounds, that count as ordinary. */
export const NOISE_SHARE = 0.75

/** A figure beside that of the reference, and whether the two differ by more than noise. */
export interface Comparison {
  /** Median of the rounds. */
  readonly ratio: number
  readonly isWithinNoise: boolean
}

/** @param noise what `noiseOf` says of the reference against itself */
export function compare(
  ours: readonly number[],
  reference: readonly number[],
  noise: number,
): Comparison {
  const ratio = median(ratios(ours, reference))
  return { ratio, isWithinNoise: Math.abs(ratio - 1) <= noise }
}

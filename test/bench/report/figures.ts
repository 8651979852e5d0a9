import { compare, median, NOISE_SHARE, noiseOf, percentile } from '../statistics.ts'

/** How figures are written: NaN, which stands for what could not be measured, as `n/a`. */

export function whole(value: number): string {
  return known(value, () => Math.round(value).toLocaleString('en'))
}

export function decimal(value: number, digits: number): string {
  return known(value, () => value.toFixed(digits))
}

/** With its sign. */
function difference(value: number, digits: number): string {
  return known(value, () => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`)
}

/** Three sets of rounds: a thing's, those of what it is held against, and those of that once more. */
export interface Beside {
  readonly ours: readonly number[]
  readonly reference: readonly number[]
  readonly again: readonly number[]
}

/**
 * A ratio to the reference. For the reference once more it says how far that was off, which is the
 * noise; `≈` marks what lies within that and so is no difference.
 */
export function besideReference({ ours, reference, again }: Beside): string {
  if (ours === reference) return '1'
  const noise = noiseOf(again, reference)
  if (ours === again) return known(noise, () => `± ${noise.toFixed(2)}`)
  const { ratio, isWithinNoise } = compare(ours, meanOf(reference, again), noise)
  return known(ratio, () => `${isWithinNoise ? '≈ ' : ''}${ratio.toFixed(2)}`)
}

/** As `besideReference`, but how much more than the reference instead of how many times as much. */
export function beyondReference({ ours, reference, again }: Beside, digits: number): string {
  if (ours === reference) return '0'
  const noise = percentile(differences(again, reference).map(Math.abs), NOISE_SHARE)
  if (ours === again) return known(noise, () => `± ${noise.toFixed(digits)}`)
  const more = median(differences(ours, meanOf(reference, again)))
  return `${Math.abs(more) <= noise ? '≈ ' : ''}${difference(more, digits)}`
}

/** The reference is measured twice in a round: both together are disturbed less than either. */
function meanOf(reference: readonly number[], again: readonly number[]): number[] {
  return reference.map((value, round) => (value + (again[round] ?? Number.NaN)) / 2)
}

function differences(ours: readonly number[], reference: readonly number[]): number[] {
  return ours.map((value, round) => value - (reference[round] ?? Number.NaN))
}

function known(value: number, text: () => string): string {
  return Number.isFinite(value) ? text() : 'n/a'
}

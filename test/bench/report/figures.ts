import type { Comparison } from '../statistics.ts'

/** How figures are written: NaN, which stands for what could not be measured, as `n/a`. */

export function whole(value: number): string {
  return known(value, () => Math.round(value).toLocaleString('en'))
}

export function decimal(value: number, digits: number): string {
  return known(value, () => value.toFixed(digits))
}

/** With its sign. */
export function difference(value: number, digits: number): string {
  return known(value, () => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`)
}

/** `≈` marks what lies within the noise and so is no difference. */
export function ratio({ ratio: value, isWithinNoise }: Comparison): string {
  return known(value, () => `${isWithinNoise ? '≈ ' : ''}${value.toFixed(2)}`)
}

/** How far a thing measured against itself was off, as a ratio. */
export function noise(value: number): string {
  return known(value, () => `± ${value.toFixed(2)}`)
}

function known(value: number, text: () => string): string {
  return Number.isFinite(value) ? text() : 'n/a'
}

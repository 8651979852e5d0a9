import type { Random } from '../../src/balancing/random.ts'

/** Draws from a seeded generator. */
export interface Draw {
  /** From 0 to 1. */
  unit(): number
  /** A whole number; both ends are included. */
  int(least: number, most: number): number
  chance(share: number): boolean
  of<T>(values: readonly T[]): T
}

export function drawFrom(random: Random): Draw {
  const int = (least: number, most: number) => least + Math.floor(random() * (most - least + 1))
  return {
    unit: random,
    int,
    chance: (share) => random() < share,
    of(values) {
      const value = values[int(0, values.length - 1)]
      if (value === undefined) throw new Error('Nothing to draw from')
      return value
    },
  }
}

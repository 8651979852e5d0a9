/** A source of uniform numbers in [0, 1), like `Math.random`; seeded in tests. */
export type Random = () => number

/** What a strategy sees of a key. `smoothedWeight` belongs to smooth weighted round-robin alone. */
export interface Balanced {
  /** Place in the configuration, from 0. */
  readonly position: number
  /** Relative share, at least 1. */
  readonly weight: number
  /** Leases out now: what is running, not what has finished. */
  readonly inFlight: number
  /** Sequence number of the last grant, 0 if there was none: the lower, the longer ago. */
  readonly lastTurn: number
  /** How much of its weight a key can carry now, above 0: less than 1 only while it recovers. */
  readonly share: number
  smoothedWeight: number
}

export type NonEmpty<T> = readonly [T, ...T[]]

export function isNonEmpty<T>(items: readonly T[]): items is NonEmpty<T> {
  return items.length > 0
}

/**
 * The least item by `compare`, ties broken uniformly at random in one pass
 * (reservoir sampling of size one: Vitter, "Random Sampling with a Reservoir",
 * 1985). Breaking ties by list order would send every quiet pool's traffic to
 * its first key.
 *
 * @param compare negative when `a` should be chosen before `b`, 0 for a tie
 */
export function least<T>(items: NonEmpty<T>, compare: (a: T, b: T) => number, random: Random): T {
  let chosen = items[0]
  let ties = 1
  for (let i = 1; i < items.length; i++) {
    const item = items[i] as T
    const order = compare(item, chosen)
    if (order < 0) {
      chosen = item
      ties = 1
    } else if (order === 0) {
      ties += 1
      if (random() * ties < 1) chosen = item
    }
  }
  return chosen
}

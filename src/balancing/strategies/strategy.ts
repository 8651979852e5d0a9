import type { Credit } from '../accounting/credit.ts'
import type { Tally } from '../accounting/ledger.ts'
import type { Meter } from '../limits/meter.ts'
import type { PeakEwma } from './peak-ewma.ts'

/** A source of uniform numbers in [0, 1), like `Math.random`; seeded in tests. */
export type Random = () => number

/** What a strategy sees of a key. */
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
  readonly credit: Credit
  /** Time to first output; null while unmeasured. */
  readonly latency: PeakEwma | null
  /** Requests, and tokens, of the last minute against the key's limits; null without a limit. */
  readonly rpm: Meter | null
  readonly tpm: Meter | null
  readonly tally: Tally
}

/** What a strategy may know besides the keys, at one choice. */
export interface Choice {
  readonly nowMs: number
  readonly random: Random
  readonly memory: Memory
  /** All keys that could come into question, whether or not they may serve now. */
  readonly members: readonly Balanced[]
  /** Credit below which `credit-threshold` moves on, in USD. */
  readonly thresholdUsd: number
  /** What an answer of this pool costs on average: what a running one is likely to. */
  readonly meanCostUsd: number
  /** What the whole pool has spent since midnight UTC. */
  readonly spentTodayUsd: number
}

/** What a strategy remembers from one choice to the next, for one route. Only `choose` changes it. */
export interface Memory {
  /** By position: what smooth weighted round-robin owes each key. */
  readonly smoothedWeights: Map<number, number>
  /** Position of the key that `credit-threshold` is on. */
  current: number
}

export function createMemory(): Memory {
  return { smoothedWeights: new Map(), current: 0 }
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

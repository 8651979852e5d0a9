import type { Credit } from '../accounting/credit.ts'
import type { Tally } from '../accounting/ledger.ts'
import type { Meter } from '../limits/meter.ts'
import type { NonEmpty } from '../non-empty.ts'
import type { Random } from '../random.ts'
import type { PeakEwma } from './peak-ewma.ts'

/** What a strategy sees of a key. */
export interface Candidate {
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
  readonly members: readonly Candidate[]
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

/** A way to pick one of the keys that may serve. */
export interface Strategy {
  /** Picks. Changes nothing but the choice's memory. */
  readonly choose: <K extends Candidate>(eligible: NonEmpty<K>, choice: Choice) => K
  /** How a key stands, for people: never negative and never NaN; null where nothing is known. */
  readonly score: (key: Candidate, choice: Choice) => number | null
  /** Which scores are better. */
  readonly best: 'lowest' | 'highest'
}

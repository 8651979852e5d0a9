import type { Credit } from '../accounting/credit.ts'
import type { Tally } from '../accounting/ledger.ts'
import type { Meter } from '../limits/meter.ts'
import type { NonEmpty } from '../non-empty.ts'
import type { Random } from '../random.ts'
import type { PeakEwma } from './peak-ewma.ts'

/** A key that may serve, as a strategy sees it. */
export interface Candidate {
  /** Place in the configuration, from 0. */
  readonly position: number
  /** Relative share, at least 1. */
  readonly weight: number
  /** The number of live leases. */
  readonly inFlight: number
  /** Sequence number of the key's last grant; 0 if it had none. A lower number is longer ago. */
  readonly lastTurn: number
  /** As `lastTurn`, among the grants to batches. */
  readonly batch: { readonly lastTurn: number }
  /** How much of its weight the key can carry now, above 0. Below 1 only in slow start. */
  readonly share: number
  readonly credit: Credit
  /** Time to first output; null while unmeasured. */
  readonly latency: PeakEwma | null
  /** The requests, and the tokens, of the last minute against the limits; null without a limit. */
  readonly rpm: Meter | null
  readonly tpm: Meter | null
  readonly tally: Tally
}

/** What a strategy may know at one choice, besides the keys. */
export interface Choice {
  readonly nowMs: number
  readonly random: Random
  readonly memory: Memory
  /** All keys of the route, whether or not they may serve now. */
  readonly members: readonly Candidate[]
  /** Credit below which `credit-threshold` moves on, in USD. */
  readonly thresholdUsd: number
  /** What an answer of this pool costs on average, in USD: the expected cost of a running one. */
  readonly meanCostUsd: number
  /** What the whole pool has spent since midnight UTC, in USD. */
  readonly spentTodayUsd: number
}

/**
 * What a strategy remembers between choices, for one route. `score` does not change it. What it chooses
 * for batches it remembers apart: else each of them would spend the turn of an interactive request.
 */
export interface Memory {
  readonly isOfBatches: boolean
  /** By position: what smooth weighted round-robin owes each key. */
  readonly smoothedWeights: number[]
  /** Position of the key that `credit-threshold` is on. */
  current: number
}

/** The memory of a strategy that has not chosen yet. */
export function createMemory(isOfBatches = false): Memory {
  return { isOfBatches, smoothedWeights: [], current: 0 }
}

/** A way to pick one of the candidates. */
export interface Strategy {
  /** Picks a key. It changes nothing but the choice's memory. */
  readonly choose: <K extends Candidate>(eligible: NonEmpty<K>, choice: Choice) => K
  /** How good a key is, for operators to read: never negative, never NaN; null if unknown. */
  readonly score: (key: Candidate, choice: Choice) => number | null
  /**
   * Whether it has an order of its own, which says where a new conversation goes. Affinity then only
   * keeps a conversation where it is; under the other strategies hashing places it.
   */
  readonly isOrdered?: true
  /** Which scores are better. */
  readonly best: 'lowest' | 'highest'
}

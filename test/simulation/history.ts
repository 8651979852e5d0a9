import type { ClientsConfig } from '../../src/balancing/clients/clients.ts'
import type { ClientsOrder } from '../../src/balancing/clients/registry.ts'
import type { SteeringOrder } from '../../src/balancing/operators/steering.ts'
import type { KeySpec } from '../balancing/pool-driver.ts'
import type { WorldOptions } from '../gateway/virtual-world.ts'
import type { PricedPlan } from './clients/priced-requests.ts'

/**
 * A history as plain data: a pool, and what happens to it at which moment. Everything random that is
 * not in here is drawn from the seed, so a history with less in it can be run again: that is how a
 * failing one is made short.
 */
export interface History {
  readonly seed: number
  readonly kind: HistoryKind
  readonly hours: number
  readonly pool: PoolPlan
  readonly happenings: readonly Happening[]
}

/**
 * - `calm`: equal keys, and nothing fails
 * - `hostile`: some callers send rubbish and a model that is down; nothing else fails
 * - `busy`: isolates under load, which hold leases ahead; now and then a fault
 * - `stormy`: every fault there is
 */
export type HistoryKind = 'calm' | 'hostile' | 'busy' | 'stormy'

export interface PoolPlan {
  readonly keys: readonly KeySpec[]
  readonly options: Pick<WorldOptions, 'strategy' | 'routes' | 'pool' | 'credit' | 'queue'>
  readonly maxAttempts: number
  readonly accounts: readonly AccountPlan[]
  /** Clients with limits, and their groups; null where none has any. */
  readonly clients: ClientsConfig | null
}

/** An account at OpenRouter, with what its keys may spend. */
export interface AccountPlan {
  readonly name: string
  readonly balanceUsd: number
  /** The spending cap of each of its keys for a UTC day; null for none. */
  readonly capUsd: number | null
  /** A budget over all of its keys for a UTC day; null for none. */
  readonly layerUsd: number | null
}

export type Happening = { readonly atMs: number } & What

export type What =
  | ({ readonly kind: 'request' } & RequestPlan)
  /** OpenRouter has some trouble for a while. */
  | { readonly kind: 'upstream'; readonly trouble: Trouble; readonly forMs: number }
  /** The object ends: at once, or as soon as it has written something that is not on disk yet. */
  | { readonly kind: 'crash'; readonly when: 'now' | 'at_next_write' }
  | { readonly kind: 'eviction' }
  /** An operator changes something. New isolates and a new object run it, old isolates go on. */
  | { readonly kind: 'deployment'; readonly change: Change; readonly release: Release }
  /** The process of an isolate is killed. */
  | { readonly kind: 'death'; readonly isolate: number }
  /** Nothing comes through between an isolate and the object. */
  | { readonly kind: 'silence'; readonly isolate: number; readonly forMs: number }
  /** Calls to the object are slow, lost or late. Shares of calls, from 0 to 1. */
  | {
      readonly kind: 'line'
      readonly slow: number
      readonly lost: number
      readonly repeated: number
      readonly forMs: number
    }
  /** An operator changes clients, groups or budgets while all runs. */
  | { readonly kind: 'operator'; readonly order: ClientsOrder }
  /** An operator pauses, drains, resumes or resets a key. */
  | { readonly kind: 'steering'; readonly order: SteeringOrder }
  /** The house's clock: lookups that no request has taken. */
  | { readonly kind: 'cron' }

export interface RequestPlan {
  readonly client: string
  readonly isolate: number
  readonly model: string
  readonly fallbacks: readonly string[]
  readonly tokens: number
  readonly conversation: string | null
  /** When the client leaves, after it has sent the request; null if it stays. */
  readonly leavesAfterMs: number | null
  /** How often the client sends it again after a failure, perhaps for another model. */
  readonly again: number
  /** Whether it is of a form that OpenRouter refuses with 400. */
  readonly isBad: boolean
  /** The most units that its answer can cost; null if its price cannot be bounded. Default: 8. */
  readonly units?: number | null
  /** What it is priced by, if it is by the list of models. */
  readonly priced?: PricedPlan
  /** Whether it is a line of a batch. */
  readonly isOfBatch?: true
}

export type Trouble =
  | { readonly kind: 'key_rejected'; readonly key: string }
  /** The key alone fails, with any model. */
  | { readonly kind: 'key_fails'; readonly key: string }
  | { readonly kind: 'account_broke'; readonly account: string }
  | { readonly kind: 'account_limited'; readonly account: string; readonly named: boolean }
  | { readonly kind: 'model_down'; readonly model: string }
  | { readonly kind: 'provider_fault'; readonly model: string }
  | { readonly kind: 'outage' }
  | { readonly kind: 'slow' }
  | { readonly kind: 'hangs' }
  | { readonly kind: 'refuses' }
  | { readonly kind: 'cuts' }

export type Change =
  | { readonly kind: 'none' }
  | { readonly kind: 'secret'; readonly key: string }
  | { readonly kind: 'disabled'; readonly key: string; readonly disabled: boolean }
  | { readonly kind: 'removed'; readonly key: string; readonly removed: boolean }
  | { readonly kind: 'limit'; readonly key: string; readonly maxConcurrent: number | null }

/** What a release speaks: `first` knows no leases ahead, `next` sends fields that this one does not know. */
export type Release = 'first' | 'today' | 'next'

export const HOUR_MS = 3_600_000
export const ISOLATES = 4

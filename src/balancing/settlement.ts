import type { ClientId, GroupId, KeyId, LeaseId, ModelId } from './ids.ts'
import type { Hold } from './limits/quota-charge.ts'

/**
 * How an attempt ended, for the circuit breaker. Two outcomes are not enough. A caller's own
 * mistake proves nothing about the key: as a success it would close a breaker without evidence,
 * as a failure it would open one.
 */
export type Outcome = 'success' | 'failure' | 'ignorable'

/**
 * Whose fault a failed attempt was. `unknown` is a rate limit that does not say whose limit it
 * is. `nobody` is a client that left, or the gateway's own queue, limits, clock or shutdown.
 */
export type Fault =
  | 'upstream'
  | 'provider'
  | 'key'
  | 'account'
  | 'policy'
  | 'caller'
  | 'unknown'
  | 'nobody'

/**
 * What is benched. `account_free` benches the `:free` models of an account, `account_model` one
 * model of an account, `key_model` one model of a key, `model` one model everywhere. `creator` benches the keys that the key's
 * creator made, `workspace` the keys of the key's workspace. An object that does not know a scope
 * ignores the order.
 */
export type BenchScope =
  | 'key'
  | 'account'
  | 'account_free'
  | 'account_model'
  | 'key_model'
  | 'model'
  | 'creator'
  | 'workspace'

/** Why something is benched, in the words that every release stores and sends. */
export type BenchReason =
  | 'key_rejected'
  | 'key_spent'
  | 'account_out_of_credit'
  | 'account_rate_limited'

/**
 * The reason in finer words, where there are some. It is reported in place of the reason. It is a
 * field beside the reason, because an older release reads only the four words of `BenchReason`.
 */
export type BenchDetail =
  | 'key_rate_limited'
  | 'budget_layer_spent'
  | 'free_tier_spent'
  | 'provider_key_failed'

/**
 * How long a bench lasts. Every guess is jittered, so that a fleet of keys does not return at once.
 * - `until`: a moment that OpenRouter named; not jittered.
 * - `for`: a guess.
 * - `backoff`: a guess that doubles from `baseMs` to `maxMs` with each consecutive order of this
 *   kind on the same key. For every other scope than `key` it is always `baseMs`.
 * - `lookup`: until a lookup shows room; time does not cure it. `lapseMs` is set if lookups may
 *   never show it (`/key` does not show an account's balance). The bench then ends after this
 *   guess, and the next request is the test.
 */
export type BenchTerm =
  | { readonly kind: 'until'; readonly untilMs: number }
  | { readonly kind: 'for'; readonly forMs: number }
  | { readonly kind: 'backoff'; readonly baseMs: number; readonly maxMs: number }
  | { readonly kind: 'lookup'; readonly lapseMs: number | null }

/** Asks the pool to bench something. */
export interface BenchOrder {
  readonly scope: BenchScope
  readonly reason: BenchReason
  readonly term: BenchTerm
  readonly detail?: BenchDetail | undefined
}

/** Tokens and cost of one answer. `estimated` if the answer did not report them completely. */
export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
  readonly reasoningTokens: number
  readonly costUsd: number
  /** What the provider charged the account's own provider key (BYOK), beside `costUsd`. */
  readonly byokUsd?: number
  readonly estimated: boolean
}

/** Gives a lease back, with what its attempt taught. The pool applies it once per lease id. */
export interface Settlement {
  readonly leaseId: LeaseId
  /** The key that served. By it the pool counts an attempt even if a restart forgot the lease. */
  readonly keyId: KeyId
  readonly outcome: Outcome
  /** Absent on success. */
  readonly fault?: Fault
  readonly benches: readonly BenchOrder[]
  /** True if the key itself is in doubt (a 401). A lookup has to verify the key. */
  readonly suspect: boolean
  /** The largest request, in tokens, that the key or account can pay for, as OpenRouter said. */
  readonly affordableTokens?: number
  /** Who could not pay for a request of this size. The size is in `lease`. */
  readonly tooLargeFor?: 'key' | 'account'
  /** Status and name of an error that only the last row of the table of faults knows. */
  readonly unknownError?: string
  readonly usage?: Usage
  /**
   * From the call to the first output, or to the timeout that ended the attempt, in milliseconds.
   * Absent if the attempt failed in another way.
   */
  readonly firstOutputMs?: number
  /** From the call to the end of its answer, in milliseconds. An older Worker does not tell it. */
  readonly tookMs?: number
  /** OpenRouter's id of the answer's generation. */
  readonly generationId?: string
  /** What the lease was for. By it an attempt is booked even if lease or key are gone. */
  readonly lease?: LeaseTerms
  /** True if no upstream call was made with the lease: everything that it took is given back. */
  readonly unused?: true
}

/** What a lease holds of budgets, its key's too. By it a settlement counts even if the lease is forgotten. */
export interface HeldOfBudgets {
  readonly groupId: GroupId | null
  readonly holds: readonly Hold[]
}

/** What a lease was granted for. */
export interface LeaseTerms {
  readonly clientId: ClientId
  readonly model: ModelId
  /** By the clock of the pool's object, in epoch milliseconds. */
  readonly grantedAtMs: number
  /** Tokens that were reserved. */
  readonly tokens: number
  /** The request's size, as in its lease request. */
  readonly size?: number
  /** As in the grant. */
  readonly held?: HeldOfBudgets
}

/**
 * The tokens that an attempt used. A failure that reports no usage used none. Null if unknown:
 * a success that reports no usage, or an attempt with the fault `nobody`.
 */
export function tokensUsed({ outcome, fault, usage }: Settlement): number | null {
  if (usage !== undefined) return usage.promptTokens + usage.completionTokens
  return outcome === 'success' || fault === 'nobody' ? null : 0
}

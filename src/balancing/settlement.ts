import type { KeyId, LeaseId } from './ids.ts'

/**
 * How an attempt ended, for the breaker. Two arms are not enough: a caller's own
 * mistake proves nothing about the key, and counting it as either a success or a
 * failure would close or open a breaker on no evidence.
 */
export type Outcome = 'success' | 'failure' | 'ignorable'

/** Whose fault a failed attempt was. `unknown` is a rate limit that names nobody. */
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
 * What a bench takes out of play. `account_free` covers the `:free` models of an
 * account, `account_model` one model of an account, `model` one model everywhere.
 */
export type BenchScope = 'key' | 'account' | 'account_free' | 'account_model' | 'model'

/** The reasons under which a benched key is reported. */
export type BenchReason =
  | 'key_rejected'
  | 'key_spent'
  | 'account_out_of_credit'
  | 'account_rate_limited'

/**
 * How long a bench lasts.
 * - `until`: a moment that OpenRouter named; kept exactly.
 * - `for`: our own guess; jittered, so that a fleet of keys does not return in one instant.
 * - `backoff`: `baseMs` doubling to `maxMs` with each consecutive order of this kind on the same key.
 * - `lookup`: until a lookup shows room; no passing of time cures it. `lapseMs` is set where no
 *   lookup can be relied on to tell (`/key` does not show an account's balance): the bench then
 *   lapses, and the next request is the look.
 */
export type BenchTerm =
  | { readonly kind: 'until'; readonly untilMs: number }
  | { readonly kind: 'for'; readonly forMs: number }
  | { readonly kind: 'backoff'; readonly baseMs: number; readonly maxMs: number }
  | { readonly kind: 'lookup'; readonly lapseMs: number | null }

export interface BenchOrder {
  readonly scope: BenchScope
  readonly reason: BenchReason
  readonly term: BenchTerm
}

/** Tokens and money of one answer. `estimated` when the answer was cut before it reported any. */
export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
  readonly reasoningTokens: number
  readonly costUsd: number
  readonly estimated: boolean
}

/** Gives a lease back, with what its attempt taught. Applied at most once per lease id. */
export interface Settlement {
  readonly leaseId: LeaseId
  /** Which key served: a lease that an object restart forgot is still counted. */
  readonly keyId: KeyId
  readonly outcome: Outcome
  /** Absent on success. */
  readonly fault?: Fault
  readonly benches: readonly BenchOrder[]
  /** True when the key itself is in doubt (a 401): it has to be looked up before it is believed. */
  readonly suspect: boolean
  /** The request size, in tokens, that OpenRouter said the key or account can still pay for. */
  readonly affordableTokens?: number
  readonly usage?: Usage
  /** From the call to the first output; absent where none came. Milliseconds. */
  readonly firstOutputMs?: number
  /** OpenRouter's id of the answer. */
  readonly generationId?: string
}

import type { AccountId, ClientId, KeyId, LeaseId, ModelId } from './ids.ts'
import type { NonEmpty } from './non-empty.ts'
import type { ReasonCounts } from './reasons.ts'

/** What a journey asks of the pool for one attempt. */
export interface LeaseRequest {
  /** Minted by the asker: asking again with the same id grants nothing twice. */
  readonly leaseId: LeaseId
  readonly clientId: ClientId
  /** The model by the caller's own name for it; with the one sent it finds the route. */
  readonly asked: ModelId
  /** The model to send, and those that may take its place, in this order. */
  readonly models: NonEmpty<ModelId>
  /** Keys that this request has tried with the first of these models. */
  readonly triedKeys: readonly KeyId[]
  /** Accounts that were themselves at fault for one of those attempts. */
  readonly excludedAccounts: readonly AccountId[]
  /** What keeps it together with others; null where nothing does. */
  readonly affinity: RequestAffinity | null
  /** Tokens to take from a key's limit per minute: the prompt's and the answer's, estimated. */
  readonly tokens: number
  /**
   * `first` pays into the retry budget, `retry` (an upstream fault) is paid from it,
   * `move` (a key's or account's fault) is free: it is bounded by the pool.
   */
  readonly attempt: 'first' | 'move' | 'retry'
  /** How long the lease may be held before it expires. */
  readonly leaseMs: number
  /** How long it may wait for a key. */
  readonly waitMs: number
}

/**
 * `conversation` goes to one account, whose prompt cache it fills; `cache` to one
 * key, which OpenRouter's response cache belongs to. The id is a hash: what was
 * said stays out of the pool.
 */
export interface RequestAffinity {
  readonly kind: 'conversation' | 'cache'
  readonly id: string
}

export interface Grant {
  readonly kind: 'grant'
  readonly leaseId: LeaseId
  readonly keyId: KeyId
  readonly accountId: AccountId
  /** One of the models of the request. */
  readonly model: ModelId
}

export interface Refusal {
  readonly kind: 'refusal'
  /** `ended`: this lease id was granted before and is over. */
  readonly cause: 'no_key' | 'retry_budget' | 'ended'
  readonly reasons: ReasonCounts
  /** The earliest moment at which a key may be free; null when no passing of time frees one. */
  readonly retryAtMs: number | null
}

/** In the queue: to be asked for again, by the same lease id, until it is decided. */
export interface Waiting {
  readonly kind: 'waiting'
  readonly leaseId: LeaseId
}

export type Decision = Grant | Refusal | Waiting

import type { AccountId, ClientId, IsolateId, KeyId, LeaseId, ModelId } from './ids.ts'
import type { QuotaRefusal } from './limits/quota-refusal.ts'
import type { NonEmpty } from './non-empty.ts'
import type { ReasonCounts } from './reasons.ts'
import type { HeldOfBudgets } from './settlement.ts'

/**
 * A request of a batch takes only what interactive requests leave: see batches/batch-share.ts. Any other
 * word, or none, is an interactive request.
 */
export type RequestClass = 'batch'

/** What a journey asks of the pool for one attempt. */
export interface LeaseRequest {
  /** Created by the Worker. A repeated request with the same id is granted only once. */
  readonly leaseId: LeaseId
  readonly clientId: ClientId
  /** The caller's own name for the model. This name and `models[0]` select the route. */
  readonly asked: ModelId
  /** The model to send, and then its fallbacks in this order. */
  readonly models: NonEmpty<ModelId>
  /** Keys that this request has tried with the first of these models. */
  readonly triedKeys: readonly KeyId[]
  /** Accounts whose fault one of those attempts was. */
  readonly excludedAccounts: readonly AccountId[]
  /** With which requests this one stays together; null if with none. */
  readonly affinity: RequestAffinity | null
  /** Tokens to take from the key's limit per minute: an estimate for the prompt and the answer. */
  readonly tokens: number
  /**
   * The most tokens that the request can cost: an estimate for the prompt, and the largest answer
   * that it allows. A Worker of an older release does not send it, and then no size excludes a key.
   */
  readonly size?: number
  /**
   * The most that the request can cost, in nano-dollars; null if that cannot be bounded. Only budgets
   * need it: it is absent if neither the client nor any key has one.
   */
  readonly costNanos?: number | null
  /** True if these are the models that are asked when a budget does not pay for the first one. */
  readonly isFallback?: true
  /**
   * - `first`: pays into the retry budget
   * - `retry`: after an upstream fault; paid from the retry budget
   * - `move`: after a fault of a key or an account; free, since the number of keys bounds it
   */
  readonly attempt: 'first' | 'move' | 'retry'
  /** How long the lease may be held before it expires, in milliseconds. */
  readonly leaseMs: number
  /** How long the request may wait for a key, in milliseconds. */
  readonly waitMs: number
  /**
   * The isolate that asks, if it will tell of itself while it has the lease. A Worker of an older
   * release does not: its lease is held for its whole term.
   */
  readonly isolate?: IsolateId
  /** Absent for an interactive request. */
  readonly class?: RequestClass
}

/** Whether a request, or what is told of one, belongs to a batch. */
export function isOfBatch(request: { readonly class?: RequestClass }): boolean {
  return request.class === 'batch'
}

/**
 * `conversation` keeps requests with one account, because prompt caches belong to an account.
 * `cache` keeps them with one key, because OpenRouter's response cache belongs to a key.
 * The id is a hash, so the pool never sees what was said.
 */
export interface RequestAffinity {
  readonly kind: 'conversation' | 'cache'
  readonly id: string
}

/** The pool's yes: a lease. */
export interface Grant {
  readonly kind: 'grant'
  readonly leaseId: LeaseId
  readonly keyId: KeyId
  readonly accountId: AccountId
  /** One of the models of the request. */
  readonly model: ModelId
  /**
   * By the clock of the pool's object, in epoch milliseconds. The settlement repeats it. An object of
   * the first release does not send it.
   */
  readonly grantedAtMs?: number
  /** What the lease holds of budgets; absent for none. The settlement repeats it. */
  readonly held?: HeldOfBudgets
}

/** The pool's no. */
export interface Refusal {
  readonly kind: 'refusal'
  /**
   * - `no_key`: no key may serve
   * - `retry_budget`: the budget does not pay for this retry
   * - `ended`: this lease id was granted before, and the lease has ended
   * - `client`: a limit or a budget of the client, or of its group; see `quota`
   */
  readonly cause: 'no_key' | 'retry_budget' | 'ended' | 'client'
  /** Present if the cause is `client`. */
  readonly quota?: QuotaRefusal
  /**
   * True if leases ahead hold of that limit. They are called back, and the request is to ask again
   * before its client is refused. An older object does not say it.
   */
  readonly heldAhead?: true
  /** Empty unless the cause is `no_key`. */
  readonly reasons: ReasonCounts
  /**
   * The earliest moment at which a key may be free, or the client may call again, in epoch
   * milliseconds. Null if time alone does not help, and for the causes `retry_budget` and `ended`.
   */
  readonly retryAtMs: number | null
}

/** The request is queued. The Worker asks again with the same lease id until it is decided. */
export interface Waiting {
  readonly kind: 'waiting'
  readonly leaseId: LeaseId
}

export type Decision = Grant | Refusal | Waiting

import type { AccountId, ClientId, IsolateId, KeyId, LeaseId, ModelId } from '../ids.ts'
import type { RequestClass } from '../lease-request.ts'
import type { NonEmpty } from '../non-empty.ts'
import type { HeldOfBudgets } from '../settlement.ts'

/** Asks for leases ahead: for requests of one kind that have yet to come to an isolate. */
export interface LeaseOrder {
  readonly isolate: IsolateId
  /**
   * The leases have this number of the isolate's and those that follow. A Worker of an earlier release
   * does not send it: then they are named `prefix:0`, `prefix:1` and so on.
   */
  readonly firstNumber?: number
  /** For an object of an earlier release. Unique over all isolates. */
  readonly idPrefix: string
  /** As in the lease requests of these requests: they select the route, and the first is sent. */
  readonly asked: ModelId
  readonly models: NonEmpty<ModelId>
  /** The account of the conversations that the leases are for; null if any account will do. */
  readonly account: AccountId | null
  readonly count: number
  /** The most tokens that one of the requests takes from a limit per minute. */
  readonly tokens: number
  /** The client whose requests they are, if it has limits; absent for any client without. */
  readonly clientId?: ClientId
  /** The most that one of the requests can cost; see `LeaseRequest.costNanos`. Null if nobody has asked. */
  readonly costNanos?: number | null
}

/** A lease that an isolate may use within 1.5 seconds of its order. */
export interface LeaseAhead {
  readonly leaseId: LeaseId
  readonly keyId: KeyId
  readonly accountId: AccountId
  readonly model: ModelId
  /** By the clock of the pool's object, in epoch milliseconds. */
  readonly grantedAtMs: number
  /** The most tokens that its request may take. */
  readonly tokens: number
  /** As in a grant. */
  readonly held?: HeldOfBudgets
}

/**
 * Tells the pool that a lease which was held ahead has got its request; and of any lease, after a
 * silence, that it is still in use. It says all that the pool knows of a lease, so it holds even where
 * the pool has forgotten it: the upstream call is under way, whatever the pool knows.
 */
export interface LeaseBegin {
  readonly leaseId: LeaseId
  readonly keyId: KeyId
  readonly isolate: IsolateId
  readonly clientId: ClientId
  readonly model: ModelId
  readonly grantedAtMs: number
  readonly tokens: number
  /** How long the lease may be held from now, in milliseconds. */
  readonly leaseMs: number
  /** The conversation that the request belongs to; null for none. */
  readonly conversation: string | null
  /** The most that the request can cost; see `LeaseRequest.costNanos`. */
  readonly costNanos?: number | null
  /** As in the grant. By it a lease that the pool has forgotten holds what it held. */
  readonly held?: HeldOfBudgets
  /** As in the lease request. */
  readonly class?: RequestClass
}

import type { CacheNote } from '../balancing/accounting/cache-counters.ts'
import type { GenerationDuty, GenerationReport } from '../balancing/accounting/reconciliation.ts'
import type { RequestNote } from '../balancing/accounting/request-row.ts'
import type { AlertDuty, DeliveryReport } from '../balancing/alerts/alert-outbox.ts'
import type { DirectoryEntry } from '../balancing/clients/caller.ts'
import type { PurgeOrder } from '../balancing/clients/purge-epochs.ts'
import type { ClientsOrder } from '../balancing/clients/registry.ts'
import type { Visit } from '../balancing/clients/visits.ts'
import type { KeyReport } from '../balancing/health/key-report.ts'
import type { LookupDuty } from '../balancing/health/lookup-duty.ts'
import type { ClientId, IsolateId, KeyId, LeaseId } from '../balancing/ids.ts'
import type { Decision, LeaseRequest } from '../balancing/lease-request.ts'
import type { LeaseAhead, LeaseBegin, LeaseOrder } from '../balancing/limits/lease-order.ts'
import type { QuotaRefusal } from '../balancing/limits/quota-refusal.ts'
import type { ControlOrder } from '../balancing/operators/control.ts'
import type { Settlement } from '../balancing/settlement.ts'

/**
 * The messages between Workers and the pool object. For minutes after a deployment, new Workers
 * talk to an old object, and old Workers to a new object. So fields are only ever added, and both
 * sides ignore fields that they don't know.
 */
export interface ExchangeRequest {
  readonly version: 1
  readonly wants: readonly LeaseRequest[]
  readonly settlements: readonly Settlement[]
  readonly lookups: readonly KeyReport[]
  /** The isolate that asks: a sign that it lives. */
  readonly isolate?: IsolateId
  /** Leases that were held ahead and have got their requests, or that a silence may have cost. */
  readonly begins?: readonly LeaseBegin[]
  /** Orders for leases ahead. An older object gives none. */
  readonly orders?: readonly LeaseOrder[]
  /** What OpenRouter told of answers whose usage was estimated. An older object ignores it. */
  readonly reconciled?: readonly GenerationReport[]
  /** What became of messages to operators. An older object hands out none. */
  readonly delivered?: readonly DeliveryReport[]
  /** Requests that have ended, for the operators. An older object passes over them. */
  readonly requests?: readonly RequestNote[]
  /** What was counted of shared and kept answers. An older object passes over it. */
  readonly cache?: readonly CacheNote[]
  /** True from a Worker that carries out no lookup duties, so that the reply hands out none. */
  readonly takesNoDuties?: true
}

export interface ExchangeReply {
  readonly version: 1
  /** One decision for each lease request in `wants`, in the same order. */
  readonly decisions: readonly Decision[]
  /** Lookup duties that only this Worker gets: look up these keys now and report them. */
  readonly lookups: readonly LookupDuty[]
  /** Answers that only this Worker gets: ask OpenRouter about them now, and report it. */
  readonly generations?: readonly GenerationDuty[]
  /** Messages to operators that only this Worker gets: send them now, and report it. */
  readonly alerts?: readonly AlertDuty[]
  /** See `DirectoryReply`. */
  readonly clientsVersion?: number
  /** For each of `orders`, in the same order, the leases that are held for it. */
  readonly ahead?: readonly (readonly LeaseAhead[])[]
  /** Somebody waits for a key. An isolate gives the leases back that it holds for later requests. */
  readonly waiting?: true
  /** A request of these clients went without for what leases ahead hold: these are to come back. */
  readonly calledBack?: readonly ClientId[]
  /**
   * Keys that operators have told to take no new lease. An isolate gives the leases back that it holds of
   * them, and passes them over while it cannot ask.
   */
  readonly haltedKeys?: readonly KeyId[]
  /** The number of usable keys, of the last second. Objects of the first release do not send it. */
  readonly usableKeys?: number
}

/** Requests that get an answer which somebody else has paid for. */
export interface VisitsRequest {
  readonly version: 1
  readonly visits: readonly Visit[]
}

export interface VisitsReply {
  readonly version: 1
  /** For each visit, in the same order: why its client may not have the answer; null if it may. */
  readonly refusals: readonly (QuotaRefusal | null)[]
}

/** What an operator throws away of the kept answers, and by what he signed in. */
export interface PurgeRequest {
  readonly order: PurgeOrder
  readonly by: string
}

/** See purge-epochs.ts. */
export interface EpochsReply {
  readonly version: 1
  readonly epochs: Readonly<Record<string, number>>
}

/** The clients that were made at run time. */
export interface DirectoryReply {
  readonly version: 1
  /** Raised with each change of a client or a group. */
  readonly clientsVersion: number
  /** Null if the Worker's copy has this version. */
  readonly entries: readonly DirectoryEntry[] | null
}

/** An order of an operator, and by what he signed in. */
export interface ManageRequest {
  readonly order: ClientsOrder
  readonly by: string
}

/** An order of an operator to a key, and by what he signed in. */
export interface ControlRequest {
  readonly order: ControlOrder
  readonly by: string
}

/** What `health` answers: as much as `GET /healthz` shows, and cheap. */
export interface HealthReply {
  readonly version: 1
  readonly usableKeys: number
}

export interface DutiesRequest {
  /** The most lookups that the Worker will carry out. */
  readonly max: number
  /** The most generations that it will ask about. An older Worker asks about none. */
  readonly maxGenerations?: number
  /** The most messages that it will send to each address. An older Worker sends none. */
  readonly maxAlerts?: number
}

/** The lookup duties that are due while no request takes them along. The most overdue come first. */
export interface DutiesReply {
  readonly version: 1
  readonly lookups: readonly LookupDuty[]
  readonly generations?: readonly GenerationDuty[]
  readonly alerts?: readonly AlertDuty[]
}

/** The object hands out no more duties at once, whatever a Worker says. */
export const MAX_DUTIES = 30
export const MAX_GENERATIONS = 100

/**
 * What has become of a waiting request. The object holds the reply back until the request is
 * decided, for `AWAIT_MS` at most. If the request still waits then, the Worker asks again, which
 * also shows the object that the client is still there.
 */
export interface AwaitReply {
  readonly version: 1
  /** Null if the object does not know the request, for example after a restart. */
  readonly decision: Decision | null
}

export type AwaitRequest = LeaseId

/** Well below the two seconds after which a Worker gives up on a silent object. */
export const AWAIT_MS = 1_000

/** As many as a Worker wants, but no more than the object hands out. */
export function boundedBy(most: number, wanted: number): number {
  return Number.isInteger(wanted) ? Math.min(Math.max(wanted, 0), most) : most
}

/** A change that an operator makes elsewhere than in the pool. */
export interface AuditNote {
  /** By what the operator signed in. */
  readonly by: string
  readonly what: string
  readonly target: string
}

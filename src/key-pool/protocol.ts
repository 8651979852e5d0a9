import type { KeyReport } from '../balancing/health/key-report.ts'
import type { LookupDuty } from '../balancing/health/lookup-duty.ts'
import type { LeaseId } from '../balancing/ids.ts'
import type { Decision, LeaseRequest } from '../balancing/lease-request.ts'
import type { Settlement } from '../balancing/settlement.ts'

/**
 * What Workers and the pool object say to each other. After a deployment new
 * Workers talk to an old object for minutes, and the other way round: fields are
 * only ever added, and both sides pass over those that they don't know.
 */
export interface ExchangeRequest {
  readonly version: 1
  readonly wants: readonly LeaseRequest[]
  readonly settlements: readonly Settlement[]
  readonly lookups: readonly KeyReport[]
}

export interface ExchangeReply {
  readonly version: 1
  /** One for each want, in their order. */
  readonly decisions: readonly Decision[]
  /** Keys that this asker, and nobody else, should now look up and report. */
  readonly lookups: readonly LookupDuty[]
}

/**
 * What has become of a request that waits. Held back until there is something to
 * say, for `AWAIT_MS` at most; who still waits then asks again, and so shows that
 * it is still there.
 */
export interface AwaitReply {
  readonly version: 1
  /** Null when the object knows nothing of it: it has been restarted. */
  readonly decision: Decision | null
}

export type AwaitRequest = LeaseId

/** Well below the time after which a silent object is given up. */
export const AWAIT_MS = 1_000

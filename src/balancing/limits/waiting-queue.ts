import type { LeaseId } from '../ids.ts'
import type { LeaseRequest, Refusal } from '../lease-request.ts'

/** A request that no key could serve when it came, and that one may serve soon. */
export interface Waiter {
  readonly request: LeaseRequest
  readonly lane: string
  readonly deadlineMs: number
  /** When its asker was last heard of. */
  lastPolledAtMs: number
  /** Why it could not be served when it was last looked at: the answer, should its time run out. */
  refusal: Refusal
}

/** First come, first served, by order of insertion. */
export type WaitingQueue = Map<LeaseId, Waiter>

/**
 * An asker that has not been heard of for this long is gone, with its Worker: what
 * it waits for would go to nobody. It asks again every second.
 */
const ABANDONED_MS = 5_000

export function createQueue(): WaitingQueue {
  return new Map()
}

export function isAbandoned({ lastPolledAtMs }: Waiter, nowMs: number): boolean {
  return nowMs - lastPolledAtMs > ABANDONED_MS
}

/**
 * Requests that compete for the same keys in the same way. Within such a lane the
 * order is strict: who came later is not served before, not even where a smaller
 * request would fit in.
 */
export function laneOf({ models, asked, triedKeys, excludedAccounts }: LeaseRequest): string {
  return JSON.stringify([asked, models, triedKeys, excludedAccounts])
}

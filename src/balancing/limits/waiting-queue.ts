import type { LeaseId } from '../ids.ts'
import type { LeaseRequest, Refusal } from '../lease-request.ts'

/** A lease request in the queue. No key could serve it when it came, but a key soon may. */
export interface Waiter {
  readonly request: LeaseRequest
  readonly lane: string
  readonly deadlineMs: number
  /** When its Worker last asked for it. */
  lastPolledAtMs: number
  /** Why the latest decision refused it. This is the answer if the deadline passes. */
  refusal: Refusal
}

/** In order of arrival: first come, first served. */
export type WaitingQueue = Map<LeaseId, Waiter>

/**
 * A Worker asks again every second for its waiter. After this long without a call the Worker is
 * gone, and no one would use a lease for the waiter.
 */
const ABANDONED_MS = 5_000

/** A queue without waiters. */
export function createQueue(): WaitingQueue {
  return new Map()
}

/** Whether a waiter's Worker is gone. */
export function isAbandoned({ lastPolledAtMs }: Waiter, nowMs: number): boolean {
  return nowMs - lastPolledAtMs > ABANDONED_MS
}

/**
 * The lane of a request. The requests of a lane compete for the same keys in the same way. While
 * the first waiter of a lane waits for a key, no later request of the lane is served, not even a
 * smaller one that would fit. A waiter that only waits for the retry budget does not hold up the
 * waiters behind it.
 */
export function laneOf({ models, asked, triedKeys, excludedAccounts }: LeaseRequest): string {
  return JSON.stringify([asked, models, triedKeys, excludedAccounts])
}

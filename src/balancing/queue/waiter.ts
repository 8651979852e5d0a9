import type { KeyId } from '../ids.ts'
import type { LeaseRequest, Refusal } from '../lease-request.ts'
import type { QuotaCharge } from '../limits/quota-charge.ts'

/** A lease request in the queue. No key could serve it when it came, but a key soon may. */
export interface Waiter {
  readonly request: LeaseRequest
  /** The name of its line. */
  readonly line: string
  /** The name of its lane, for the shares of the queue. */
  readonly lane: string
  /** Its place in the order of arrival over all lines. */
  readonly arrival: number
  readonly deadlineMs: number
  /** When its Worker last asked for it. */
  lastPolledAtMs: number
  /** Why it was refused when it came, or when another took its place. */
  refusal: Refusal
  /** `refused` is one whose place another took, and whose Worker has not been told yet. */
  state: 'waits' | 'refused' | 'gone'
  /** Keys whose tokens are kept for it. */
  readonly claims: Set<KeyId>
  /** What it has taken of its client's limits, until a lease has it; null for nothing. */
  charge: QuotaCharge | null
}

/**
 * A Worker asks again every second for its waiter. After this long without a call the Worker is
 * gone, and no one would use a lease for the waiter.
 */
const ABANDONED_MS = 5_000

export const waits = ({ state }: Waiter): boolean => state === 'waits'

/** The size of a waiter's request. One without a size is too large for no key. */
export const sizeOf = ({ request }: Waiter): number => request.size ?? 0

/** Whether a waiter's Worker is gone. */
export function isAbandoned({ lastPolledAtMs }: Waiter, nowMs: number): boolean {
  return nowMs - lastPolledAtMs > ABANDONED_MS
}

/** Whether a lease would still be of use to a waiter. */
export function isAlive(waiter: Waiter, nowMs: number): boolean {
  return waits(waiter) && nowMs < waiter.deadlineMs && !isAbandoned(waiter, nowMs)
}

/** Until when a waiter may wait, if its Worker does not ask again. */
export function waitsUntilMs({ deadlineMs, lastPolledAtMs }: Waiter): number {
  return Math.min(deadlineMs, lastPolledAtMs + ABANDONED_MS + 1)
}

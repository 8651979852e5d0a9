import type { KeyId } from '../ids.ts'

/**
 * The daily audit of a key: what OpenRouter says it has spent in a UTC day, beside what was booked for it
 * here when OpenRouter said so. The last report of a day is judged when the first of a later day comes.
 */
export interface DayOfSpending {
  /** Days since 1970-01-01. */
  readonly day: number
  readonly upstreamUsd: number
  readonly bookedUsd: number
}

/** A day on which a key's spending was another at OpenRouter than here. */
export interface Drift extends DayOfSpending {
  readonly keyId: KeyId
}

/** What is smaller may be requests that run, or a lookup of a minute ago. */
const TOLERATED_USD = 0.01
const TOLERATED_SHARE = 0.05

const DAY_MS = 24 * 60 * 60 * 1000

/** The day of a moment, in days since 1970-01-01. */
export function dayOfMoment(ms: number): number {
  return Math.floor(ms / DAY_MS)
}

/** Whether the two sums differ by more than a cent and by more than a twentieth. */
export function isDrift({ upstreamUsd, bookedUsd }: DayOfSpending): boolean {
  const difference = Math.abs(upstreamUsd - bookedUsd)
  const tolerated = Math.max(TOLERATED_USD, TOLERATED_SHARE * Math.max(upstreamUsd, bookedUsd))
  return difference > tolerated
}

/** What a report makes of the days that are known: the one to keep, and the one that is over. */
export function afterDayReport(
  known: DayOfSpending | null,
  reported: DayOfSpending,
): { readonly kept: DayOfSpending; readonly over: DayOfSpending | null } {
  if (known === null || known.day === reported.day) return { kept: reported, over: null }
  // Reports may overtake each other at midnight.
  if (reported.day < known.day) return { kept: known, over: null }
  return { kept: reported, over: known }
}

import { type Credit, creditAsOf } from './credit.ts'

/** How fast a key spends: a mean over the last hours in which what is older counts for less. */
export interface SpendRate {
  readonly usdPerHour: number
  /** As of when, in epoch milliseconds. */
  readonly atMs: number
}

const HOUR_MS = 60 * 60_000

/**
 * Over how long the mean is taken. Over an hour, one burst would foretell the end of a key that lasts
 * for weeks; over a day, a runaway script would have spent it before.
 */
const MEMORY_MS = 3 * HOUR_MS

/** The rate after an answer that cost `usd`. A key that begins to spend is thought slower than it is. */
export function afterCost(rate: SpendRate | null, usd: number, nowMs: number): SpendRate {
  return { usdPerHour: usdPerHour(rate, nowMs) + (usd * HOUR_MS) / MEMORY_MS, atMs: nowMs }
}

export function usdPerHour(rate: SpendRate | null, nowMs: number): number {
  if (rate === null) return 0
  return rate.usdPerHour * Math.exp(-Math.max(0, nowMs - rate.atMs) / MEMORY_MS)
}

/**
 * When the credit will be spent at the present rate, in epoch milliseconds; null if it resets before,
 * if it has no end, or if nothing is known.
 */
export function projectedEndMs(
  credit: Credit,
  rate: SpendRate | null,
  nowMs: number,
): number | null {
  const now = creditAsOf(credit, nowMs)
  const perHour = usdPerHour(rate, nowMs)
  if (now.kind === 'unknown' || now.remainingUsd === null || perHour === 0) return null
  const endsAtMs = nowMs + (now.remainingUsd / perHour) * HOUR_MS
  return now.resetsAtMs !== null && now.resetsAtMs <= endsAtMs ? null : endsAtMs
}

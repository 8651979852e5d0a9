import type { SpendPeriod } from '../limits/quota-charge.ts'
import { endOfUtcWindow } from '../limits/utc-window.ts'
import type { Spending } from './ledger.ts'

/** The most that a key may spend in each period. Days, weeks and months are UTC windows. */
export interface MaxSpend {
  readonly usd: number
  readonly period: SpendPeriod
}

/**
 * What a key has spent of its `max_spend`, in whole nano-dollars, so that sums have no error.
 *
 * The amount is written ahead. The row holds more than what is spent, and is written again in the
 * step that uses the surplus up. After a crash the row's amount counts as spent. That may be too
 * much, by the surplus, and is never too little. A row for each request would be exact, and would
 * cost more than everything else that is stored. While nothing is spent the row is exact, so an object
 * that is evicted at rest loses nothing.
 */
export interface KeySpend {
  readonly max: MaxSpend
  /** When the period ends; null for `total`. */
  endsAtMs: number | null
  spentNanos: number
  /** What the row says. */
  writtenNanos: number
  /** What was spent since the row was last renewed by time. */
  recentNanos: number
}

/** What is stored of a key's spend: this much of the period counts as spent. */
export interface SpendRecord {
  readonly period: SpendPeriod
  readonly endsAtMs: number | null
  readonly nanos: number
}

const NANOS = 1e9

/** A surplus that is smaller would be used up by the next answer. */
const MIN_SURPLUS_NANOS = 1_000_000

/** For this many answers of mean cost, at least, the row need not be written again. */
const SURPLUS_ANSWERS = 4

/** A key that has spent nothing; null for a key without `max_spend`. */
export function createSpend(max: MaxSpend | null, nowMs: number): KeySpend | null {
  if (max === null) return null
  const endsAtMs = endOf(max.period, nowMs)
  return { max, endsAtMs, spentNanos: 0, writtenNanos: 0, recentNanos: 0 }
}

function endOf(period: SpendPeriod, nowMs: number): number | null {
  return period === 'total' ? null : endOfUtcWindow(period, nowMs)
}

/** What is spent of the period that is running now, in USD. */
export function spentUsd(spend: KeySpend, nowMs: number): number {
  return hasEnded(spend, nowMs) ? 0 : spend.spentNanos / NANOS
}

/** When the running period ends, in epoch milliseconds; null for `total`. */
export function periodEndMs(spend: KeySpend, nowMs: number): number | null {
  return hasEnded(spend, nowMs) ? endOf(spend.max.period, nowMs) : spend.endsAtMs
}

function hasEnded({ endsAtMs }: Pick<KeySpend, 'endsAtMs'>, nowMs: number): boolean {
  return endsAtMs !== null && nowMs >= endsAtMs
}

/**
 * Adds what an answer has cost.
 * @param meanUsd what an answer costs on average
 * @returns whether the row must be written before the pool answers
 */
export function addSpend(
  spend: KeySpend,
  costUsd: number,
  meanUsd: number,
  nowMs: number,
): boolean {
  const nanos = Math.ceil(costUsd * NANOS)
  if (!(nanos > 0)) return false
  beginPeriod(spend, nowMs)
  spend.spentNanos += nanos
  spend.recentNanos += nanos
  if (spend.spentNanos <= spend.writtenNanos) return false
  spend.writtenNanos = spend.spentNanos + surplusNanos(spend, meanUsd)
  return true
}

/**
 * Puts what an answer has really cost in the place of its estimate, unless the period in which it was
 * booked is over.
 * @returns whether the row must be written before the pool answers
 */
export function correctKeySpend(
  spend: KeySpend,
  estimate: { readonly usd: number; readonly bookedAtMs: number },
  costUsd: number,
  nowMs: number,
): boolean {
  const { period } = spend.max
  if (endOf(period, estimate.bookedAtMs) !== endOf(period, nowMs)) return false
  beginPeriod(spend, nowMs)
  const nanos = Math.ceil(costUsd * NANOS) - Math.ceil(estimate.usd * NANOS)
  spend.spentNanos = Math.max(0, spend.spentNanos + nanos)
  spend.recentNanos += Math.max(0, nanos)
  if (spend.spentNanos <= spend.writtenNanos) return false
  spend.writtenNanos = spend.spentNanos + surplusNanos(spend, costUsd)
  return true
}

/** Begins the next period if the last one has ended. */
function beginPeriod(spend: KeySpend, nowMs: number): void {
  if (!hasEnded(spend, nowMs)) return
  const endsAtMs = endOf(spend.max.period, nowMs)
  Object.assign(spend, { endsAtMs, spentNanos: 0, writtenNanos: 0, recentNanos: 0 })
}

/** Twice of what was spent lately: a steady key then writes its row once in each interval. */
function surplusNanos({ recentNanos }: KeySpend, meanUsd: number): number {
  const answersNanos = Math.ceil(SURPLUS_ANSWERS * meanUsd * NANOS)
  return Math.max(2 * recentNanos, answersNanos, MIN_SURPLUS_NANOS)
}

/**
 * Renews the row some seconds after the spend changed: with a new surplus if the key has spent since
 * the last time, else exactly.
 * @returns whether the row must be written
 */
export function renewSpend(spend: KeySpend, meanUsd: number): boolean {
  const surplus = spend.recentNanos > 0 ? surplusNanos(spend, meanUsd) : 0
  spend.recentNanos = 0
  const nanos = spend.spentNanos + surplus
  if (nanos === spend.writtenNanos) return false
  spend.writtenNanos = nanos
  return true
}

/** Whether the row holds a surplus, which is to be taken back once the key is at rest. */
export function hasSurplus({ spentNanos, writtenNanos }: KeySpend): boolean {
  return writtenNanos > spentNanos
}

export function spendRecord({ max, endsAtMs, writtenNanos }: KeySpend): SpendRecord {
  return { period: max.period, endsAtMs, nanos: writtenNanos }
}

const SPENT_IN: Readonly<Record<SpendPeriod, keyof Spending>> = {
  day: 'todayUsd',
  week: 'weekUsd',
  month: 'monthUsd',
  total: 'totalUsd',
}

/**
 * What counts as spent after a restart: the row's amount, if it is of the running period. The tally
 * is the lower bound. It also says what a key has spent whose `max_spend` is new.
 * @param record null if there is none
 */
export function restoreSpend(
  spend: KeySpend,
  record: SpendRecord | null,
  spending: Spending,
  nowMs: number,
): void {
  const { period } = spend.max
  const holds = record !== null && record.period === period && !hasEnded(record, nowMs)
  spend.endsAtMs = endOf(period, nowMs)
  spend.writtenNanos = holds ? record.nanos : 0
  const talliedNanos = Math.ceil(spending[SPENT_IN[period]] * NANOS)
  spend.spentNanos = Math.max(spend.writtenNanos, talliedNanos)
}

import type { BudgetOwner, Hold, SpendPeriod } from '../limits/quota-charge.ts'
import { endOfUtcWindow } from '../limits/utc-window.ts'
import type { Usage } from '../settlement.ts'

/**
 * How much a request reserves before it runs:
 * - `exact`: the most that it can cost, so that the budget holds at every instant
 * - `capped`: that, but no more than `capUsd` and a tenth of the budget. A small budget is then not
 *   blocked by a bound that no answer comes near, and is passed by what the running requests cost
 *   above that at most.
 * - `after`: nothing. The budget is passed by what is running at most.
 */
export const BUDGET_MODES = ['exact', 'capped', 'after'] as const
export type BudgetMode = (typeof BUDGET_MODES)[number]

/** What becomes of a request that the budget does not pay for. */
export const ON_EXCEEDED = ['reject', 'fallback_model', 'warn'] as const
export type OnExceeded = (typeof ON_EXCEEDED)[number]

export interface BudgetTerms {
  readonly usd: number
  readonly period: SpendPeriod
  readonly mode: BudgetMode
  readonly onExceeded: OnExceeded
  /** The most that a request reserves under `capped`. */
  readonly capUsd: number
  /** What a request reserves whose cost cannot be bounded. */
  readonly reserveUsd: number
  /** Whether such a request is refused instead. */
  readonly strict: boolean
  /** Whether what a provider charges the operator's own account (BYOK) counts too. */
  readonly includeByok: boolean
  /** The length of an answer that neither the request nor the model limits, in tokens. */
  readonly assumeOutputTokens: number
}

/** An operator's grant of more, until a moment. */
export interface BudgetIncrease {
  readonly nanos: number
  /** Epoch milliseconds. */
  readonly untilMs: number
}

/**
 * A budget, in whole nano-dollars, so that sums have no error.
 *
 * Its row is written ahead: it holds more than what is committed, and is written again in the step
 * that uses the surplus up. After a crash the row's amount counts, which may be too much for a while
 * and is never too little. A row for each request would be exact, and would cost more than everything
 * else that is stored.
 */
export interface Budget {
  terms: BudgetTerms
  /** Null since the start of the object, else when an operator made it: what ran before holds nothing. */
  readonly madeAtMs: number | null
  /** When the running period ends; null for `total`. */
  endsAtMs: number | null
  /** Since when spent and lost count: what was lost before is no part of them. */
  sinceMs: number
  spentNanos: number
  /** What running leases hold, and leases held ahead. */
  reservedNanos: number
  /** What leases held that ended without a word. It stays until a late word, or the period's end. */
  lostNanos: number
  increase: BudgetIncrease | null
  /** The highest share in percent that was told of in this period. */
  toldPercent: number
  /** When it was last reserved of, or spent; 0 for never. */
  usedAtMs: number
  readonly row: BudgetRow
}

/** What the stored row of a budget says, and what it has to say next. */
interface BudgetRow {
  /** What it says is committed. */
  nanos: number
  /** Whether one of the budget's amounts has changed since it was written. */
  isStale: boolean
  /** Since it was last renewed by time: what was spent, the most that was reserved at once, and whether there was anything. */
  recentNanos: number
  peakNanos: number
  isInUse: boolean
}

/** What is stored of a budget. */
export interface BudgetRecord {
  readonly period: SpendPeriod
  readonly endsAtMs: number | null
  readonly sinceMs: number
  readonly spentNanos: number
  readonly lostNanos: number
  /** All that counts as committed after a crash: spent, lost, reserved, and the surplus. */
  readonly committedNanos: number
  readonly increase: BudgetIncrease | null
  readonly toldPercent: number
  readonly usedAtMs: number
}

const NANOS = 1e9

/** A surplus that is smaller would be used up by the next answer. */
const MIN_SURPLUS_NANOS = 1_000_000

/**
 * It rounds to the nearest and not up: most of OpenRouter's costs are whole nano-dollars, whose
 * floating-point forms lie a hair above or below. Some have a fraction (a token that costs 37.5
 * nano-dollars), and then each answer is counted up to half a nano-dollar too high or too low.
 */
export const nanosOf = (usd: number): number => Math.round(usd * NANOS)
export const usdOf = (nanos: number): number => nanos / NANOS

/** @param madeAtMs null for one that is there from the start of the object */
export function createBudget(
  terms: BudgetTerms,
  nowMs: number,
  madeAtMs: number | null = null,
): Budget {
  return {
    terms,
    madeAtMs,
    endsAtMs: endOf(terms.period, nowMs),
    ...{ sinceMs: 0, spentNanos: 0, reservedNanos: 0, lostNanos: 0, increase: null },
    ...{ toldPercent: 0, usedAtMs: 0 },
    row: { nanos: 0, isStale: false, recentNanos: 0, peakNanos: 0, isInUse: false },
  }
}

function endOf(period: SpendPeriod, nowMs: number): number | null {
  return period === 'total' ? null : endOfUtcWindow(period, nowMs)
}

/**
 * Begins the next period if the last one has ended. What runs then is charged to the period in which it
 * is settled, as at OpenRouter, so its reservation goes along.
 */
export function letPeriodPass(budget: Budget, nowMs: number): void {
  if (budget.increase !== null && nowMs >= budget.increase.untilMs) budget.increase = null
  if (budget.endsAtMs === null || nowMs < budget.endsAtMs) return
  budget.endsAtMs = endOf(budget.terms.period, nowMs)
  beginAnew(budget, nowMs)
}

/** Nothing is spent. The row is of before: whatever is committed next has to be written. */
function beginAnew(budget: Budget, nowMs: number): void {
  Object.assign(budget, { sinceMs: nowMs, spentNanos: 0, lostNanos: 0, toldPercent: 0 })
  Object.assign(budget.row, { nanos: 0, isStale: budget.reservedNanos > 0, recentNanos: 0 })
}

/** What the budget pays for in the running period. */
export function limitNanos({ terms, increase }: Budget, nowMs: number): number {
  const more = increase !== null && nowMs < increase.untilMs ? increase.nanos : 0
  return nanosOf(terms.usd) + more
}

/** What is spent, or may be by what runs now. */
export function committedNanos({ spentNanos, reservedNanos, lostNanos }: Budget): number {
  return spentNanos + reservedNanos + lostNanos
}

/** The most that a request can cost: whole nano-dollars; null if that cannot be bounded. */
export type CostBound = number | null

/** What a request reserves, whether or not the budget pays for it. */
export function reservationNanos(budget: Budget, bound: CostBound, nowMs: number): number {
  const { mode, capUsd, reserveUsd } = budget.terms
  if (mode === 'after') return 0
  const nanos = bound ?? nanosOf(reserveUsd)
  if (mode === 'exact') return nanos
  const tenth = Math.floor(limitNanos(budget, nowMs) / 10)
  return Math.min(nanos, nanosOf(capUsd), tenth)
}

/** Whether a budget pays for one more request, and if not, why. */
export type Payment =
  | { readonly kind: 'paid'; readonly nanos: number }
  | {
      readonly kind: 'exceeded'
      /** Whether it would be paid if nothing ran: then there may be room when what runs has ended. */
      readonly isPassing: boolean
    }
  | { readonly kind: 'unpriceable' }

/** @param share of the budget that may be committed with this request; the rest is for others */
export function payment(budget: Budget, bound: CostBound, nowMs: number, share = 1): Payment {
  letPeriodPass(budget, nowMs)
  const nanos = reservationNanos(budget, bound, nowMs)
  if (budget.terms.onExceeded === 'warn') return { kind: 'paid', nanos }
  if (bound === null && budget.terms.strict) return { kind: 'unpriceable' }
  const limit = share * limitNanos(budget, nowMs)
  const committed = committedNanos(budget)
  const fits = (taken: number) => taken < limit && taken + nanos <= limit
  if (fits(committed)) return { kind: 'paid', nanos }
  return { kind: 'exceeded', isPassing: fits(committed - budget.reservedNanos) }
}

/** Whether a budget pays for any request, whatever that can cost, as long as nothing else is taken of it. */
export function paysForAny(budget: Budget, nowMs: number): boolean {
  const { mode, capUsd } = budget.terms
  // The bound of a request has no bound itself.
  if (mode === 'exact') return false
  return payment(budget, nanosOf(capUsd), nowMs).kind === 'paid'
}

/** The largest bound of a request that a budget pays for now; infinite if it pays for any. */
export function paysUpToNanos(budget: Budget, nowMs: number): number {
  if (paysForAny(budget, nowMs)) return Number.POSITIVE_INFINITY
  return limitNanos(budget, nowMs) - committedNanos(budget)
}

/** Reserves an amount. @returns whether the row must be written before the pool answers */
export function reserve(budget: Budget, nanos: number, nowMs: number): boolean {
  letPeriodPass(budget, nowMs)
  budget.reservedNanos += nanos
  return use(budget, nowMs)
}

/** Reserves again what the row has been written for. */
export function hold(budget: Budget, nanos: number): void {
  budget.reservedNanos += nanos
  budget.row.isStale = true
}

/** Gives back what a lease held that was not used. */
export function release(budget: Budget, nanos: number): void {
  budget.reservedNanos = Math.max(0, budget.reservedNanos - nanos)
  budget.row.isStale = true
}

/**
 * A lease has ended without a word: what it held may be spent.
 * @returns whether the row must be written: it may be of the period before
 */
export function lose(budget: Budget, nanos: number, nowMs: number): boolean {
  letPeriodPass(budget, nowMs)
  release(budget, nanos)
  budget.lostNanos += nanos
  return use(budget, nowMs)
}

/**
 * A late word of a lease that was lost, or that a crash has forgotten.
 * @param lostAtMs when it was lost. Since then spent and lost may have begun anew, and what is lost
 * now is others'
 */
export function find(budget: Budget, nanos: number, lostAtMs: number): void {
  if (lostAtMs < budget.sinceMs) return
  budget.lostNanos = Math.max(0, budget.lostNanos - nanos)
  budget.row.isStale = true
}

/** Books what an answer has cost. @returns whether the row must be written before the pool answers */
export function spend(budget: Budget, nanos: number, nowMs: number): boolean {
  letPeriodPass(budget, nowMs)
  // A correction may take back more than was spent in the period that has just begun.
  budget.spentNanos = Math.max(0, budget.spentNanos + nanos)
  budget.row.recentNanos += Math.max(0, nanos)
  return use(budget, nowMs)
}

/** What an answer costs a budget, in nano-dollars. */
export function costNanos({ terms }: Budget, usage: Usage): number {
  const byokUsd = terms.includeByok ? (usage.byokUsd ?? 0) : 0
  return nanosOf(usage.costUsd + byokUsd)
}

/** Notes that an amount has changed. @returns whether the row must be written: its surplus is used up */
function use(budget: Budget, nowMs: number): boolean {
  const { row, reservedNanos } = budget
  budget.usedAtMs = nowMs
  row.isStale = true
  row.isInUse = true
  row.peakNanos = Math.max(row.peakNanos, reservedNanos)
  if (committedNanos(budget) <= row.nanos) return false
  row.nanos = aheadNanos(budget, 2, nowMs)
  return true
}

/**
 * Twice of what was spent lately, and of what was reserved at once: a steady client then writes its
 * row once in an interval, and one that begins writes it a few times.
 */
function aheadNanos(budget: Budget, times: number, nowMs: number): number {
  const { spentNanos, lostNanos, row } = budget
  const lately = Math.max(times * (row.peakNanos + row.recentNanos), MIN_SURPLUS_NANOS)
  const committed = committedNanos(budget)
  const ahead = Math.max(committed, spentNanos + lostNanos + lately)
  return Math.min(ahead, Math.max(committed, limitNanos(budget, nowMs)))
}

/**
 * Renews the row some seconds after the budget changed: if it was used since the last time, only where
 * the surplus is too little or far too much, else exactly.
 * @returns whether the row must be written
 */
export function renewBudget(budget: Budget, nowMs: number): boolean {
  letPeriodPass(budget, nowMs)
  const { row, reservedNanos } = budget
  const isKept = row.isInUse
    ? row.nanos >= aheadNanos(budget, 1, nowMs) && row.nanos <= aheadNanos(budget, 4, nowMs)
    : row.nanos === committedNanos(budget) && !row.isStale
  if (!isKept) {
    row.nanos = row.isInUse ? aheadNanos(budget, 2, nowMs) : committedNanos(budget)
    row.isStale = false
  }
  Object.assign(row, { recentNanos: 0, peakNanos: reservedNanos, isInUse: false })
  return !isKept
}

/** Whether the row is to be written once more when the client rests: it is not exact. */
export function isWrittenAhead(budget: Budget): boolean {
  return budget.row.isStale || budget.row.nanos !== committedNanos(budget)
}

export function budgetRecord(budget: Budget): BudgetRecord {
  const { terms, endsAtMs, sinceMs, spentNanos, lostNanos } = budget
  const { increase, toldPercent, usedAtMs } = budget
  const kept = { increase, toldPercent, usedAtMs }
  const committed = Math.max(budget.row.nanos, committedNanos(budget))
  const { period } = terms
  return { period, endsAtMs, sinceMs, spentNanos, lostNanos, committedNanos: committed, ...kept }
}

/**
 * What counts after a restart: what the row says. What it says beyond what is spent and what restored
 * leases hold counts as lost: settlements of leases that a crash has forgotten bring it down. Of the
 * restored leases some may have been settled since the checkpoint, and then their cost is a part of
 * what is spent: they hold it in its place, and when they expire it is lost.
 */
export function restoreBudget(budget: Budget, record: BudgetRecord, nowMs: number): void {
  budget.increase = record.increase
  budget.usedAtMs = record.usedAtMs
  const hasEnded = record.endsAtMs !== null && nowMs >= record.endsAtMs
  budget.sinceMs = hasEnded ? nowMs : record.sinceMs
  if (hasEnded) return
  const { committedNanos: rowNanos } = record
  budget.endsAtMs = record.endsAtMs
  budget.spentNanos = Math.max(0, Math.min(record.spentNanos, rowNanos - budget.reservedNanos))
  budget.lostNanos = Math.max(0, rowNanos - budget.reservedNanos - budget.spentNanos)
  budget.row.nanos = rowNanos
  budget.toldPercent = record.toldPercent
}

/** An operator forgets what is spent and lost; what runs stays reserved. */
export function resetBudget(budget: Budget, nowMs: number): void {
  beginAnew(budget, nowMs)
}

export function holdOf(owner: BudgetOwner, { terms }: Budget, nanos: number): Hold {
  return { owner, period: terms.period, nanos }
}

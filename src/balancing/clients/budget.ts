import type { Hold, QuotaOwner, SpendPeriod } from '../limits/quota-charge.ts'
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
  /** When the running period ends; null for `total`. */
  endsAtMs: number | null
  spentNanos: number
  /** What running leases hold, and leases held ahead. */
  reservedNanos: number
  /** What leases held that ended without a word. It stays until a late word, or the period's end. */
  lostNanos: number
  increase: BudgetIncrease | null
  /** The highest share in percent that was told of in this period. */
  toldPercent: number
  /** What the row says is committed. */
  writtenNanos: number
  /** What was committed since the row was last renewed by time. */
  recentNanos: number
}

/** What is stored of a budget. */
export interface BudgetRecord {
  readonly period: SpendPeriod
  readonly endsAtMs: number | null
  readonly spentNanos: number
  readonly lostNanos: number
  /** All that counts as committed after a crash: spent, lost, reserved, and the surplus. */
  readonly committedNanos: number
  readonly increase: BudgetIncrease | null
  readonly toldPercent: number
}

const NANOS = 1e9

/** A surplus that is smaller would be used up by the next answer. */
const MIN_SURPLUS_NANOS = 1_000_000

/**
 * It rounds to the nearest and not up: OpenRouter's costs are decimals of at most nano-dollars, and
 * their floating-point forms lie a hair above or below.
 */
export const nanosOf = (usd: number): number => Math.round(usd * NANOS)
export const usdOf = (nanos: number): number => nanos / NANOS

export function createBudget(terms: BudgetTerms, nowMs: number): Budget {
  return {
    terms,
    endsAtMs: endOf(terms.period, nowMs),
    ...{ spentNanos: 0, reservedNanos: 0, lostNanos: 0, increase: null, toldPercent: 0 },
    ...{ writtenNanos: 0, recentNanos: 0 },
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
  Object.assign(budget, { spentNanos: 0, lostNanos: 0, toldPercent: 0, recentNanos: 0 })
  // The row is of the period that has ended, and says nothing of this one.
  budget.writtenNanos = 0
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

/** What a request reserves; null if its cost has no bound and the budget wants one. */
export function reservationNanos(budget: Budget, bound: CostBound, nowMs: number): number | null {
  const { mode, strict, capUsd, reserveUsd } = budget.terms
  if (bound === null && strict) return null
  if (mode === 'after') return 0
  const nanos = bound ?? nanosOf(reserveUsd)
  if (mode === 'exact') return nanos
  const tenth = Math.floor(limitNanos(budget, nowMs) / 10)
  return Math.min(nanos, nanosOf(capUsd), tenth)
}

/** Whether a budget pays for one more request, and if not, why. */
export type Payment =
  | { readonly kind: 'paid'; readonly nanos: number }
  | { readonly kind: 'exceeded' }
  | { readonly kind: 'unpriceable' }

/** @param share of the budget that may be committed with this request; the rest is for others */
export function payment(budget: Budget, bound: CostBound, nowMs: number, share = 1): Payment {
  letPeriodPass(budget, nowMs)
  const nanos = reservationNanos(budget, bound, nowMs)
  if (budget.terms.onExceeded === 'warn') return { kind: 'paid', nanos: nanos ?? 0 }
  if (nanos === null) return { kind: 'unpriceable' }
  const limit = share * limitNanos(budget, nowMs)
  const committed = committedNanos(budget)
  const isPaid = committed < limit && committed + nanos <= limit
  return isPaid ? { kind: 'paid', nanos } : { kind: 'exceeded' }
}

/** Reserves an amount. @returns whether the row must be written before the pool answers */
export function reserve(budget: Budget, nanos: number, nowMs: number): boolean {
  letPeriodPass(budget, nowMs)
  budget.reservedNanos += nanos
  budget.recentNanos += nanos
  return writeAhead(budget, nowMs)
}

/** Gives back what a lease held that was not used. */
export function release(budget: Budget, nanos: number): void {
  budget.reservedNanos = Math.max(0, budget.reservedNanos - nanos)
}

/** A lease has ended without a word: what it held may be spent. */
export function lose(budget: Budget, nanos: number): void {
  release(budget, nanos)
  budget.lostNanos += nanos
}

/** A late word of a lease that was lost, or that a crash has forgotten. */
export function find(budget: Budget, nanos: number): void {
  budget.lostNanos = Math.max(0, budget.lostNanos - nanos)
}

/** Books what an answer has cost. @returns whether the row must be written before the pool answers */
export function spend(budget: Budget, nanos: number, nowMs: number): boolean {
  letPeriodPass(budget, nowMs)
  // A correction may take back more than was spent in the period that has just begun.
  budget.spentNanos = Math.max(0, budget.spentNanos + nanos)
  budget.recentNanos += Math.max(0, nanos)
  return writeAhead(budget, nowMs)
}

/** What an answer costs a budget, in nano-dollars. */
export function costNanos({ terms }: Budget, usage: Usage): number {
  const byokUsd = terms.includeByok ? (usage.byokUsd ?? 0) : 0
  return nanosOf(usage.costUsd + byokUsd)
}

function writeAhead(budget: Budget, nowMs: number): boolean {
  const committed = committedNanos(budget)
  if (committed <= budget.writtenNanos) return false
  budget.writtenNanos = aheadOf(budget, nowMs)
  return true
}

/** Twice of what was committed lately: a steady client then writes its row once in an interval. */
function aheadOf(budget: Budget, nowMs: number): number {
  const committed = committedNanos(budget)
  const surplus = Math.max(2 * budget.recentNanos, MIN_SURPLUS_NANOS)
  return Math.min(committed + surplus, Math.max(committed, limitNanos(budget, nowMs)))
}

/**
 * Renews the row some seconds after the budget changed: with a new surplus if it was used since the
 * last time, else exactly.
 * @returns whether the row must be written
 */
export function renewBudget(budget: Budget, nowMs: number): boolean {
  letPeriodPass(budget, nowMs)
  const nanos = budget.recentNanos > 0 ? aheadOf(budget, nowMs) : committedNanos(budget)
  budget.recentNanos = 0
  if (nanos === budget.writtenNanos) return false
  budget.writtenNanos = nanos
  return true
}

/** Whether the row says more than is committed, which is to be taken back once the client rests. */
export function isWrittenAhead(budget: Budget): boolean {
  return budget.writtenNanos > committedNanos(budget)
}

export function budgetRecord(budget: Budget): BudgetRecord {
  const { terms, endsAtMs, spentNanos, lostNanos, increase, toldPercent } = budget
  const committed = Math.max(budget.writtenNanos, committedNanos(budget))
  const { period } = terms
  return {
    period,
    endsAtMs,
    spentNanos,
    lostNanos,
    committedNanos: committed,
    increase,
    toldPercent,
  }
}

/**
 * What counts after a restart. What the row says beyond what is spent and what restored leases hold
 * counts as lost: settlements of leases that a crash has forgotten bring it down.
 */
export function restoreBudget(budget: Budget, record: BudgetRecord, nowMs: number): void {
  budget.increase = record.increase
  if (record.endsAtMs !== null && nowMs >= record.endsAtMs) return
  budget.spentNanos = record.spentNanos
  const accounted = record.spentNanos + record.lostNanos + budget.reservedNanos
  budget.lostNanos = record.lostNanos + Math.max(0, record.committedNanos - accounted)
  budget.writtenNanos = record.committedNanos
  budget.toldPercent = record.toldPercent
}

/** An operator forgets what is spent and lost; what runs stays reserved. */
export function resetBudget(budget: Budget): void {
  Object.assign(budget, { spentNanos: 0, lostNanos: 0, toldPercent: 0 })
}

/** The shares that are told of, in percent. */
const THRESHOLDS = [100, 80, 50] as const
export type Threshold = (typeof THRESHOLDS)[number]

/** The threshold that the spend has newly passed; each is told once in a period. */
export function takeThreshold(budget: Budget, nowMs: number): Threshold | null {
  const limit = limitNanos(budget, nowMs)
  const percent = limit === 0 ? 100 : (100 * budget.spentNanos) / limit
  const passed = THRESHOLDS.find((threshold) => percent >= threshold) ?? null
  if (passed === null || passed <= budget.toldPercent) return null
  budget.toldPercent = passed
  return passed
}

export function holdOf(owner: QuotaOwner, { terms }: Budget, nanos: number): Hold {
  return { owner, period: terms.period, nanos }
}

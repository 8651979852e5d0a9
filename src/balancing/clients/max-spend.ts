import type { SpendPeriod } from '../limits/quota-charge.ts'
import {
  type Budget,
  type BudgetMode,
  type BudgetRecord,
  type BudgetTerms,
  budgetRecord,
  createBudget,
  restoreBudget,
} from './budget.ts'

/** The most that a key may spend in each period: a budget as a client's, which the keys beside it stand in for. */
export interface MaxSpend {
  readonly usd: number
  readonly period: SpendPeriod
  readonly mode?: BudgetMode | undefined
  readonly capUsd?: number | undefined
  readonly reserveUsd?: number | undefined
  readonly includeByok?: boolean | undefined
}

/** What is stored of a key's spend. */
export interface SpendRecord extends BudgetRecord {
  /** What an earlier release counts as spent: all that is committed. */
  readonly nanos: number
}

/** The length of an answer that neither the request nor the model limits, in tokens. */
export const ASSUMED_OUTPUT_TOKENS = 4096

/** What a request reserves at most, and what it reserves whose cost cannot be bounded. */
export const DEFAULT_RESERVE_USD = 0.5

function budgetTerms({ usd, period, mode, ...more }: MaxSpend): BudgetTerms {
  return {
    ...{ usd, period, mode: mode ?? 'capped' },
    capUsd: more.capUsd ?? DEFAULT_RESERVE_USD,
    reserveUsd: more.reserveUsd ?? DEFAULT_RESERVE_USD,
    includeByok: more.includeByok ?? false,
    assumeOutputTokens: ASSUMED_OUTPUT_TOKENS,
    // A request that this key does not pay for goes to another one.
    ...{ onExceeded: 'reject', strict: false },
  }
}

/** A key that has spent nothing; null for a key without `max_spend`. */
export function createSpend(max: MaxSpend | null, nowMs: number): Budget | null {
  return max === null ? null : createBudget(budgetTerms(max), nowMs)
}

export function spendRecord(spend: Budget): SpendRecord {
  const record = budgetRecord(spend)
  return { ...record, nanos: record.committedNanos }
}

/**
 * A tally is the sum of costs, a budget that of costs in whole nano-dollars: half of one may be between
 * them for each answer. This is what a million answers in a period can make of it.
 */
const ROUNDING_NANOS = 500_000

/**
 * What counts as spent after a restart: what the row says, if it is of the running period. The tally is
 * the lower bound: it says what a key has spent whose `max_spend` is new, or was away for a while. What
 * restored leases hold has been put into place before.
 * @param record null if there is none
 * @param talliedNanos what the key has spent in this period, by the checkpoint
 */
export function restoreSpend(
  spend: Budget,
  record: SpendRecord | null,
  talliedNanos: number,
  nowMs: number,
): void {
  if (record?.period === spend.terms.period) restoreBudget(spend, record, nowMs)
  const missingNanos = talliedNanos - spend.spentNanos - spend.lostNanos
  if (missingNanos > ROUNDING_NANOS) spend.spentNanos += missingNanos
}

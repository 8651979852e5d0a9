/**
 * A pool-wide budget for retries of upstream faults (finagle's `RetryBudget`). Requests pay in and
 * retries are paid from it, so retries can amplify an outage only by a known share. It is a token
 * bucket: one token pays for one retry.
 */
export interface RetryBudget {
  tokens: number
  atMs: number
}

export interface RetryBudgetPolicy {
  /** How much of a token each request pays in, 0 to 1. */
  readonly ratio: number
  /** How many tokens come in each second without requests, so that a quiet pool can retry too. */
  readonly minPerSecond: number
}

/** The budget saves tokens for a burst: those of this many seconds or requests, if that is more. */
const SAVED_SECONDS = 10
const SAVED_REQUESTS = 100

/** A budget that starts with the tokens of `SAVED_SECONDS`. */
export function createRetryBudget(policy: RetryBudgetPolicy, nowMs: number): RetryBudget {
  return { tokens: policy.minPerSecond * SAVED_SECONDS, atMs: nowMs }
}

function refill(budget: RetryBudget, policy: RetryBudgetPolicy, deposit: number, nowMs: number) {
  const elapsedMs = Math.max(0, nowMs - budget.atMs)
  const capacity = Math.max(1, policy.minPerSecond * SAVED_SECONDS, policy.ratio * SAVED_REQUESTS)
  const dripped = (elapsedMs / 1000) * policy.minPerSecond
  budget.tokens = Math.min(capacity, budget.tokens + dripped + deposit)
  budget.atMs = Math.max(budget.atMs, nowMs)
}

/** Pays in for one request (not for one attempt). */
export function deposit(budget: RetryBudget, policy: RetryBudgetPolicy, nowMs: number): void {
  refill(budget, policy, policy.ratio, nowMs)
}

/** Whether the budget can pay for one retry now. */
export function canWithdraw(
  budget: RetryBudget,
  policy: RetryBudgetPolicy,
  nowMs: number,
): boolean {
  refill(budget, policy, 0, nowMs)
  return budget.tokens >= 1
}

/** Pays for one retry. Call this only after `canWithdraw` returned true at the same moment. */
export function withdraw(budget: RetryBudget): void {
  budget.tokens -= 1
}

/**
 * A pool-wide budget for retries of upstream faults (finagle's `RetryBudget`):
 * requests pay in, retries pay out, so that retries can amplify an outage by a
 * known share and no more. A token bucket; nothing but two numbers.
 */
export interface RetryBudget {
  tokens: number
  atMs: number
}

export interface RetryBudgetPolicy {
  /** What each request deposits, 0–1. */
  readonly ratio: number
  /** What drips in by itself, so that a quiet pool may retry too. */
  readonly minPerSecond: number
}

/** How much drip, and how many requests' deposits, may be saved up for a burst. */
const SAVED_SECONDS = 10
const SAVED_REQUESTS = 100

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

/** Counts one request (not one attempt). */
export function deposit(budget: RetryBudget, policy: RetryBudgetPolicy, nowMs: number): void {
  refill(budget, policy, policy.ratio, nowMs)
}

/** Whether one retry can be paid for now. */
export function canWithdraw(
  budget: RetryBudget,
  policy: RetryBudgetPolicy,
  nowMs: number,
): boolean {
  refill(budget, policy, 0, nowMs)
  return budget.tokens >= 1
}

/** Pays for one retry. Call only after `canWithdraw` said yes at the same moment. */
export function withdraw(budget: RetryBudget): void {
  budget.tokens -= 1
}

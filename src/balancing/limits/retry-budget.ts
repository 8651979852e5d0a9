import type { ModelId } from '../ids.ts'
import { createRotatingMap, getEntry, type RotatingMap, setEntry } from './rotating-map.ts'

/**
 * Budgets for retries of upstream faults (finagle's `RetryBudget`). Requests pay in and retries are
 * paid from it, so retries can amplify an outage only by a known share. Each model has a budget of
 * its own, so that a model that fails does not use up the retries of the others. The pool has a
 * ceiling over all of them, since model names come from callers, and each new name would bring the
 * retries that a quiet model has saved.
 */
export interface RetryBudget {
  /** Token buckets: one token pays for one retry. */
  readonly ceiling: TokenBucket
  readonly models: RotatingMap<ModelId, TokenBucket>
  /** A model that was never heard of has saved since then, like any other that is quiet. */
  readonly createdAtMs: number
}

export interface TokenBucket {
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

/** The ceiling leaves room for another model beside one that uses up its own budget. */
const CEILING = 2

/** Longer than a bucket takes to fill up by itself: one that is forgotten was full. */
const ROTATION = { termMs: 10 * 60_000, capacity: 500 }

/** Budgets that start with the tokens of `SAVED_SECONDS`. */
export function createRetryBudget(policy: RetryBudgetPolicy, nowMs: number): RetryBudget {
  const ceiling = createBucket(doubled(policy), nowMs)
  return { ceiling, models: createRotatingMap(ROTATION), createdAtMs: nowMs }
}

function createBucket(policy: RetryBudgetPolicy, nowMs: number): TokenBucket {
  return { tokens: policy.minPerSecond * SAVED_SECONDS, atMs: nowMs }
}

function doubled({ ratio, minPerSecond }: RetryBudgetPolicy): RetryBudgetPolicy {
  return { ratio: CEILING * ratio, minPerSecond: CEILING * minPerSecond }
}

function refill(bucket: TokenBucket, policy: RetryBudgetPolicy, deposits: number, nowMs: number) {
  const elapsedMs = Math.max(0, nowMs - bucket.atMs)
  const capacity = Math.max(1, policy.minPerSecond * SAVED_SECONDS, policy.ratio * SAVED_REQUESTS)
  const dripped = (elapsedMs / 1000) * policy.minPerSecond
  bucket.tokens = Math.min(capacity, bucket.tokens + dripped + deposits * policy.ratio)
  bucket.atMs = Math.max(bucket.atMs, nowMs)
}

function bucketOf(
  { models, createdAtMs }: RetryBudget,
  model: ModelId,
  policy: RetryBudgetPolicy,
  nowMs: number,
): TokenBucket {
  const known = getEntry(models, model)
  if (known !== undefined) return known
  const bucket = createBucket(policy, createdAtMs)
  setEntry(models, model, bucket, nowMs)
  return bucket
}

/** Which model a request is for, by which policy. */
export interface BudgetedModel {
  readonly model: ModelId
  readonly policy: RetryBudgetPolicy
}

/**
 * Pays in for one request (not for one attempt).
 * @param deposits 1 to pay in; -1 takes the payment of a request back that was never sent
 */
export function deposit(
  budget: RetryBudget,
  { model, policy }: BudgetedModel,
  nowMs: number,
  deposits: 1 | -1 = 1,
): void {
  payIn(bucketOf(budget, model, policy, nowMs), policy, deposits, nowMs)
  payIn(budget.ceiling, doubled(policy), deposits, nowMs)
}

function payIn(bucket: TokenBucket, policy: RetryBudgetPolicy, deposits: 1 | -1, nowMs: number) {
  refill(bucket, policy, deposits, nowMs)
  bucket.tokens = Math.max(0, bucket.tokens)
}

/** Whether the model's budget and the pool's can pay for one retry now. */
export function canWithdraw(
  budget: RetryBudget,
  { model, policy }: BudgetedModel,
  nowMs: number,
): boolean {
  const bucket = bucketOf(budget, model, policy, nowMs)
  refill(bucket, policy, 0, nowMs)
  refill(budget.ceiling, doubled(policy), 0, nowMs)
  return bucket.tokens >= 1 && budget.ceiling.tokens >= 1
}

/** The earliest moment at which the budget can pay for one retry if nothing pays in; or infinity. */
export function paysAtMs(
  budget: RetryBudget,
  { model, policy }: BudgetedModel,
  nowMs: number,
): number {
  if (canWithdraw(budget, { model, policy }, nowMs)) return nowMs
  const own = drippedAtMs(bucketOf(budget, model, policy, nowMs), policy, nowMs)
  return Math.max(own, drippedAtMs(budget.ceiling, doubled(policy), nowMs))
}

function drippedAtMs({ tokens }: TokenBucket, policy: RetryBudgetPolicy, nowMs: number): number {
  // Rounding may leave a bucket a hair short of a whole token.
  const missing = Math.max(0, 1 - tokens)
  return missing === 0 ? nowMs : nowMs + Math.ceil((missing / policy.minPerSecond) * 1000 + 1e-6)
}

/**
 * Pays for one retry. Call this only after `canWithdraw` returned true at the same moment.
 * @param retries 1 to pay; -1 gives the payment of a retry back that was never sent
 */
export function withdraw(
  budget: RetryBudget,
  { model, policy }: BudgetedModel,
  nowMs: number,
  retries: 1 | -1 = 1,
): void {
  bucketOf(budget, model, policy, nowMs).tokens -= retries
  budget.ceiling.tokens -= retries
}

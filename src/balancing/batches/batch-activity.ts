import {
  createRetryBudget,
  type RetryBudget,
  type RetryBudgetPolicy,
} from '../limits/retry-budget.ts'
import type { RunningBatch } from './batch-progress.ts'

/** What the pool knows of batches as a whole. Nothing of it is stored. */
export interface Batches {
  /** How much of each limit of a key they may take: 0 to 1. */
  readonly share: number
  /** When a batch asked for a lease last, and when anybody else did, in epoch milliseconds. */
  askedAtMs: number
  interactiveAtMs: number
  /** The number of grants to batches so far: the clock by which keys take turns for them. */
  turns: number
  /** What their retries are paid from: they take none of those of interactive requests. */
  readonly retryBudget: RetryBudget
  /** By their ids, for operators. */
  readonly running: Map<string, RunningBatch>
}

/** No batch has asked yet. */
export function createBatches(
  policy: {
    readonly batch: { readonly share: number }
    readonly retryBudget: RetryBudgetPolicy
  },
  nowMs: number,
): Batches {
  return {
    share: policy.batch.share,
    askedAtMs: Number.NEGATIVE_INFINITY,
    interactiveAtMs: Number.NEGATIVE_INFINITY,
    turns: 0,
    retryBudget: createRetryBudget(policy.retryBudget, nowMs),
    running: new Map(),
  }
}

/**
 * A key that comes out of its cooldown is tried with one request at a time. While there are interactive
 * requests one of them does it: a line of a batch may take ten minutes, and so long nobody would know.
 */
const PROBES_AFTER_MS = 10_000

/** From which moment on a batch may be a key's probe, in epoch milliseconds. */
export function batchProbesFromMs({ interactiveAtMs }: Batches): number {
  return interactiveAtMs + PROBES_AFTER_MS
}

/** After so long without a batch nobody keeps notes for one. */
const ACTIVE_MS = 60_000

/** Whether there is a batch that has to keep away from the keys that are wanted. */
export function isBatchActive({ askedAtMs }: Batches, nowMs: number): boolean {
  return nowMs - askedAtMs < ACTIVE_MS
}

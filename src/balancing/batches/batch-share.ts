import type { Meter } from '../limits/meter.ts'
import {
  createWindow,
  fits,
  fitsAtMs,
  giveBack,
  type SlidingWindow,
  take,
  takenWithin,
} from '../limits/sliding-window.ts'

/**
 * What batches have of a key. They take a share of each of its limits and no more, so the rest is
 * always there for interactive requests. A share of a window is kept in a window of its own: what
 * interactive requests take of the limit is no business of it.
 */
export interface BatchUse {
  /** The number of live leases of batches. They also count in the key's own `inFlight`. */
  inFlight: number
  /** As the key's `lastTurn`, among the grants to batches. */
  lastTurn: number
  /** What batches have taken of the key's limits per minute; empty for a limit that it has not. */
  rpm: SlidingWindow
  tpm: SlidingWindow
  /** No batch is granted the key before this moment, in epoch milliseconds. */
  yieldsUntilMs: number
}

/** A key's limits, and what batches have of them. */
export interface BatchLimited {
  readonly config: { readonly maxConcurrent: number | null }
  readonly rpm: Meter | null
  readonly tpm: Meter | null
  readonly batch: BatchUse
}

/**
 * A key without `max_concurrent` counts as one of so many. OpenRouter does not tell how many requests
 * an account may run at once, and a batch of 50,000 lines would find out for everybody else.
 */
export const ASSUMED_MAX_CONCURRENT = 64

/**
 * How long batches keep away from a key that an interactive request had to wait for. Who lacked a key
 * once will lack it again soon: with less, a batch would take the key in every gap between two of
 * them. With more, it would stand still long after the last of them.
 */
const YIELD_MS = 2_000

export function createBatchUse(): BatchUse {
  return {
    inFlight: 0,
    lastTurn: 0,
    rpm: createWindow(),
    tpm: createWindow(),
    yieldsUntilMs: 0,
  }
}

/**
 * The most leases of a key that batches may have at once. It is one at least: half of one lease would be
 * none, and the batch of a pool of such keys would never end.
 */
export function leasesOfShare(maxConcurrent: number | null, share: number): number {
  return Math.max(1, Math.floor(share * (maxConcurrent ?? ASSUMED_MAX_CONCURRENT)))
}

/** By the same reason one request may be larger than the share, if it has the share for itself. */
function amountOfShare({ limit }: Meter, share: number, amount: number): number {
  return Math.max(amount, share * limit)
}

/** Whether a key's share has room for one more request of a batch, at once. */
export function hasBatchRoom(key: BatchLimited, share: number, tokens: number, nowMs: number) {
  const { rpm, tpm, batch, config } = key
  if (batch.inFlight >= leasesOfShare(config.maxConcurrent, share)) return false
  if (rpm !== null && !fits(batch.rpm, amountOfShare(rpm, share, 1), 1, nowMs)) return false
  return tpm === null || fits(batch.tpm, amountOfShare(tpm, share, tokens), tokens, nowMs)
}

/**
 * When the share of the key's limits per minute has room. That a request is larger than the limit itself,
 * the key's own windows say.
 */
export function batchWindowsAtMs(
  { rpm, tpm, batch }: BatchLimited,
  share: number,
  tokens: number,
  nowMs: number,
): number {
  const ofMeter = (meter: Meter | null, window: SlidingWindow, amount: number) =>
    meter === null
      ? nowMs
      : (fitsAtMs(window, amountOfShare(meter, share, amount), amount, nowMs) ?? nowMs)
  return Math.max(ofMeter(rpm, batch.rpm, 1), ofMeter(tpm, batch.tpm, tokens))
}

/** Counts one request of a batch. */
export function chargeBatch({ rpm, tpm, batch }: BatchLimited, tokens: number, nowMs: number) {
  if (rpm !== null) take(batch.rpm, 1, nowMs)
  if (tpm !== null) take(batch.tpm, tokens, nowMs)
}

/** Takes back what was charged at `chargedAtMs` for a request that was never sent. */
export function giveBackBatch(
  { batch }: Pick<BatchLimited, 'batch'>,
  tokens: number,
  chargedAtMs: number,
  nowMs: number,
): void {
  giveBack(batch.rpm, 1, chargedAtMs, nowMs)
  giveBack(batch.tpm, tokens, chargedAtMs, nowMs)
}

/** Has batches keep away from a key that an interactive request had to wait for. */
export function yieldToInteractive({ batch }: Pick<BatchLimited, 'batch'>, nowMs: number): void {
  batch.yieldsUntilMs = nowMs + YIELD_MS
}

/** What is taken of a limit per minute and not by batches, and how much of it is not theirs. */
export function interactivePart(
  meter: Meter,
  ofBatch: SlidingWindow,
  nowMs: number,
): { readonly taken: number; readonly limit: number } {
  const batch = takenWithin(ofBatch, nowMs)
  return { taken: takenWithin(meter.window, nowMs) - batch, limit: meter.limit - batch }
}

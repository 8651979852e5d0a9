/**
 * A moving average that follows bad news at once and good news slowly (finagle's `PeakEwma`).
 * A sample above the average replaces it. A lower sample pulls it down, by more if more time has
 * passed. Without samples the average decays towards zero, so a key that was slow is tried again.
 */
export interface PeakEwma {
  readonly valueMs: number
  readonly atMs: number
}

/**
 * The time after which the past has lost most of its weight: 1/e is left. finagle uses ten seconds
 * for calls that take milliseconds. The first output of an answer takes a second or more.
 */
const DECAY_MS = 30_000

/** The average after a sample. The first sample is the first average. */
export function observe(average: PeakEwma | null, sampleMs: number, nowMs: number): PeakEwma {
  const sample = Math.max(0, sampleMs)
  if (average === null || sample >= average.valueMs) return { valueMs: sample, atMs: nowMs }
  const kept = keptSince(average.atMs, nowMs)
  return { valueMs: average.valueMs * kept + sample * (1 - kept), atMs: nowMs }
}

/**
 * An average that is older than this no longer counts as a measurement. It would go on decaying to
 * nearly zero, and a key whose latency is nearly zero gets every request.
 */
const FORGOTTEN_MS = 2 * DECAY_MS

/** The average as of now, in milliseconds; null without a measurement that is recent enough. */
export function valueMs(average: PeakEwma | null, nowMs: number): number | null {
  if (average === null || nowMs - average.atMs > FORGOTTEN_MS) return null
  return average.valueMs * keptSince(average.atMs, nowMs)
}

function keptSince(atMs: number, nowMs: number): number {
  return Math.exp(-Math.max(0, nowMs - atMs) / DECAY_MS)
}

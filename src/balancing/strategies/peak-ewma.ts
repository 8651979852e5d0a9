/**
 * A moving average that believes bad news at once and good news slowly: a sample
 * above the average replaces it, one below pulls it down by how much time has
 * passed (finagle's `PeakEwma`). Left alone it decays towards zero, so that a key
 * that was slow once is tried again some day.
 */
export interface PeakEwma {
  readonly valueMs: number
  readonly atMs: number
}

/**
 * In how long the past loses most of its weight. finagle's is ten seconds for calls
 * of milliseconds; the first word of an answer takes a second or more.
 */
const DECAY_MS = 30_000

export function observe(average: PeakEwma | null, sampleMs: number, nowMs: number): PeakEwma {
  const sample = Math.max(0, sampleMs)
  if (average === null || sample >= average.valueMs) return { valueMs: sample, atMs: nowMs }
  const kept = keptSince(average.atMs, nowMs)
  return { valueMs: average.valueMs * kept + sample * (1 - kept), atMs: nowMs }
}

/**
 * How old an average may be. It would decay to nothing if it were left to, and what
 * weighs nothing is given everything: older than this, it is no measurement.
 */
const FORGOTTEN_MS = 2 * DECAY_MS

/** The average as of now, in milliseconds; null if it is from too long ago. */
export function valueMs(average: PeakEwma | null, nowMs: number): number | null {
  if (average === null || nowMs - average.atMs > FORGOTTEN_MS) return null
  return average.valueMs * keptSince(average.atMs, nowMs)
}

function keptSince(atMs: number, nowMs: number): number {
  return Math.exp(-Math.max(0, nowMs - atMs) / DECAY_MS)
}

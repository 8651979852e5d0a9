import type { Random } from '../random.ts'
import type { Breaker } from './circuit-breaker.ts'

/** How long it takes until a recovered key has its whole share back. */
export const SLOW_START_MS = 10_000

/** The share of its load that a key gets at the start: enough to notice a relapse. */
const MIN_SHARE = 0.1

/**
 * The share of its load that a key can be given: 1, unless it has just recovered. Then the share
 * grows linearly over `SLOW_START_MS`, from `MIN_SHARE` at least, as in Envoy's slow start mode.
 */
export function shareOf(breaker: Breaker, nowMs: number): number {
  if (breaker.kind !== 'closed' || breaker.recoveredAtMs === null) return 1
  const elapsedMs = nowMs - breaker.recoveredAtMs
  return Math.min(Math.max(MIN_SHARE, elapsedMs / SLOW_START_MS), 1)
}

/**
 * Whether a key takes part in this choice, drawn at random by its share. Envoy scales weights
 * instead. A draw works for every strategy, also for `priority`, which has no weights.
 */
export function takesPart(breaker: Breaker, nowMs: number, random: Random): boolean {
  const share = shareOf(breaker, nowMs)
  return share === 1 || random() < share
}

import type { Random } from '../random.ts'
import type { Breaker } from './circuit-breaker.ts'

/** How long a recovered key takes to get its whole share back. */
export const SLOW_START_MS = 10_000

/** The share of its turns that a key gets at the very start: enough to notice a relapse. */
const MIN_SHARE = 0.1

/**
 * How much of its load a key can be given: all, unless it has just recovered.
 * It grows linearly over `SLOW_START_MS`, as in Envoy's slow start mode.
 */
export function shareOf(breaker: Breaker, nowMs: number): number {
  if (breaker.kind !== 'closed' || breaker.recoveredAtMs === null) return 1
  const elapsedMs = nowMs - breaker.recoveredAtMs
  return Math.min(Math.max(MIN_SHARE, elapsedMs / SLOW_START_MS), 1)
}

/**
 * Whether a key takes part in this choice. Drawing per choice instead of scaling
 * a weight makes it work for every strategy, `priority` included, which knows no
 * weights.
 */
export function takesPart(breaker: Breaker, nowMs: number, random: Random): boolean {
  const share = shareOf(breaker, nowMs)
  return share === 1 || random() < share
}

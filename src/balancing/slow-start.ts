import type { Breaker } from './circuit-breaker.ts'
import type { Random } from './selection.ts'

/** How long a recovered key takes to get its whole share back. */
export const SLOW_START_MS = 10_000

/** The share of its turns that a key gets at the very start: enough to notice a relapse. */
const MIN_SHARE = 0.1

/**
 * Whether a key that has just recovered takes part in this choice. Its share
 * grows linearly over `SLOW_START_MS` (as Envoy's slow start mode does for
 * weights). Drawing per choice instead of scaling a weight makes it work for
 * every strategy, `priority` included, which knows no weights.
 */
export function takesPart(breaker: Breaker, nowMs: number, random: Random): boolean {
  if (breaker.kind !== 'closed' || breaker.recoveredAtMs === null) return true
  const elapsedMs = nowMs - breaker.recoveredAtMs
  if (elapsedMs >= SLOW_START_MS) return true
  return random() < Math.max(MIN_SHARE, elapsedMs / SLOW_START_MS)
}

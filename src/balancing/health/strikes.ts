import type { RunningLease } from '../limits/leases.ts'
import type { BenchOrder } from '../settlement.ts'

/** Consecutive rate limits of a key without a named reset. Each of them doubles the next bench. */
interface Strikes {
  strikes: number
  struckAtMs: number
}

/**
 * How many strikes came before this order. A `backoff` order is a strike. But ten requests that
 * were running together when the limit was reached are one strike, not ten: only a lease that was
 * granted after the last strike adds to the count.
 */
export function strike(
  key: Strikes,
  lease: RunningLease | null,
  order: BenchOrder,
  nowMs: number,
): number {
  if (order.term.kind !== 'backoff') return 0
  if (lease === null || (key.strikes > 0 && !isSinceStrike(key, lease))) {
    return Math.max(0, key.strikes - 1)
  }
  key.strikes += 1
  key.struckAtMs = nowMs
  return key.strikes - 1
}

/**
 * Whether a lease was granted after the key's last strike, so that its outcome shows the key's
 * state since then. A long answer that was already running does not show it. Neither does a lease
 * of the same millisecond: a strike benches the key, so that lease was granted before the strike.
 */
export function isSinceStrike(key: Strikes, lease: RunningLease | null): boolean {
  return lease !== null && lease.grantedAtMs > key.struckAtMs
}

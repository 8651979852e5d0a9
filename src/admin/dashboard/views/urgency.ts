import type { Reason } from '../../../balancing/reasons.ts'
import type { KeySnapshot } from '../../../balancing/snapshot.ts'

/**
 * How a key stands, the most urgent first: out until somebody acts, out until a moment, in recovery,
 * soon over, out because an operator wanted it, and well.
 */
export type Standing = 'lost' | 'out' | 'recovering' | 'expiring' | 'off' | 'well'

const ORDER: readonly Standing[] = ['lost', 'out', 'recovering', 'expiring', 'off', 'well']

const WANTED: ReadonlySet<Reason> = new Set<Reason>(['disabled', 'paused', 'draining'])

export function standingOf({ reason, clearsAtMs, breaker, expiresSoon }: KeySnapshot): Standing {
  if (reason !== null) {
    if (WANTED.has(reason)) return 'off'
    return clearsAtMs === null ? 'lost' : 'out'
  }
  if (breaker !== 'closed') return 'recovering'
  return expiresSoon ? 'expiring' : 'well'
}

/** Keys by urgency; of equal ones the one that is out for longer goes first, then the pool's order. */
export function byUrgency(keys: readonly KeySnapshot[]): KeySnapshot[] {
  const rank = (key: KeySnapshot) => ORDER.indexOf(standingOf(key))
  return keys.toSorted((a, b) => rank(a) - rank(b) || (b.clearsAtMs ?? 0) - (a.clearsAtMs ?? 0))
}

/** The number of keys that nobody took out of use on purpose, and that serve nobody. */
export function outCount(keys: readonly KeySnapshot[]): number {
  return keys.filter((key) => ['lost', 'out'].includes(standingOf(key))).length
}

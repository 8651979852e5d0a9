import { type Balanced, least, type NonEmpty, type Random } from './selection.ts'

/**
 * Fewest leases in flight per unit of weight (weighted least-connections, as in
 * LVS `wlc`). Compared by cross-multiplication, so that nothing is divided; ties
 * go in turn, so that a pool that never has two requests at once still rotates.
 */
export function leastBusy<K extends Balanced>(eligible: NonEmpty<K>, random: Random): K {
  return least(
    eligible,
    (a, b) => a.inFlight * b.weight - b.inFlight * a.weight || a.lastTurn - b.lastTurn,
    random,
  )
}

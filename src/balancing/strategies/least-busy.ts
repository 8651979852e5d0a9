import { minimumBy } from './minimum.ts'
import type { Strategy } from './strategy.ts'

/**
 * Fewest leases in flight per unit of weight (weighted least-connections, as in
 * LVS `wlc`). Compared by cross-multiplication, so that nothing is divided; ties
 * go in turn, so that a pool that never has two requests at once still rotates.
 *
 * A key that recovers counts by its share of its weight (as Envoy scales weights
 * in slow start): it comes back empty, and would otherwise win every choice that
 * it takes part in until it is as full as the others.
 */
export const leastBusy: Strategy = {
  choose: (eligible, { random }) =>
    minimumBy(
      eligible,
      (a, b) =>
        a.inFlight * b.weight * b.share - b.inFlight * a.weight * a.share ||
        a.lastTurn - b.lastTurn,
      random,
    ),
  score: (key) => key.inFlight / (key.weight * key.share),
  best: 'lowest',
}

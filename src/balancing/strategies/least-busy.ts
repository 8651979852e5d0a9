import { minimumBy } from './minimum.ts'
import type { Strategy } from './strategy.ts'

/**
 * The key with the fewest leases in flight per unit of weight (weighted least-connections, as in
 * LVS `wlc`). Keys are compared by cross-multiplication, so nothing is divided. Ties go in turn, so
 * a pool that never has two requests at once still rotates.
 *
 * A key in slow start counts with its share of its weight (as Envoy scales weights in slow start).
 * The key comes back empty. With its full weight it would win every choice in which it takes part,
 * until it is as full as the others.
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

import { isNonEmpty, type NonEmpty } from '../non-empty.ts'
import { takeTurn } from './smooth-weighted-round-robin.ts'
import type { Candidate, Strategy } from './strategy.ts'

/**
 * Fewest leases in flight per unit of weight (weighted least-connections, as in
 * LVS `wlc`). Compared by cross-multiplication, so that nothing is divided.
 *
 * Ties are broken by smooth weighted round-robin. A pool that never has two
 * requests at once has nothing but ties: taken simply in turn, a key of weight 1
 * would get half of the requests beside one of weight 9.
 *
 * A key in slow start counts with its share of its weight (as Envoy scales weights in slow start).
 * The key comes back empty. With its full weight it would win every choice in which it takes part,
 * until it is as full as the others.
 */
export const leastBusy: Strategy = {
  choose(eligible, choice) {
    const tied = leastLoaded(eligible)
    return tied.length === 1 ? tied[0] : takeTurn(tied, choice, capacityOf)
  },
  score: (key) => key.inFlight / capacityOf(key),
  best: 'lowest',
}

function capacityOf({ weight, share }: Candidate): number {
  return weight * share
}

/** All keys with the least load, in one pass. */
function leastLoaded<K extends Candidate>(keys: NonEmpty<K>): NonEmpty<K> {
  let [least] = keys
  let tied: K[] = []
  for (const key of keys) {
    const order = key.inFlight * capacityOf(least) - least.inFlight * capacityOf(key)
    if (order < 0) {
      least = key
      tied = [key]
    } else if (order === 0) {
      tied.push(key)
    }
  }
  return isNonEmpty(tied) ? tied : [least]
}

import type { NonEmpty } from '../non-empty.ts'
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
    const { least, from, ties } = leastLoaded(eligible)
    if (ties === 1) return least
    const isTied = (key: Candidate) => order(key, least) === 0
    return takeTurn(eligible, choice, { from, weightOf: capacityOf, takesPart: isTied })
  },
  score: (key) => key.inFlight / capacityOf(key),
  best: 'lowest',
}

function capacityOf({ weight, share }: Candidate): number {
  return weight * share
}

/** Below zero if `a` is less loaded, zero for a tie. */
function order(a: Candidate, b: Candidate): number {
  return a.inFlight * capacityOf(b) - b.inFlight * capacityOf(a)
}

/** The first key with the least load, where it stands, and how many have the same. Makes no list. */
function leastLoaded<K extends Candidate>(keys: NonEmpty<K>) {
  let least = keys[0]
  let from = 0
  let ties = 1
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i] as K
    const difference = order(key, least)
    if (difference < 0) {
      least = key
      from = i
      ties = 1
    } else if (difference === 0) ties += 1
  }
  return { least, from, ties }
}

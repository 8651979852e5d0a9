import { type Balanced, least, type NonEmpty, type Random } from './selection.ts'

/**
 * Smooth weighted round-robin, as nginx does it (commit 52327e0627f4, 2012):
 * every eligible key gains its weight, the one with most is picked and pays the
 * sum of the weights. Over one period of W = Σ weights each key is picked
 * exactly `weight` times, and interleaved rather than in runs.
 *
 * The exactness does not depend on how ties are broken. A picked key had a
 * positive value before it paid W, so every value stays above −W; after W
 * picks a key's value is W·(weight − picks), hence picks ≤ weight, and the sums
 * agree. So ties may go to the key that has waited longest.
 */
export function smoothWeightedRoundRobin<K extends Balanced>(
  eligible: NonEmpty<K>,
  random: Random,
): K {
  let total = 0
  for (const key of eligible) {
    key.smoothedWeight += key.weight
    total += key.weight
  }
  const chosen = least(
    eligible,
    (a, b) => b.smoothedWeight - a.smoothedWeight || a.lastTurn - b.lastTurn,
    random,
  )
  chosen.smoothedWeight -= total
  return chosen
}

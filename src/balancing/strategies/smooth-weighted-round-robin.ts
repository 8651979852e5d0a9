import type { NonEmpty } from '../non-empty.ts'
import type { Candidate, Choice, Memory, Strategy } from './strategy.ts'

/**
 * Smooth weighted round-robin, as nginx does it (commit 52327e0627f4, 2012). At each choice every
 * eligible key gains its weight. The key with the highest value is picked and pays the sum of the
 * weights, W. Over one period of W choices each key is picked exactly `weight` times, and its turns
 * are interleaved with those of the others.
 *
 * The exactness does not depend on how ties are broken. A picked key had a positive value before it
 * paid W, so every value stays above −W. After W picks a key's value is W·(weight − picks), hence
 * picks ≤ weight. Both sum to W, so picks = weight. So ties may go to the key whose last turn was
 * longest ago.
 */
export const smoothWeightedRoundRobin: Strategy = {
  choose: (eligible, choice) => takeTurn(eligible, choice, ({ weight }) => weight),
  score: (key, { memory }) => Math.max(0, due(key, memory)),
  best: 'highest',
}

/**
 * One turn among some keys: each gains its weight, one of them pays for all.
 * @param weightOf above 0
 */
export function takeTurn<K extends Candidate>(
  keys: NonEmpty<K>,
  { memory: { smoothedWeights }, random }: Pick<Choice, 'memory' | 'random'>,
  weightOf: (key: K) => number,
): K {
  let total = 0
  let chosen = keys[0]
  let most = Number.NEGATIVE_INFINITY
  let ties = 0
  for (const key of keys) {
    const weight = weightOf(key)
    const owed = (smoothedWeights[key.position] ?? 0) + weight
    smoothedWeights[key.position] = owed
    total += weight
    const order = owed - most || chosen.lastTurn - key.lastTurn
    ties = order > 0 ? 1 : ties + Number(order === 0)
    if (order > 0 || (order === 0 && random() * ties < 1)) {
      chosen = key
      most = owed
    }
  }
  smoothedWeights[chosen.position] = most - total
  return chosen
}

/** What a key is owed once it has gained its weight. */
function due(key: Candidate, { smoothedWeights }: Memory): number {
  return (smoothedWeights[key.position] ?? 0) + key.weight
}

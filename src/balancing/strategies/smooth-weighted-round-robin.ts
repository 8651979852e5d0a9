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
  choose: (eligible, choice) => takeTurn(eligible, choice, ALL_BY_WEIGHT),
  score: (key, { memory }) => Math.max(0, due(key, memory)),
  best: 'highest',
}

/** Who takes part in a turn, and by which weights. */
export interface Turn {
  /** Where in the list to begin: nobody before it takes part. */
  readonly from: number
  /** Above 0. */
  readonly weightOf: (key: Candidate) => number
  readonly takesPart: (key: Candidate) => boolean
}

const ALL_BY_WEIGHT: Turn = { from: 0, weightOf: ({ weight }) => weight, takesPart: () => true }

/**
 * One turn among some keys of a list: each gains its weight, one of them pays for all. The list itself is
 * gone through, since one of those who take part would be made anew for each request.
 */
export function takeTurn<K extends Candidate>(
  keys: NonEmpty<K>,
  { memory: { smoothedWeights }, random }: Pick<Choice, 'memory' | 'random'>,
  { from, weightOf, takesPart }: Turn,
): K {
  let total = 0
  let chosen = keys[0]
  let most = Number.NEGATIVE_INFINITY
  let ties = 0
  for (let i = from; i < keys.length; i++) {
    const key = keys[i] as K
    if (!takesPart(key)) continue
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

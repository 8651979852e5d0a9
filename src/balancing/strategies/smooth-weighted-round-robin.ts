import { minimumBy } from './minimum.ts'
import type { Candidate, Memory, Strategy } from './strategy.ts'

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
  choose(eligible, { memory, random }) {
    let total = 0
    for (const key of eligible) {
      memory.smoothedWeights.set(key.position, due(key, memory))
      total += key.weight
    }
    const owed = (key: Candidate) => memory.smoothedWeights.get(key.position) ?? 0
    const chosen = minimumBy(
      eligible,
      (a, b) => owed(b) - owed(a) || a.lastTurn - b.lastTurn,
      random,
    )
    memory.smoothedWeights.set(chosen.position, owed(chosen) - total)
    return chosen
  },
  score: (key, { memory }) => Math.max(0, due(key, memory)),
  best: 'highest',
}

/** The value of a key after it has gained its weight. */
function due(key: Candidate, memory: Memory): number {
  return (memory.smoothedWeights.get(key.position) ?? 0) + key.weight
}

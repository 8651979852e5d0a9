import { spendableUsd } from '../accounting/credit.ts'
import { minimumByScore } from './minimum.ts'
import type { Candidate, Choice, Strategy } from './strategy.ts'

/**
 * The key with the most credit left. A key without a cap has more than any key with one. A key with
 * unknown credit comes last, because it may be empty. Equal keys take turns.
 */
export const mostCredit: Strategy = {
  choose: (eligible, choice) =>
    minimumByScore(
      eligible,
      // Uncapped is infinite and comes first; unknown is below nothing and comes last.
      (key) => -(creditOf(key, choice) ?? -1),
      (a, b) => a.lastTurn - b.lastTurn,
      choice.random,
    ),
  score: creditOf,
  isOrdered: true,
  best: 'highest',
}

/** What a key has left after the expected cost of its running requests, in USD; null if unknown. */
export function creditOf(key: Candidate, { meanCostUsd, nowMs }: Choice): number | null {
  return spendableUsd(key.credit, key.inFlight * meanCostUsd, nowMs)
}

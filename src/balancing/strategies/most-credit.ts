import { spendableUsd } from '../accounting/credit.ts'
import { minimumBy } from './minimum.ts'
import type { Candidate, Choice, Strategy } from './strategy.ts'

/**
 * The key with the most credit left. A key without a cap has more than any key with one. A key with
 * unknown credit comes last, because it may be empty. Equal keys take turns.
 */
export const mostCredit: Strategy = {
  choose: (eligible, choice) =>
    minimumBy(
      eligible,
      (a, b) => compareCredit(creditOf(a, choice), creditOf(b, choice)) || a.lastTurn - b.lastTurn,
      choice.random,
    ),
  score: creditOf,
  best: 'highest',
}

/** What a key has left after the expected cost of its running requests, in USD; null if unknown. */
export function creditOf(key: Candidate, { meanCostUsd, nowMs }: Choice): number | null {
  return spendableUsd(key.credit, key.inFlight * meanCostUsd, nowMs)
}

/** Most first, unknown last. For two uncapped keys a subtraction would give NaN. */
function compareCredit(a: number | null, b: number | null): number {
  if (a === b) return 0
  if (a === null) return 1
  if (b === null) return -1
  return a > b ? -1 : 1
}

import { spendableUsd } from '../accounting/credit.ts'
import { minimumBy } from './minimum.ts'
import type { Candidate, Choice, Strategy } from './strategy.ts'

/**
 * The key that has most left to spend. A key without a cap has more than any
 * other; one that nothing is known about comes last, since it may be empty.
 * Equal ones take turns.
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

/** What a key can be reckoned to have left, in USD; null where nothing is known. */
export function creditOf(key: Candidate, { meanCostUsd, nowMs }: Choice): number | null {
  return spendableUsd(key.credit, key.inFlight * meanCostUsd, nowMs)
}

/** Most first, unknown last. A subtraction would make two uncapped keys a NaN. */
function compareCredit(a: number | null, b: number | null): number {
  if (a === b) return 0
  if (a === null) return 1
  if (b === null) return -1
  return a > b ? -1 : 1
}

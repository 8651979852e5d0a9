import { spentToday } from '../accounting/ledger.ts'
import { shareUsed } from '../limits/meter.ts'
import { minimumBy } from './minimum.ts'
import type { Candidate, Choice, Strategy } from './strategy.ts'

/**
 * The key that has used least of what it may use: the fuller of its two limits
 * per minute counts, since that is the one it will meet. A key without limits is
 * measured by its share of what the pool has spent today. Equal ones go by what
 * is in flight, then in turn.
 */
export const lowestUsage: Strategy = {
  choose: (eligible, choice) =>
    minimumBy(
      eligible,
      (a, b) =>
        usedShare(a, choice) - usedShare(b, choice) ||
        a.inFlight - b.inFlight ||
        a.lastTurn - b.lastTurn,
      choice.random,
    ),
  score: usedShare,
  best: 'lowest',
}

function usedShare(key: Candidate, choice: Choice): number {
  const { nowMs, meanCostUsd, spentTodayUsd } = choice
  const shares = [key.rpm, key.tpm].flatMap((meter) =>
    meter === null ? [] : [shareUsed(meter, nowMs)],
  )
  if (shares.length > 0) return Math.max(...shares)
  if (spentTodayUsd <= 0) return 0
  return (spentToday(key.tally, nowMs) + key.inFlight * meanCostUsd) / spentTodayUsd
}

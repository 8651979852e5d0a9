import { spentToday } from '../accounting/ledger.ts'
import { shareUsed } from '../limits/meter.ts'
import { minimumByScore } from './minimum.ts'
import type { Candidate, Choice, Strategy } from './strategy.ts'

/**
 * The key with the lowest used share of its limits per minute. Of a key's two limits the fuller one
 * counts, because the key will reach that one first. A key without limits is measured by its share
 * of today's spending of the pool, with the expected cost of its running requests. Ties go to the
 * key with fewer leases in flight, and then in turn.
 */
export const lowestUsage: Strategy = {
  choose: (eligible, choice) =>
    minimumByScore(
      eligible,
      (key) => usedShare(key, choice),
      (a, b) => a.inFlight - b.inFlight || a.lastTurn - b.lastTurn,
      choice.random,
    ),
  score: usedShare,
  best: 'lowest',
}

function usedShare(key: Candidate, choice: Choice): number {
  const { nowMs, meanCostUsd, spentTodayUsd } = choice
  if (key.rpm !== null || key.tpm !== null) {
    const requests = key.rpm === null ? 0 : shareUsed(key.rpm, nowMs)
    return Math.max(requests, key.tpm === null ? 0 : shareUsed(key.tpm, nowMs))
  }
  if (spentTodayUsd <= 0) return 0
  return (spentToday(key.tally, nowMs) + key.inFlight * meanCostUsd) / spentTodayUsd
}

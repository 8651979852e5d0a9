import { hasSurplus, renewSpend } from '../accounting/max-spend.ts'
import type { PoolState } from '../pool-state.ts'

/**
 * Renews the rows of the keys with `max_spend`, some seconds after their spend changed.
 * @returns whether a row holds a surplus, so that it has to be renewed once more
 */
export function renewSpends(state: PoolState): boolean {
  let isSurplusLeft = false
  for (const { id, spend } of state.keys.values()) {
    if (spend === null) continue
    if (renewSpend(spend, state.meanCostUsd)) state.changes.spends.add(id)
    isSurplusLeft ||= hasSurplus(spend)
  }
  return isSurplusLeft
}

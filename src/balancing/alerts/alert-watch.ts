import { forgetThreshold } from '../clients/budget-thresholds.ts'
import type { PoolState, Step } from '../pool-state.ts'
import type { AlertChange } from './alert.ts'
import { causesOf, toldBudget } from './alert-causes.ts'
import { tell } from './alert-outbox.ts'
import { followCauses } from './alerts.ts'

/**
 * Looks what there is to be told of: begins and ends alerts, and puts messages about them into the
 * queues of their addresses.
 * @returns what has begun and ended, for the log
 */
export function watchForAlerts(step: Step): AlertChange[] {
  const { state, nowMs } = step
  const { alerts, policy } = state
  const changes = followCauses(alerts, causesOf(state, nowMs), policy.alerts.intervalMs, nowMs)
  if (changes.length === 0) return changes
  for (const change of changes) forgetEnded(state, change)
  tell(alerts.outbox, policy.alerts, changes, step)
  return changes
}

function forgetEnded({ clients, changes }: PoolState, { phase, alert }: AlertChange): void {
  if (phase !== 'end' || alert.event !== 'budget_threshold') return
  const told = toldBudget(clients, alert.facts)
  if (told === null) return
  forgetThreshold(told.budget, told.percent)
  changes.budgets.add(told.owner)
}

/** Whether rows of alerts or of messages have to be written. */
export function hasAlertChanges({ alerts }: PoolState): boolean {
  return alerts.changed.size + alerts.outbox.changed.size > 0
}

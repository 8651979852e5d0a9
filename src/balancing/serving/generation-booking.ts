import { afterSpending } from '../accounting/credit.ts'
import { letDayEnd, noteLateUsage } from '../accounting/day-usage.ts'
import { correct, isEstimate } from '../accounting/ledger.ts'
import {
  type FoundGeneration,
  openReconciliation,
  type Reconciliation,
  takeFound,
} from '../accounting/reconciliation.ts'
import { correctSpend } from '../clients/charge-settling.ts'
import { chargedUsd } from '../feedback.ts'
import type { GroupId, KeyId } from '../ids.ts'
import type { Hold } from '../limits/quota-charge.ts'
import { lookAgain } from '../limits/readiness.ts'
import type { PoolState, Step } from '../pool-state.ts'
import type { LeaseTerms, Settlement, Usage } from '../settlement.ts'
import { noteSettled } from './client-charges.ts'
import { correctOfKey } from './key-charges.ts'

/** Where a settlement was booked. */
interface BookedSettlement extends Pick<LeaseTerms, 'clientId' | 'model'> {
  readonly keyId: KeyId
  readonly groupId: GroupId | null
  /** What each budget was charged. */
  readonly holds: readonly Hold[]
}

/** Has OpenRouter asked what an answer was really, if an estimate was booked for it. */
export function awaitGeneration(
  { state, nowMs }: Step,
  { generationId, usage, outcome, fault }: Settlement,
  { keyId, clientId, model, groupId, holds }: BookedSettlement,
): void {
  // A settlement without usage says nothing of an answer that was good, or that the client left.
  const isUntold = usage === undefined && (outcome === 'success' || fault === 'nobody')
  if (generationId === undefined) return
  if (!isUntold && (usage === undefined || !isEstimate(usage))) return
  openReconciliation(state.reconciliations, generationId, {
    ...{ keyId, clientId, model, groupId, holds, bookedAtMs: nowMs },
    booked: usage ?? null,
    keyUsd: usage === undefined ? 0 : chargedUsd(state, usage),
  })
}

/**
 * Books what OpenRouter has told of answers whose usage was estimated: the difference, once, for the key,
 * the model, the client and its budgets. It is called with the checkpoint, and not with the report: what
 * is booked and that it is booked are then written together, and a crash can neither lose the one nor
 * repeat the other.
 */
export function bookFound(state: PoolState, nowMs: number): void {
  letDayEnd(state.days, state.ledger, nowMs)
  for (const found of takeFound(state.reconciliations)) {
    const { reconciliation, usage } = found
    const keyId = state.keys.has(reconciliation.keyId) ? reconciliation.keyId : null
    const estimate = { ...reconciliation, keyId }
    correct(state.ledger, estimate, usage, nowMs)
    noteLateUsage(state.days, estimate, usage, nowMs)
    correctKey(state, found, nowMs)
    noteSettled(state, correctSpend(state.clients, reconciliation, usage, nowMs))
  }
}

function correctKey(state: PoolState, { reconciliation, usage }: FoundGeneration, nowMs: number) {
  const key = state.keys.get(reconciliation.keyId)
  if (key === undefined) return
  lookAgain(key)
  if (isOlderCredit(key.credit, reconciliation)) {
    key.credit = afterSpending(key.credit, differenceUsd(reconciliation, usage), nowMs)
  }
  correctOfKey({ state, nowMs }, key, reconciliation, usage)
}

const differenceUsd = ({ keyUsd }: Reconciliation, { costUsd }: Usage) => costUsd - keyUsd

/** Whether the key's credit still holds the estimate: a lookup since then knows better. */
function isOlderCredit(
  credit: { readonly kind: string; readonly asOfMs?: number },
  { bookedAtMs }: Reconciliation,
): boolean {
  return credit.asOfMs !== undefined && credit.asOfMs <= bookedAtMs
}

import { creditAsOf } from '../accounting/credit.ts'
import { keyOfAccount } from '../accounting/generations.ts'
import { type GenerationDuty, takeGenerationDuties } from '../accounting/reconciliation.ts'
import {
  dueAtMs,
  handOut,
  isDue,
  isDueAtRest,
  isOutOfCredit,
  type LookupDuty,
} from '../health/lookup-duty.ts'
import type { KeyState, PoolState } from '../pool-state.ts'

/** The most lookups for one exchange, so that one request does not look up the whole pool. */
const LOOKUPS_PER_STEP = 4

/**
 * Hands out the lookup duties that are due, a few per step, the most overdue first, and each to one
 * Worker at a time. Costs a comparison while nothing is due.
 */
export function takeLookupDuties(state: PoolState, nowMs: number): LookupDuty[] {
  if (nowMs < state.lookupsDueAtMs) return []
  const keys = [...state.keys.values()].filter(({ config }) => !config.disabled)
  const duties = handOutDuties(
    state,
    keys.filter(({ lookup }) => isDue(lookup, nowMs)),
    LOOKUPS_PER_STEP,
    nowMs,
  )
  state.lookupsDueAtMs = keys.reduce(
    (earliestMs, { lookup }) => Math.min(earliestMs, dueAtMs(lookup)),
    Number.POSITIVE_INFINITY,
  )
  return duties
}

/**
 * Hands out the lookup duties that are due although no request comes: those of keys that are out and
 * that a lookup may bring back, and of keys with a cap that is near. A healthy key can wait for the
 * next request.
 */
export function takeDutiesAtRest(state: PoolState, most: number, nowMs: number): LookupDuty[] {
  const due = [...state.keys.values()].filter(
    (key) => !key.config.disabled && isDueAtRest(key, isCapNear(state, key, nowMs), nowMs),
  )
  return handOutDuties(state, due, most, nowMs)
}

/** The most generations for one exchange: they are asked about beside a request. */
export const GENERATIONS_PER_STEP = 4

/** Hands out generations that are to be asked about. Costs a comparison while nothing is due. */
export function takeGenerations(
  { reconciliations, keys }: PoolState,
  most: number,
  nowMs: number,
): readonly GenerationDuty[] {
  return takeGenerationDuties(reconciliations, (keyId) => keyOfAccount(keys, keyId), most, nowMs)
}

function handOutDuties(
  state: PoolState,
  due: readonly KeyState[],
  most: number,
  nowMs: number,
): LookupDuty[] {
  const { refreshMs } = state.policy.credit
  const first = due.toSorted((a, b) => dueAtMs(a.lookup) - dueAtMs(b.lookup)).slice(0, most)
  return first.map((key) => {
    const { state: lookup, freshSinceMs } = handOut(key.lookup, nowMs, refreshMs)
    key.lookup = lookup
    key.spentSinceAskedUsd = 0
    const withBalance = isOutOfCredit(key, nowMs)
    return { keyId: key.id, freshSinceMs, withBalance }
  })
}

/** Whether little more may be spent with the key than its `min_credit` keeps back. */
function isCapNear({ policy }: PoolState, { credit, config }: KeyState, nowMs: number): boolean {
  const known = creditAsOf(credit, nowMs)
  if (known.kind === 'unknown' || known.remainingUsd === null) return false
  return known.remainingUsd <= config.minCreditUsd + policy.credit.thresholdUsd
}

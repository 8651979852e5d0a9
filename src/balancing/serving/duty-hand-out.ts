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
import type { KeyId } from '../ids.ts'
import { type KeyState, type PoolState, setLookup } from '../pool-state.ts'

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

/** What has become of an operator's order to look keys up at once. */
export interface DutiesNow {
  readonly lookups: readonly LookupDuty[]
  /** Another Worker looks these up, or has done so a moment ago. */
  readonly underWay: readonly KeyId[]
  /** More than one Worker looks up at once: these are due, and go with the next requests. */
  readonly later: readonly KeyId[]
}

/** Twice within so long is one press too many. */
const JUST_NOW_MS = 5_000

/**
 * Hands out the lookups of some keys now, whether they are due or not. The answers may not be of a
 * cache; and still a key is looked up by one Worker at a time.
 */
export function takeDutiesNow(
  state: PoolState,
  keys: readonly KeyState[],
  most: number,
  nowMs: number,
): DutiesNow {
  const isUnderWay = ({ lookup: { duty, reportedAtMs } }: KeyState) =>
    (duty.kind === 'out' && nowMs < duty.overdueAtMs) ||
    (reportedAtMs !== null && nowMs < reportedAtMs + JUST_NOW_MS)
  const free = keys.filter((key) => !isUnderWay(key))
  const lookups = handOutDuties(state, free, most, nowMs)
  const taken = new Set(lookups.map(({ keyId }) => keyId))
  const later = free.filter(({ id }) => !taken.has(id))
  for (const key of later)
    setLookup(state, key, { ...key.lookup, duty: { kind: 'due', atMs: nowMs } })
  return {
    lookups: lookups.map((duty) => ({ ...duty, freshSinceMs: nowMs })),
    underWay: keys.filter(isUnderWay).flatMap(({ id }) => (taken.has(id) ? [] : [id])),
    later: later.map(({ id }) => id),
  }
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

import {
  type Budget,
  type CostBound,
  costNanos,
  find,
  hold,
  isWrittenAhead,
  lose,
  nanosOf,
  release,
  renewBudget,
  reservationNanos,
  reserve,
  spend,
} from '../clients/budget.ts'
import { costOf } from '../clients/charge-settling.ts'
import type { LeaseBegin } from '../limits/lease-order.ts'
import type { Lease } from '../limits/leases.ts'
import { type Hold, holdsOf, isOfKey } from '../limits/quota-charge.ts'
import { isSameWindow } from '../limits/utc-window.ts'
import type { KeyState, PoolState, Step } from '../pool-state.ts'
import type { Settlement, Usage } from '../settlement.ts'

/**
 * What leases take of the `max_spend` of their key: as of the budgets of clients, but after the key is
 * chosen, since the filter has asked whether it pays.
 */

type Moment = Omit<Step, 'random'>

/** Reserves what a request may cost. @returns null for a key without `max_spend` */
export function holdOfKey(step: Moment, key: KeyState, bound: CostBound | undefined): Hold | null {
  const budget = key.spend
  if (budget === null) return null
  return heldBy(step, key, budget, reservationNanos(budget, bound ?? null, step.nowMs))
}

function heldBy({ state, nowMs }: Moment, { id }: KeyState, budget: Budget, nanos: number): Hold {
  if (reserve(budget, nanos, nowMs)) state.changes.spends.add(id)
  return { owner: `key:${id}`, period: budget.terms.period, nanos }
}

/** What a lease holds of its key's `max_spend`, as that is configured now. */
function heldNanos({ terms }: Budget, hold: Hold | null): number {
  return hold?.period === terms.period ? hold.nanos : 0
}

/** Puts what a lease holds back into place after a restart. */
export function restoreKeyHold({ spend: budget }: KeyState, { keyHold }: Lease): void {
  if (budget !== null) hold(budget, heldNanos(budget, keyHold))
}

/** The hold of a key among those that a Worker repeats. */
export function keyHoldIn(holds: readonly Hold[] | undefined): Hold | null {
  return holds?.find(({ owner }) => isOfKey(owner)) ?? null
}

/** What ends with a settlement: what a lease held, live or lost, or one that a crash has forgotten. */
export interface EndedHold {
  readonly hold: Hold | null
  /** When it was lost, or when it began if it is forgotten; null if it was live until now. */
  readonly lostAtMs: number | null
}

/**
 * Replaces what a lease held of its key's `max_spend` by what its attempt has cost.
 * @returns what was charged
 */
export function settleOfKey(
  { state, nowMs }: Moment,
  { id, spend: budget }: KeyState,
  { hold: held, lostAtMs }: EndedHold,
  settlement: Settlement,
): readonly Hold[] {
  if (budget === null) return []
  const nanos = heldNanos(budget, held)
  if (lostAtMs === null) release(budget, nanos)
  else find(budget, nanos, lostAtMs)
  if (settlement.unused) return []
  const cost = costOf(budget, nanos, settlement)
  if (spend(budget, cost, nowMs)) state.changes.spends.add(id)
  return [{ owner: `key:${id}`, period: budget.terms.period, nanos: cost }]
}

/** A lease that ended without a word: what it held may be spent. */
export function loseOfKey({ state, nowMs }: Moment, key: KeyState, { keyHold }: Lease): void {
  if (key.spend === null) return
  if (lose(key.spend, heldNanos(key.spend, keyHold), nowMs)) state.changes.spends.add(key.id)
}

/**
 * What a lease holds that was held ahead and has got its request: no more than that can cost. What was
 * lost of it, or what a crash has made of it, it holds again.
 */
export function beginOfKey(
  step: Moment,
  key: KeyState,
  { live, lost }: { readonly live: Lease | null; readonly lost: Lease | null },
  { costNanos: bound, held, grantedAtMs }: LeaseBegin,
): Hold | null {
  const budget = key.spend
  if (budget === null) return null
  const before = live ?? lost
  const known = before === null ? keyHoldIn(held?.holds) : before.keyHold
  const nanos = heldNanos(budget, known)
  if (live === null) find(budget, nanos, lost?.expiresAtMs ?? grantedAtMs)
  if (known === null) return holdOfKey(step, key, bound)
  const [trimmed = known] = holdsOf([known], bound)
  const needed = heldNanos(budget, trimmed)
  if (live === null) return heldBy(step, key, budget, needed)
  release(budget, nanos - needed)
  return trimmed
}

/** An answer whose cost was estimated. */
interface Estimate {
  readonly holds: readonly Hold[]
  /** What the key was charged, of a record without its hold. */
  readonly keyUsd: number
  readonly bookedAtMs: number
}

/**
 * Puts what an answer has really cost in the place of its estimate, unless the period in which it was
 * booked is over.
 */
export function correctOfKey(
  { state, nowMs }: Moment,
  { id, spend: budget }: KeyState,
  { holds, keyUsd, bookedAtMs }: Estimate,
  usage: Usage,
): void {
  if (budget === null || !isSameWindow(budget.terms.period, bookedAtMs, nowMs)) return
  const booked = keyHoldIn(holds)
  const bookedNanos = booked === null ? nanosOf(keyUsd) : heldNanos(budget, booked)
  if (spend(budget, costNanos(budget, usage) - bookedNanos, nowMs)) state.changes.spends.add(id)
}

/**
 * Renews the rows of the keys with `max_spend`, some seconds after their spend changed.
 * @returns whether a row holds a surplus, so that it has to be renewed once more
 */
export function renewSpends({ keys, changes }: PoolState, nowMs: number): boolean {
  let isSurplusLeft = false
  for (const { id, spend: budget } of keys.values()) {
    if (budget === null) continue
    if (renewBudget(budget, nowMs)) changes.spends.add(id)
    isSurplusLeft ||= isWrittenAhead(budget)
  }
  return isSurplusLeft
}

import { type CostBound, isWrittenAhead, renewBudget } from '../clients/budget.ts'
import {
  type ChargeSettled,
  type ForgottenCharge,
  findCharge,
  findForgotten,
  loseCharge,
  retakeCharge,
  settleCharge,
  settleForgotten,
} from '../clients/charge-settling.ts'
import { callBack, chargeForRequest, mayHoldAhead, noteAhead } from '../clients/charges-ahead.ts'
import { quotas } from '../clients/client-records.ts'
import { type Admission, admit, chargeAnyway, undoCharge } from '../clients/clients.ts'
import type { GroupId } from '../ids.ts'
import type { LeaseRequest } from '../lease-request.ts'
import type { LeaseBegin, LeaseOrder } from '../limits/lease-order.ts'
import type { Closing, Lease } from '../limits/leases.ts'
import { type Hold, isOfKey, type QuotaCharge, type QuotaOwner } from '../limits/quota-charge.ts'
import type { QuotaRefusal } from '../limits/quota-refusal.ts'
import type { PoolState } from '../pool-state.ts'
import { wasSettled } from '../records/lease-gaps.ts'
import type { HeldOfBudgets, Settlement } from '../settlement.ts'

/**
 * What leases take of the limits of clients and groups. A request takes it when it comes, before a key
 * is chosen: so a client over its limits holds up nobody, and one that waits has its place in them.
 */

/** Takes what a request needs of its client's limits, if they admit it. */
export function admitRequest(state: PoolState, request: LeaseRequest, nowMs: number): Admission {
  const { clientId, attempt, tokens, costNanos, isFallback } = request
  const bound = boundOf(costNanos)
  const demand = { clientId, attempt, tokens, bound, isFallback: isFallback === true }
  return noted(state, admit(state.clients, demand, nowMs))
}

/** How leases ahead are held of a client's limits. */
export interface AheadTerms {
  /** The most of each limit that may be used with them. */
  readonly share: number
  readonly untilMs: number
}

/**
 * As for a request, but only while that leaves much of the limits.
 * @returns what the lease takes, null for a client without limits; `none` if it is not held
 */
export function admitAhead(
  state: PoolState,
  { clientId, tokens, costNanos }: LeaseOrder,
  { share, untilMs }: AheadTerms,
  nowMs: number,
): QuotaCharge | null | 'none' {
  if (clientId === undefined) return null
  const { clients } = state
  if (!mayHoldAhead(clients, clientId, nowMs)) return 'none'
  const bound = boundOf(costNanos)
  const demand = { clientId, attempt: 'first', tokens, bound, isFallback: false } as const
  const admission = noted(state, admit(clients, demand, nowMs, share))
  if (admission.kind === 'refused') return 'none'
  const { charge } = admission
  if (charge !== null) noteAhead(clients, charge, untilMs)
  return charge
}

/** Calls leases ahead back that a request would not have been refused without. */
export function callLeasesBack(
  { clients, leases }: PoolState,
  refusal: QuotaRefusal,
  nowMs: number,
): boolean {
  return callBack(clients, leases.live.values(), refusal, nowMs)
}

/**
 * Charges a request that runs already, with a lease that its client's limits have not seen, or that a
 * crash has made them forget. What it held then counts as lost, and is held again.
 */
function chargeBegun(
  state: PoolState,
  { clientId, tokens, costNanos, grantedAtMs, held }: LeaseBegin,
  nowMs: number,
): QuotaCharge | null {
  const { clients } = state
  const bound = boundOf(costNanos)
  const demand = { clientId, attempt: 'first', tokens, bound, isFallback: false } as const
  if (held !== undefined) {
    const { holds } = held
    findForgotten(clients, { clientId, groupId: groupHeld(held), chargedAtMs: grantedAtMs, holds })
  }
  const { charge, mustWrite } = chargeAnyway(clients, demand, nowMs)
  noteWrite(state, charge, mustWrite)
  return charge
}

/** A Worker that names no bound knows none. */
const boundOf = (costNanos: number | null | undefined): CostBound => costNanos ?? null

function noted(state: PoolState, admission: Admission): Admission {
  if (admission.kind === 'admitted') noteWrite(state, admission.charge, admission.mustWrite)
  return admission
}

function noteWrite(state: PoolState, charge: QuotaCharge | null, mustWrite: boolean): void {
  if (!mustWrite || charge === null) return
  for (const { owner } of charge.holds) state.changes.budgets.add(owner as QuotaOwner)
}

/** Takes back what a request took that got no lease. */
export function undoAdmission(state: PoolState, charge: QuotaCharge | null, nowMs: number): void {
  if (charge !== null) undoCharge(state.clients, charge, nowMs)
}

/** Takes back what waiters took that have left the queue without a lease. */
export function undoUncharged(state: PoolState, nowMs: number): void {
  const { uncharged } = state.queue
  if (uncharged.length === 0) return
  state.queue.uncharged = []
  for (const charge of uncharged) undoCharge(state.clients, charge, nowMs)
}

/** What a lease holds of budgets, for its settlement: of its client's, its group's and its key's. */
export function heldOfBudgets({ charge, keyHold }: Lease): { readonly held?: HeldOfBudgets } {
  const ofClient = charge?.holds ?? []
  const holds = keyHold === null ? ofClient : [...ofClient, keyHold]
  return holds.length === 0 ? {} : { held: { groupId: charge?.groupId ?? null, holds } }
}

/**
 * The group for which a lease was granted, by what its Worker repeats.
 * @returns undefined if that is not told: only the key had a budget
 */
export function groupHeld(held: HeldOfBudgets | undefined): GroupId | null | undefined {
  return held === undefined || held.holds.every(({ owner }) => isOfKey(owner))
    ? undefined
    : held.groupId
}

/**
 * Settles what a lease has taken of its client's limits, or what it would have.
 * @returns what each budget was charged
 */
export function settleForClient(
  state: PoolState,
  closing: Exclude<Closing, { kind: 'duplicate' }>,
  settlement: Settlement,
  nowMs: number,
): readonly Hold[] {
  const { clients } = state
  const charge = settledCharge(state, closing, settlement, nowMs)
  if (charge === null) {
    const forgotten = forgottenCharge(state, closing, settlement, nowMs)
    if (forgotten === null) return []
    return noteSettled(state, settleForgotten(clients, forgotten, settlement, nowMs))
  }
  if (!settlement.unused) {
    const lostAtMs = closing.kind === 'expired' ? closing.lease.expiresAtMs : null
    return noteSettled(state, settleCharge(clients, { charge, lostAtMs }, settlement, nowMs))
  }
  if (closing.kind === 'live') undoCharge(clients, charge, nowMs)
  else if (closing.kind === 'expired') {
    findCharge(clients, { charge, lostAtMs: closing.lease.expiresAtMs })
  }
  return []
}

/** What a lease has taken, with the minute of one whose request was never told of. */
function settledCharge(
  { clients }: PoolState,
  closing: Exclude<Closing, { kind: 'duplicate' }>,
  { unused }: Settlement,
  nowMs: number,
): QuotaCharge | null {
  if (closing.kind === 'forgotten') return null
  const { charge, kind } = closing.lease
  if (charge === null || kind === 'running' || closing.kind === 'live' || unused) return charge
  return chargeForRequest(clients, { charge, standing: 'given_up' }, charge, nowMs)
}

/** What a lease has taken that is forgotten, or that began before its client had limits. */
function forgottenCharge(
  state: PoolState,
  closing: Exclude<Closing, { kind: 'duplicate' }>,
  { lease: terms }: Settlement,
  nowMs: number,
): ForgottenCharge | null {
  if (closing.kind !== 'forgotten' && closing.lease.kind === 'running') {
    const { clientId, grantedAtMs: chargedAtMs } = closing.lease
    return { clientId, groupId: undefined, chargedAtMs, holds: [] }
  }
  if (terms === undefined) return null
  const { grantedAtMs: chargedAtMs = nowMs } = terms
  if (closing.kind === 'forgotten' && wasSettled(state, chargedAtMs)) return null
  const { clientId, held } = terms
  return { clientId, groupId: groupHeld(held), chargedAtMs, holds: held?.holds ?? [] }
}

/** @returns what each budget was charged */
export function noteSettled(
  { changes }: PoolState,
  { owners, passed, booked }: ChargeSettled,
): readonly Hold[] {
  for (const owner of owners) changes.budgets.add(owner)
  changes.thresholds.push(...passed)
  return booked
}

/** What a lease held that ended without a word stays charged, until a late word says better. */
export function loseForClient(state: PoolState, { kind, charge }: Lease, nowMs: number): void {
  if (charge === null) return
  const owners = loseCharge(state.clients, { kind, charge }, nowMs)
  for (const owner of owners) state.changes.budgets.add(owner)
}

/**
 * Renews the rows of the budgets some seconds after they changed.
 * @returns whether a row holds a surplus, so that it has to be renewed once more
 */
export function renewBudgets({ clients, changes }: PoolState, nowMs: number): boolean {
  let isSurplusLeft = false
  for (const { owner, budgets } of quotas(clients)) {
    for (const budget of budgets) {
      if (renewBudget(budget, nowMs)) changes.budgets.add(owner)
      isSurplusLeft ||= isWrittenAhead(budget)
    }
  }
  return isSurplusLeft
}

/** A lease that was given up is taken up again: what it held is held again, and not lost any more. */
export function retakeForClient(state: PoolState, lease: Lease, nowMs: number): void {
  const { kind, charge, expiresAtMs: lostAtMs } = lease
  if (charge === null) return
  const owners = retakeCharge(state.clients, { kind, charge, lostAtMs }, nowMs)
  for (const owner of owners) state.changes.budgets.add(owner)
}

/** Charges what a request takes that has got a lease which was held ahead: still, or until it was lost. */
export function beginForClient(
  state: PoolState,
  { live, lost }: { readonly live: Lease | null; readonly lost: Lease | null },
  told: LeaseBegin,
  nowMs: number,
): QuotaCharge | null {
  const charge = (live ?? lost)?.charge ?? null
  if (charge === null) return chargeBegun(state, told, nowMs)
  const standing = live === null ? 'given_up' : 'held'
  return chargeForRequest(state.clients, { charge, standing }, told, nowMs)
}

import { letDayEnd } from '../accounting/day-usage.ts'
import { rememberGeneration } from '../accounting/generations.ts'
import { book } from '../accounting/ledger.ts'
import { bookInMinute } from '../accounting/recent-minutes.ts'
import { countTimes } from '../accounting/time-histogram.ts'
import { learnFromSettlement, learnHold, undoLease } from '../feedback.ts'
import { afterNothing } from '../health/circuit-breaker.ts'
import type { GroupId, KeyId } from '../ids.ts'
import { giveBackCharge } from '../limits/charge.ts'
import { takeSilent } from '../limits/isolates.ts'
import {
  type Closing,
  close,
  expire,
  expireOf,
  isBatchLease,
  type Lease,
  type ReservedLease,
  type RunningLease,
} from '../limits/leases.ts'
import type { Hold } from '../limits/quota-charge.ts'
import { lookAgain } from '../limits/readiness.ts'
import {
  changeInFlight,
  type KeyState,
  lookAgainAtSisters,
  type PoolState,
  type Step,
} from '../pool-state.ts'
import { leave, sweep, takeMoments } from '../queue/waiting-queue.ts'
import type { Random } from '../random.ts'
import { wasSettled } from '../records/lease-gaps.ts'
import type { LeaseTerms, Settlement } from '../settlement.ts'
import { groupHeld, loseForClient, settleForClient, undoUncharged } from './client-charges.ts'
import { awaitGeneration } from './generation-booking.ts'
import { noteChange } from './key-changes.ts'
import { type EndedHold, keyHoldIn, loseOfKey, settleOfKey } from './key-charges.ts'
import { beginLate } from './leases-ahead.ts'

/** How leases end: by their settlement, or by time. */

/** Gives a lease back and learns from its attempt. A second settlement of a lease does nothing. */
export function settle(
  state: PoolState,
  settlement: Settlement,
  nowMs: number,
  random: Random,
): void {
  letTimePass(state, nowMs)
  // A waiter that gives up settles its lease id. Then that lease must never be granted.
  const waiter = state.queue.waiters.get(settlement.leaseId)
  if (waiter !== undefined) leave(state.queue, waiter)
  undoUncharged(state, nowMs)
  const closing = close(state.leases, settlement.leaseId, nowMs)
  if (closing.kind === 'duplicate') return
  const step = { state, nowMs, random }
  const found = closing.kind === 'forgotten' ? null : closing.lease
  const charged = settleForClient(state, closing, settlement, nowMs)
  if (found?.kind === 'reserved' && settlement.unused) {
    endReserved(step, found, closing, settlement)
    return
  }
  const lease = found?.kind === 'reserved' ? beginLate(step, found, settlement, closing) : found
  if (lease === null && isSettledBefore(state, settlement)) return
  const keyId = lease?.keyId ?? settlement.keyId
  const key = state.keys.get(keyId)
  const ofKey =
    key === undefined
      ? []
      : settleOfKey(step, key, endedHold(closing, settlement, nowMs), settlement)
  if (key !== undefined) settleKey(step, key, { closing, lease }, settlement)
  if (settlement.unused) return
  const terms = lease ?? settlement.lease ?? null
  bookAttempt(step, keyId, settlement, { terms, holds: [...charged, ...ofKey] })
}

/** What of its key's `max_spend` ends with a settlement. */
function endedHold(
  closing: Exclude<Closing, { kind: 'duplicate' }>,
  { lease: terms }: Settlement,
  nowMs: number,
): EndedHold {
  switch (closing.kind) {
    case 'live':
      return { hold: closing.lease.keyHold, lostAtMs: null }
    case 'expired':
      return { hold: closing.lease.keyHold, lostAtMs: closing.lease.expiresAtMs }
    case 'forgotten':
      return { hold: keyHoldIn(terms?.held?.holds), lostAtMs: terms?.grantedAtMs ?? nowMs }
  }
}

/** Ends a lease that was held ahead, and that no request has used. */
function endReserved(
  step: Step,
  lease: ReservedLease,
  closing: Exclude<Closing, { kind: 'duplicate' }>,
  settlement: Settlement,
): void {
  const { state, nowMs } = step
  const key = state.keys.get(lease.keyId)
  if (key !== undefined) {
    settleOfKey(step, key, endedHold(closing, settlement, nowMs), settlement)
    noteChange(state, key)
  }
  if (closing.kind === 'live') endUnused(state, lease, nowMs)
}

/** Frees the key of a lease, and learns of it what the attempt showed. */
function settleKey(
  step: Step,
  key: KeyState,
  { closing, lease }: { readonly closing: Closing; readonly lease: RunningLease | null },
  settlement: Settlement,
): void {
  const isLive = closing.kind === 'live'
  if (closing.kind === 'live') changeInFlight(key, -1, isBatchLease(closing.lease))
  lookAgain(key)
  // What is benched, or too small, may be more than the key.
  const isWide = settlement.benches.length > 0 || settlement.tooLargeFor === 'account'
  if (isWide) lookAgainAtSisters(step.state, key)
  noteChange(step.state, key)
  if (settlement.unused) {
    if (lease !== null) undoLease(step, key, lease)
    return
  }
  if (isLive && lease !== null) learnHold(key, step.nowMs - lease.chargedAtMs)
  learnFromSettlement(step, key, lease, settlement)
}

/** Whether a settlement of a lease that the pool does not know is a repeated one, or about nothing. */
function isSettledBefore(state: PoolState, { lease, keyId }: Settlement): boolean {
  return lease === undefined ? !state.keys.has(keyId) : wasSettled(state, lease.grantedAtMs)
}

/** Books an attempt for its client and its model, even if its key is gone. */
function bookAttempt(
  step: Step,
  keyId: KeyId,
  settlement: Settlement,
  { terms, holds }: { readonly terms: BookingTerms | null; readonly holds: readonly Hold[] },
): void {
  const { state, nowMs } = step
  const { generationId, outcome, fault, usage } = settlement
  const key = state.keys.get(keyId)
  const groupId = terms === null ? null : groupOf(state, terms)
  if (generationId !== undefined && terms !== null) {
    const generation = { keyId, clientId: terms.clientId, atMs: nowMs }
    rememberGeneration(state.generations, generationId, generation)
  }
  const entry = {
    keyId: key?.id ?? null,
    model: terms?.model ?? null,
    clientId: terms?.clientId ?? null,
    groupId,
    outcome,
    fault,
    usage,
  }
  letDayEnd(state.days, state.ledger, nowMs)
  book(state.ledger, entry, nowMs)
  bookInMinute(state.minutes, entry.keyId, settlement, nowMs)
  if (key !== undefined) countTimes(key.times, settlement)
  if (terms === null) return
  const { clientId, model } = terms
  awaitGeneration(step, settlement, { keyId, clientId, model, groupId, holds })
}

/** What a lease, or a settlement of one that is forgotten, says of whose attempt it was. */
type BookingTerms = Pick<LeaseTerms, 'clientId' | 'model' | 'held'> & Partial<Pick<Lease, 'charge'>>

/** The group of the client at the grant, as far as anybody remembers it. */
function groupOf({ clients }: PoolState, { clientId, charge, held }: BookingTerms): GroupId | null {
  const granted = charge === null || charge === undefined ? groupHeld(held) : charge.groupId
  return granted === undefined ? (clients.byId.get(clientId)?.terms.groupId ?? null) : granted
}

/** Lets time pass: overdue leases expire, and the capacity that they held is free again. */
export function letTimePass(state: PoolState, nowMs: number): void {
  for (const lease of expire(state.leases, nowMs)) endUnsettled(state, lease, nowMs)
  const silent = takeSilent(state.isolates, nowMs)
  if (silent !== null) {
    for (const lease of expireOf(state.leases, silent, nowMs)) endUnsettled(state, lease, nowMs)
  }
  sweep(state.queue, nowMs)
  undoUncharged(state, nowMs)
  if (takeMoments(state.queue, nowMs)) noteChange(state, null)
}

/**
 * Frees what a lease held that ended without a word. What its request may have used stays charged,
 * until a late settlement says better; a lease that never had a request has used nothing.
 */
function endUnsettled(state: PoolState, lease: Lease, nowMs: number): void {
  loseForClient(state, lease, nowMs)
  const key = state.keys.get(lease.keyId)
  if (key !== undefined) loseOfKey({ state, nowMs }, key, lease)
  endUnused(state, lease, nowMs)
}

function endUnused(state: PoolState, lease: Lease, nowMs: number): void {
  const key = state.keys.get(lease.keyId)
  if (key === undefined) return
  changeInFlight(key, -1, isBatchLease(lease))
  if (lease.kind === 'reserved') giveBackCharge(key, lease.tokens, lease.grantedAtMs, nowMs)
  key.breaker = afterNothing(key.breaker, lease.id)
  noteChange(state, key)
}

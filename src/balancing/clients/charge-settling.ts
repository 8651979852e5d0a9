import type { ClientId, GroupId } from '../ids.ts'
import type { Hold, QuotaCharge, QuotaOwner } from '../limits/quota-charge.ts'
import { isSameWindow } from '../limits/utc-window.ts'
import { type Settlement, tokensUsed, type Usage } from '../settlement.ts'
import { type Budget, costNanos, find, holdOf, nanosOf, release, spend } from './budget.ts'
import { type Threshold, takeThreshold } from './budget-thresholds.ts'
import { quotaOf } from './client-records.ts'
import { type Clients, chargedQuotas, quotasOf } from './clients.ts'
import {
  correctQuotaTokens,
  endQuota,
  giveBackRates,
  heldOf,
  loseQuota,
  retakeQuota,
} from './quota.ts'

/** A budget whose spend has passed a share of it for the first time in its period. */
export interface ThresholdPassed {
  readonly owner: QuotaOwner
  readonly budget: Budget
  readonly percent: Threshold
}

/** What a settlement did to the limits of a client. */
export interface ChargeSettled {
  /** Those whose rows must be written before the pool answers. */
  readonly owners: readonly QuotaOwner[]
  readonly passed: readonly ThresholdPassed[]
  /** What each budget was charged. */
  readonly booked: readonly Hold[]
}

/** What a lease has taken. */
export interface EndedCharge {
  readonly charge: QuotaCharge
  /** When it ended without a word; null if it was live until now. */
  readonly lostAtMs: number | null
}

/** Replaces what a lease held by what its attempt has cost. */
export function settleCharge(
  clients: Clients,
  { charge, lostAtMs }: EndedCharge,
  settlement: Settlement,
  nowMs: number,
): ChargeSettled {
  const booking = new Booking(nowMs)
  const used = tokensUsed(settlement)
  for (const quota of chargedQuotas(clients, charge)) {
    if (lostAtMs === null) endQuota(quota)
    if (used !== null) correctQuotaTokens(quota, charge, used, nowMs)
    for (const [budget, nanos] of heldOf(quota, charge)) {
      if (lostAtMs === null) release(budget, nanos)
      else find(budget, nanos, lostAtMs)
      booking.book(quota.owner, budget, costOf(budget, nanos, settlement))
    }
  }
  return booking
}

/** A lease that no memory knows any more: its settlement says what was held. */
export interface ForgottenCharge {
  readonly clientId: ClientId
  /** Undefined for the group that the client is in now. */
  readonly groupId: GroupId | null | undefined
  readonly chargedAtMs: number
  readonly holds: readonly Hold[]
}

/** A lease that a crash has forgotten goes on: what the crash has made of it is not lost. */
export function findForgotten(clients: Clients, charge: ForgottenCharge): void {
  for (const quota of quotasOf(clients, charge.clientId, charge.groupId)) {
    for (const [budget, nanos] of heldOf(quota, charge)) find(budget, nanos, charge.chargedAtMs)
  }
}

/** Books the settlement of a lease that a crash has forgotten, or that began without any limit. */
export function settleForgotten(
  clients: Clients,
  charge: ForgottenCharge,
  settlement: Settlement,
  nowMs: number,
): ChargeSettled {
  const booking = new Booking(nowMs)
  for (const quota of quotasOf(clients, charge.clientId, charge.groupId)) {
    for (const [budget, nanos] of heldOf(quota, charge)) {
      find(budget, nanos, charge.chargedAtMs)
      if (settlement.unused) continue
      booking.book(quota.owner, budget, costOf(budget, nanos, settlement))
    }
  }
  return booking
}

/** Books one settlement for all the budgets that it concerns. */
class Booking implements ChargeSettled {
  readonly owners: QuotaOwner[] = []
  readonly passed: ThresholdPassed[] = []
  readonly booked: Hold[] = []
  readonly #nowMs: number

  constructor(nowMs: number) {
    this.#nowMs = nowMs
  }

  book(owner: QuotaOwner, budget: Budget, nanos: number): void {
    if (spend(budget, nanos, this.#nowMs)) this.owners.push(owner)
    this.booked.push(holdOf(owner, budget, nanos))
    const percent = takeThreshold(budget, this.#nowMs)
    if (percent === null) return
    this.passed.push({ owner, budget, percent })
    // Else it would be told again after a crash.
    this.owners.push(owner)
  }
}

/**
 * What an attempt has cost. One that ended without its cost, and may have had some, costs what it had
 * reserved: the estimate must not be too low, and a look at the generation corrects it.
 */
export function costOf(
  budget: Budget,
  heldNanos: number,
  { usage, outcome, fault }: Settlement,
): number {
  if (usage === undefined) return outcome === 'success' || fault === 'nobody' ? heldNanos : 0
  const nanos = costNanos(budget, usage)
  const isUnpriced = usage.estimated && nanos === 0
  const hasTokens = usage.promptTokens + usage.completionTokens > 0
  return isUnpriced && hasTokens ? unknownNanos(budget, heldNanos) : nanos
}

/** Under `after` nothing is reserved, and a cost that nobody knows is not none. */
function unknownNanos({ terms }: Budget, heldNanos: number): number {
  return terms.mode === 'after' ? nanosOf(terms.reserveUsd) : heldNanos
}

/**
 * A lease that ended without a word keeps its charge: it may have been used. One that was held ahead
 * for a request of which nobody knows gives its place in the limits per minute and day back.
 * @returns those whose rows must be written before the pool answers
 */
export function loseCharge(
  clients: Clients,
  { kind, charge }: Omit<LostCharge, 'lostAtMs'>,
  nowMs: number,
): readonly QuotaOwner[] {
  return chargedQuotas(clients, charge).flatMap((quota) => {
    const mustWrite = loseQuota(quota, charge, nowMs)
    if (kind === 'reserved') giveBackRates(quota, charge, nowMs)
    return mustWrite ? [quota.owner] : []
  })
}

/** What a lease has taken that ended without a word. */
export interface LostCharge {
  readonly kind: 'reserved' | 'running'
  readonly charge: QuotaCharge
  readonly lostAtMs: number
}

/** A late word that a lease which was lost has never been used. */
export function findCharge(
  clients: Clients,
  { charge, lostAtMs }: Pick<LostCharge, 'charge' | 'lostAtMs'>,
): void {
  for (const quota of chargedQuotas(clients, charge)) {
    for (const [budget, nanos] of heldOf(quota, charge)) find(budget, nanos, lostAtMs)
  }
}

/** What was charged to budgets by an estimate. */
export interface EstimatedCharge {
  readonly holds: readonly Hold[]
  readonly bookedAtMs: number
}

/**
 * A late word that a lease which was lost is in use: nothing is lost of it, and it holds it again.
 * @returns those whose rows must be written before the pool answers
 */
export function retakeCharge(
  clients: Clients,
  lost: LostCharge,
  nowMs: number,
): readonly QuotaOwner[] {
  const { charge } = lost
  findCharge(clients, lost)
  return chargedQuotas(clients, charge).flatMap((quota) =>
    retakeQuota(quota, charge, nowMs) ? [quota.owner] : [],
  )
}

/**
 * Puts what an answer has really cost in the place of its estimate. A budget whose period has ended
 * since then is left alone: the difference would be taken from what others have spent.
 */
export function correctSpend(
  clients: Clients,
  { holds, bookedAtMs }: EstimatedCharge,
  usage: Usage,
  nowMs: number,
): ChargeSettled {
  const booking = new Booking(nowMs)
  for (const { owner, period, nanos } of holds) {
    const quota = quotaOf(clients, owner)
    const budget = quota?.budgets.find(({ terms }) => terms.period === period)
    if (quota === undefined || budget === undefined) continue
    // One that was made again since then has not been charged the estimate.
    const isNewer = [quota, budget].some(({ madeAtMs }) => (madeAtMs ?? 0) > bookedAtMs)
    if (isNewer || !isSameWindow(period, bookedAtMs, nowMs)) continue
    booking.book(quota.owner, budget, costNanos(budget, usage) - nanos)
  }
  return booking
}

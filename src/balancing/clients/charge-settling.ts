import type { ClientId, GroupId } from '../ids.ts'
import type { Hold, QuotaCharge, QuotaOwner } from '../limits/quota-charge.ts'
import { endOfUtcWindow } from '../limits/utc-window.ts'
import { type Settlement, tokensUsed, type Usage } from '../settlement.ts'
import {
  type Budget,
  costNanos,
  find,
  holdOf,
  release,
  spend,
  type Threshold,
  takeThreshold,
} from './budget.ts'
import { quotaOf } from './client-records.ts'
import { type Clients, chargedQuotas, quotasOf } from './clients.ts'
import { correctQuotaTokens, endQuota, heldOf, loseQuota } from './quota.ts'

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

/** What a lease has taken. It is `lost` if the lease had ended without a word before. */
export interface EndedCharge {
  readonly charge: QuotaCharge
  readonly standing: 'live' | 'lost'
}

/** Replaces what a lease held by what its attempt has cost. */
export function settleCharge(
  clients: Clients,
  { charge, standing }: EndedCharge,
  settlement: Settlement,
  nowMs: number,
): ChargeSettled {
  const booking = new Booking(nowMs)
  const used = tokensUsed(settlement)
  for (const quota of chargedQuotas(clients, charge)) {
    if (standing === 'live') endQuota(quota)
    if (used !== null) correctQuotaTokens(quota, charge, used, nowMs)
    for (const [budget, nanos] of heldOf(quota, charge)) {
      if (standing === 'live') release(budget, nanos)
      else find(budget, nanos)
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
  readonly holds: readonly Hold[]
}

/** Books the settlement of a lease that a crash has forgotten, or that began without any limit. */
export function settleForgotten(
  clients: Clients,
  { clientId, groupId, holds }: ForgottenCharge,
  settlement: Settlement,
  nowMs: number,
): ChargeSettled {
  const booking = new Booking(nowMs)
  for (const quota of quotasOf(clients, clientId, groupId)) {
    const held = new Map(heldOf(quota, { holds }))
    for (const budget of quota.budgets) {
      const nanos = held.get(budget) ?? 0
      find(budget, nanos)
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
    if (percent !== null) this.passed.push({ owner, budget, percent })
  }
}

/**
 * What an attempt has cost. One that ended without its cost, and may have had some, costs what it had
 * reserved: the estimate must not be too low, and a look at the generation corrects it.
 */
function costOf(budget: Budget, heldNanos: number, { usage, outcome, fault }: Settlement): number {
  if (usage === undefined) return outcome === 'success' || fault === 'nobody' ? heldNanos : 0
  const nanos = costNanos(budget, usage)
  const isUnpriced = usage.estimated && nanos === 0
  const hasTokens = usage.promptTokens + usage.completionTokens > 0
  return isUnpriced && hasTokens ? heldNanos : nanos
}

/** A lease that ended without a word keeps its charge. */
export function loseCharge(clients: Clients, charge: QuotaCharge): void {
  for (const quota of chargedQuotas(clients, charge)) loseQuota(quota, charge)
}

/** A late word that a lease which was lost has never been used. */
export function findCharge(clients: Clients, charge: QuotaCharge): void {
  for (const quota of chargedQuotas(clients, charge)) {
    for (const [budget, nanos] of heldOf(quota, charge)) find(budget, nanos)
  }
}

/** What was charged to budgets by an estimate. */
export interface EstimatedCharge {
  readonly holds: readonly Hold[]
  readonly bookedAtMs: number
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
    const budget = quotaOf(clients, owner)?.budgets.find(({ terms }) => terms.period === period)
    const isOver =
      period !== 'total' && endOfUtcWindow(period, bookedAtMs) !== endOfUtcWindow(period, nowMs)
    if (budget === undefined || isOver) continue
    booking.book(owner, budget, costNanos(budget, usage) - nanos)
  }
  return booking
}

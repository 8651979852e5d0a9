import { createMeter, type Meter, roomAtMs, shareUsed } from '../limits/meter.ts'
import type { Hold, QuotaCharge, QuotaOwner } from '../limits/quota-charge.ts'
import { longerRefusal, type QuotaRefusal } from '../limits/quota-refusal.ts'
import { giveBack, take, takenWithin } from '../limits/sliding-window.ts'
import { endOfUtcWindow } from '../limits/utc-window.ts'
import {
  type Budget,
  type BudgetTerms,
  type CostBound,
  committedNanos,
  createBudget,
  hold,
  holdOf,
  letPeriodPass,
  limitNanos,
  lose,
  payment,
  release,
  reservationNanos,
  reserve,
} from './budget.ts'

/** The limits of a client, or those that the clients of a group share. Null is no limit. */
export interface QuotaTerms {
  readonly rpm: number | null
  readonly tpm: number | null
  /** Requests in a UTC day. */
  readonly rpd: number | null
  readonly maxConcurrent: number | null
  /** One for each period at most. */
  readonly budgets: readonly BudgetTerms[]
}

/** Limits with what is used of them. */
export interface Quota {
  readonly owner: QuotaOwner
  terms: QuotaTerms
  /** Null since the start of the object, else when it was made: what ran before has taken nothing of it. */
  readonly madeAtMs: number | null
  inFlight: number
  rpm: Meter | null
  tpm: Meter | null
  /** When the day of `requestsToday` ends, in epoch milliseconds. */
  dayEndsAtMs: number
  requestsToday: number
  budgets: readonly Budget[]
  /** No lease ahead is held of it from this moment on, in epoch milliseconds. */
  aheadUntilMs: number
  /** Until this moment no more leases ahead are held of it: a request went without for want of them. */
  aheadRestsUntilMs: number
}

/** What a request wants of its client's limits. */
export interface QuotaDemand {
  readonly requests: 0 | 1
  readonly tokens: number
  readonly bound: CostBound
  /** Whether budgets are passed over that send what they do not pay for to a fallback model. */
  readonly isFallback: boolean
}

/** @param madeAtMs null for one that is there from the start of the object */
export function createQuota(
  owner: QuotaOwner,
  terms: QuotaTerms,
  nowMs: number,
  madeAtMs: number | null = null,
): Quota {
  return {
    owner,
    terms,
    madeAtMs,
    inFlight: 0,
    rpm: createMeter(terms.rpm),
    tpm: createMeter(terms.tpm),
    dayEndsAtMs: endOfUtcWindow('day', nowMs),
    requestsToday: 0,
    budgets: terms.budgets.map((budget) => createBudget(budget, nowMs)),
    aheadUntilMs: 0,
    aheadRestsUntilMs: 0,
  }
}

/** Other limits for the same owner: what is used stays used. */
export function changeQuota(quota: Quota, terms: QuotaTerms, nowMs: number): void {
  quota.terms = terms
  quota.rpm = withLimit(quota.rpm, terms.rpm)
  quota.tpm = withLimit(quota.tpm, terms.tpm)
  quota.budgets = terms.budgets.map((budget) => {
    const known = quota.budgets.find(({ terms }) => terms.period === budget.period)
    if (known === undefined) return createBudget(budget, nowMs, nowMs)
    known.terms = budget
    return known
  })
}

function withLimit(meter: Meter | null, limit: number | null): Meter | null {
  const fresh = createMeter(limit)
  return fresh === null || meter === null ? fresh : { ...fresh, window: meter.window }
}

/** Whether there is any limit. */
export function isLimited({ rpm, tpm, rpd, maxConcurrent, budgets }: QuotaTerms): boolean {
  return [rpm, tpm, rpd, maxConcurrent].some((limit) => limit !== null) || budgets.length > 0
}

/**
 * Why one more request is over a limit; null if it is not. Of several limits, the one that is over for
 * the longest time.
 * @param share how much of each limit may be used with it: less than 1 for leases ahead
 */
export function quotaRefusal(
  quota: Quota,
  demand: QuotaDemand,
  nowMs: number,
  share = 1,
): QuotaRefusal | null {
  return longerRefusal(
    rateRefusal(quota, demand, nowMs, share),
    budgetRefusal(quota, demand, nowMs, share),
  )
}

/**
 * Why a request is over a limit that costs nothing: somebody else has paid for its answer. It counts as
 * a request, and nobody whose budget is spent gets anything. But nothing runs for it, so
 * `max_concurrent` is not asked, nor what of a budget is only reserved.
 */
export function visitRefusal(quota: Quota, nowMs: number): QuotaRefusal | null {
  const demand = { requests: 1, tokens: 0, bound: 0, isFallback: true } as const
  const idle = { ...quota, terms: { ...quota.terms, maxConcurrent: null } }
  const refusals = quota.budgets
    .map((budget) => budgetRefusal({ ...quota, budgets: [budget] }, demand, nowMs, 1))
    .filter((refusal) => refusal?.kind === 'budget' && refusal.isPassing !== true)
  return [rateRefusal(idle, demand, nowMs, 1), ...refusals].reduce(longerRefusal, null)
}

type Rate = Extract<QuotaRefusal, { kind: 'rate' }>

function rateRefusal(
  quota: Quota,
  { requests, tokens }: QuotaDemand,
  nowMs: number,
  share: number,
): Rate | null {
  const { owner, inFlight, rpm, tpm } = quota
  const { rpd, maxConcurrent } = quota.terms
  const refused = (limit: Rate['limit'], max: number, used: number, resetsAtMs: number | null) => {
    const remaining = Math.max(0, max - used)
    return { kind: 'rate', owner, limit, max, remaining, resetsAtMs } as const
  }
  const used = requestsToday(quota, nowMs)
  if (rpd !== null && requests > 0 && used + requests > share * rpd) {
    return refused('rpd', rpd, used, quota.dayEndsAtMs)
  }
  if (rpm !== null && requests > 0 && !hasRoom(rpm, requests, nowMs, share)) {
    const taken = takenWithin(rpm.window, nowMs)
    return refused('rpm', rpm.limit, taken, roomAtMs(rpm, requests, nowMs))
  }
  if (tpm !== null && !hasRoom(tpm, tokens, nowMs, share)) {
    const taken = takenWithin(tpm.window, nowMs)
    return refused('tpm', tpm.limit, taken, roomAtMs(tpm, tokens, nowMs))
  }
  if (maxConcurrent !== null && inFlight + 1 > share * maxConcurrent) {
    return refused('max_concurrent', maxConcurrent, inFlight, null)
  }
  return null
}

function hasRoom(meter: Meter, amount: number, nowMs: number, share: number): boolean {
  return shareUsed(meter, nowMs) + amount / meter.limit <= share
}

/** Requests of the running UTC day. */
export function requestsToday(quota: Quota, nowMs: number): number {
  if (nowMs >= quota.dayEndsAtMs) {
    quota.dayEndsAtMs = endOfUtcWindow('day', nowMs)
    quota.requestsToday = 0
  }
  return quota.requestsToday
}

function budgetRefusal(
  { owner, budgets }: Quota,
  { bound, isFallback }: QuotaDemand,
  nowMs: number,
  share: number,
): QuotaRefusal | null {
  let longest: QuotaRefusal | null = null
  for (const budget of budgets) {
    const { onExceeded, period } = budget.terms
    const paid = payment(budget, bound, nowMs, share)
    if (paid.kind === 'unpriceable') return { kind: 'unpriceable', owner }
    if (paid.kind === 'paid' || onExceeded === 'warn') continue
    if (isFallback && onExceeded === 'fallback_model') continue
    longest = longerRefusal(longest, {
      ...{ kind: 'budget', owner, period, onExceeded, isPassing: paid.isPassing },
      limitNanos: limitNanos(budget, nowMs),
      spentNanos: budget.spentNanos + budget.lostNanos,
      reservedNanos: budget.reservedNanos,
      resetsAtMs: budget.endsAtMs,
    })
  }
  return longest
}

/**
 * Takes what a request wants. The caller has asked `quotaRefusal`, or the request runs anyway.
 * @returns what it holds of the budgets, and whether a row must be written before the pool answers
 */
export function takeQuota(
  quota: Quota,
  { requests, tokens, bound }: QuotaDemand,
  nowMs: number,
): { readonly holds: readonly Hold[]; readonly mustWrite: boolean } {
  quota.inFlight += 1
  takeRates(quota, { requests, tokens }, nowMs)
  let mustWrite = false
  const holds = quota.budgets.map((budget) => {
    letPeriodPass(budget, nowMs)
    // Even where the budget does not pay for it: it runs, and its cost will come.
    const nanos = reservationNanos(budget, bound, nowMs)
    mustWrite = reserve(budget, nanos, nowMs) || mustWrite
    return holdOf(quota.owner, budget, nanos)
  })
  return { holds, mustWrite }
}

/** Takes back all that a request took which made no upstream call. */
export function undoQuota(quota: Quota, charge: QuotaCharge, nowMs: number): void {
  endQuota(quota)
  giveBackRates(quota, charge, nowMs)
  for (const [budget, nanos] of heldOf(quota, charge)) release(budget, nanos)
}

const DAY_MS = 24 * 60 * 60_000

/** Gives back the requests and the tokens that a lease took which no request has used. */
export function giveBackRates(quota: Quota, charge: QuotaCharge, nowMs: number): void {
  const { requests, tokens, chargedAtMs } = charge
  const today = requestsToday(quota, nowMs)
  const isOfToday = chargedAtMs >= quota.dayEndsAtMs - DAY_MS
  if (isOfToday) quota.requestsToday = Math.max(0, today - requests)
  if (quota.rpm !== null) giveBack(quota.rpm.window, requests, chargedAtMs, nowMs)
  if (quota.tpm !== null) giveBack(quota.tpm.window, tokens, chargedAtMs, nowMs)
}

/** Takes them again, now. */
export function takeRates(
  quota: Quota,
  { requests, tokens }: Pick<QuotaCharge, 'requests' | 'tokens'>,
  nowMs: number,
): void {
  quota.requestsToday = requestsToday(quota, nowMs) + requests
  if (quota.rpm !== null) take(quota.rpm.window, requests, nowMs)
  if (quota.tpm !== null) take(quota.tpm.window, tokens, nowMs)
}

/** A lease has ended without a word. @returns whether a row must be written */
export function loseQuota(quota: Quota, charge: QuotaCharge, nowMs: number): boolean {
  endQuota(quota)
  return heldOf(quota, charge)
    .map(([budget, nanos]) => lose(budget, nanos, nowMs))
    .includes(true)
}

/** A lease that had ended without a word goes on. @returns whether a row must be written */
export function retakeQuota(quota: Quota, charge: QuotaCharge, nowMs: number): boolean {
  quota.inFlight += 1
  return heldOf(quota, charge)
    .map(([budget, nanos]) => reserve(budget, nanos, nowMs))
    .includes(true)
}

export function endQuota(quota: Quota): void {
  quota.inFlight = Math.max(0, quota.inFlight - 1)
}

/** Replaces the tokens that were reserved by those that were used. */
export function correctQuotaTokens(
  { tpm }: Quota,
  { tokens, chargedAtMs }: QuotaCharge,
  used: number,
  nowMs: number,
): void {
  if (tpm === null) return
  if (used > tokens) take(tpm.window, used - tokens, nowMs)
  else giveBack(tpm.window, tokens - used, chargedAtMs, nowMs)
}

/** What a lease holds of each budget of an owner; nothing of one that was made while it ran. */
export function heldOf(
  { owner, budgets }: Quota,
  { holds, chargedAtMs }: Pick<QuotaCharge, 'holds' | 'chargedAtMs'>,
): readonly (readonly [Budget, number])[] {
  return budgets.map((budget) => {
    const { terms, madeAtMs } = budget
    const isOlder = madeAtMs === null || madeAtMs <= chargedAtMs
    const hold = holds.find((hold) => hold.owner === owner && hold.period === terms.period)
    return [budget, isOlder ? (hold?.nanos ?? 0) : 0] as const
  })
}

/** Puts what a lease holds back into place after a restart. */
export function restoreHolds(quota: Quota, charge: QuotaCharge): void {
  quota.inFlight += 1
  for (const [budget, nanos] of heldOf(quota, charge)) hold(budget, nanos)
}

/** What an owner's limits look like now, for people and for the client. */
export function quotaView(quota: Quota, nowMs: number) {
  const { owner, terms, inFlight, rpm, tpm } = quota
  const usedOf = (meter: Meter | null) => (meter === null ? null : takenWithin(meter.window, nowMs))
  return {
    owner,
    terms,
    inFlight,
    requestsInMinute: usedOf(rpm),
    tokensInMinute: usedOf(tpm),
    requestsToday: requestsToday(quota, nowMs),
    budgets: quota.budgets.map((budget) => {
      letPeriodPass(budget, nowMs)
      return {
        terms: budget.terms,
        limitNanos: limitNanos(budget, nowMs),
        spentNanos: budget.spentNanos,
        reservedNanos: budget.reservedNanos,
        lostNanos: budget.lostNanos,
        leftNanos: Math.max(0, limitNanos(budget, nowMs) - committedNanos(budget)),
        resetsAtMs: budget.endsAtMs,
        increase: budget.increase,
      }
    }),
  }
}

export type QuotaView = ReturnType<typeof quotaView>

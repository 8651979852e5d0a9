import type { Call } from './api-shape.ts'
import {
  budgetSpent,
  canOnlyAfford,
  inFlightBudget,
  keyLimit,
  outOfCredits,
  type Refusal,
  rateLimited,
  weightExceedsBudget,
} from './errors.ts'
import { isFree, type Model } from './models.ts'
import { boundUsd, limitRemainingUsd, round, usedOfLimitUsd, windowEndMs } from './money.ts'
import type { Charges } from './prices.ts'
import { countRequest } from './rate-limits.ts'
import { errorContext, type Visit } from './visit.ts'
import type { Account, Key } from './world.ts'

interface LeaseDraft {
  readonly visit: Visit
  readonly call: Call
  readonly model: Model
  readonly key: Key
  readonly account: Account
  readonly charges: Charges
  readonly boundUsd: number
}

/**
 * The refusal of a request by money or a rate limit, or null. An allowed request is counted, and
 * reserves its bound in the account's in-flight budget until the visit releases it.
 */
export function refused(visit: Visit, call: Call, model: Model, charges: Charges): Refusal | null {
  const { key, account } = visit
  if (key === null || account === null) return null
  const bound = boundUsd(call, model, charges)
  const request = { visit, call, model, key, account, charges, boundUsd: bound }
  const refusal =
    capReached(request) ??
    layerSpent(request) ??
    accountEmpty(request) ??
    tooLarge(request) ??
    overRate(request)
  return refusal ?? reserved(request)
}

const contextOf = (request: LeaseDraft) =>
  errorContext(request.visit, { model: request.call.model })

function capReached(request: LeaseDraft): Refusal | null {
  const { key } = request
  const { nowMs } = request.visit
  if (key.limitUsd === null || limitRemainingUsd(key, nowMs) !== 0) return null
  const answer = keyLimit(contextOf(request), {
    reset: key.limitReset,
    usedUsd: usedOfLimitUsd(key, nowMs),
    limitUsd: key.limitUsd,
    resetsAtMs: key.limitReset === null ? null : windowEndMs(key.limitReset, nowMs),
  })
  return { answer, label: 'key-limit' }
}

function layerSpent(request: LeaseDraft): Refusal | null {
  const spent = request.key.budgets.find(({ limitUsd, spendUsd }) => spendUsd >= limitUsd)
  if (spent === undefined) return null
  const { resetInterval } = spent
  const resetsAtMs = resetInterval === null ? null : windowEndMs(resetInterval, request.visit.nowMs)
  return { answer: budgetSpent(contextOf(request), spent, resetsAtMs), label: 'budget-403' }
}

/** An account with a balance of 0 may use free models; an account in debt may not. */
function accountEmpty(request: LeaseDraft): Refusal | null {
  const { account, call } = request
  if (account.balanceUsd > 0 || (account.balanceUsd === 0 && isFree(call.model))) return null
  const everPurchased = account.purchasedUsd > 0
  const label = everPurchased ? 'credits-402' : 'never-purchased-402'
  return { answer: outOfCredits(contextOf(request), everPurchased), label }
}

function tooLarge(request: LeaseDraft): Refusal | null {
  const remainingUsd = limitRemainingUsd(request.key, request.visit.nowMs)
  if (remainingUsd !== null && request.boundUsd > remainingUsd) {
    return unaffordable(request, 'key', remainingUsd)
  }
  if (request.boundUsd > request.account.balanceUsd) {
    return unaffordable(request, 'account', request.account.balanceUsd)
  }
  return null
}

function unaffordable(request: LeaseDraft, payer: 'key' | 'account', usd: number): Refusal {
  const { call, model, charges } = request
  const left = usd - call.promptTokens * charges.promptUsd
  const affordable =
    charges.completionUsd === 0 ? 0 : Math.max(0, Math.floor(left / charges.completionUsd))
  const requested = call.maxTokens ?? model.maxOutputTokens
  const answer = canOnlyAfford(contextOf(request), payer, { requested, affordable })
  return { answer, label: payer === 'key' ? 'key-limit-402' : 'afford-402' }
}

function overRate(request: LeaseDraft): Refusal | null {
  const { visit, account, call } = request
  const model = { id: call.model, free: isFree(call.model) }
  const passed = countRequest(visit.simulation.rates, account, model, visit.nowMs)
  if (passed === null) return null
  return { answer: rateLimited(contextOf(request), passed), label: `${passed.limit}-429` }
}

function reserved(request: LeaseDraft): Refusal | null {
  const { visit, account, boundUsd } = request
  const { inFlightUsd } = visit.simulation
  const before = inFlightUsd.get(account.id) ?? 0
  const budget = account.inFlightBudgetUsd
  if (budget !== null && boundUsd > budget) {
    return { answer: weightExceedsBudget(), label: 'weight-402' }
  }
  if (budget !== null && before + boundUsd > budget) {
    return { answer: inFlightBudget(contextOf(request)), label: 'in-flight-402' }
  }
  inFlightUsd.set(account.id, round(before + boundUsd))
  visit.release = () => {
    visit.release = () => undefined
    inFlightUsd.set(account.id, round((inFlightUsd.get(account.id) ?? 0) - boundUsd))
  }
  return null
}

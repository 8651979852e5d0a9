import { creditAsOf } from '../accounting/credit.ts'
import { projectedEndMs } from '../accounting/spend-rate.ts'
import { type Budget, letPeriodPass, usdOf } from '../clients/budget.ts'
import { isStillPassed, thresholdsAt } from '../clients/budget-thresholds.ts'
import { quotaOf } from '../clients/client-records.ts'
import { standingExclusions } from '../eligibility.ts'
import { isActive, reportedReason } from '../health/bench.ts'
import { asOf } from '../health/circuit-breaker.ts'
import { modelId } from '../ids.ts'
import type { QuotaOwner, SpendPeriod } from '../limits/quota-charge.ts'
import type { KeyState, PoolState } from '../pool-state.ts'
import { type AlertCause, type AlertFacts, alertName } from './alert.ts'
import type { AlertPolicy } from './alert-policy.ts'

/** All that there is now to be told of. Looks at each key once. */
export function causesOf(state: PoolState, nowMs: number): AlertCause[] {
  const policy = state.policy.alerts
  const causes: AlertCause[] = []
  const count = { usable: 0, total: 0 }
  for (const key of state.keys.values()) {
    if (key.config.disabled) continue
    count.total += 1
    if (!isOutForLong(key, nowMs)) count.usable += 1
    causes.push(...ofKey(key, policy, nowMs))
    causes.push(...ofKeySpend(state, key, nowMs))
  }
  for (const { id, bench } of state.accounts.values()) {
    if (!isActive(bench, nowMs) || reportedReason(bench) !== 'account_out_of_credit') continue
    causes.push({ event: 'account_out_of_credit', subject: id, facts: { account: id } })
  }
  causes.push(...ofUsableKeys(count, policy), ...ofClientBudgets(state, nowMs))
  causes.push(...ofUnknownErrors(state, nowMs), ...state.alerts.news.splice(0))
  return causes
}

/** A moment in ISO 8601; null for one that no calendar holds: a reset may be any number. */
function isoTime(ms: number | null): string | null {
  const date = new Date(ms ?? Number.NaN)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}

function ofKey(key: KeyState, policy: AlertPolicy, nowMs: number): AlertCause[] {
  const { id, bench, expiresAtMs } = key
  const causes: AlertCause[] = []
  const add = (event: AlertCause['event'], facts: AlertFacts) => {
    causes.push({ event, subject: id, facts: { key: id, ...facts } })
  }
  const reason = isActive(bench, nowMs) ? reportedReason(bench) : null
  const credit = creditAsOf(key.credit, nowMs)
  const leftUsd = credit.kind === 'unknown' ? null : credit.remainingUsd
  if (reason === 'key_rejected') add('key_rejected', {})
  if (reason === 'key_spent' || leftUsd === 0) {
    const benchedUntilMs = reason === 'key_spent' ? (bench?.untilMs ?? null) : null
    add('key_spent', { until: isoTime(benchedUntilMs ?? resetOf(credit)) })
  }
  if (expiresAtMs !== null && expiresAtMs - nowMs < policy.keyExpiresMs) {
    add('key_expires_soon', { expires_at: isoTime(expiresAtMs) })
  }
  const low = lowCredit(key, policy, nowMs)
  if (low !== null) add('credit_low', low)
  const breaker = asOf(key.breaker, nowMs)
  if (breaker.kind !== 'closed') {
    add('breaker_open', { until: breaker.kind === 'open' ? isoTime(breaker.untilMs) : null })
  }
  return causes
}

const resetOf = (credit: ReturnType<typeof creditAsOf>): number | null =>
  credit.kind === 'unknown' ? null : credit.resetsAtMs

/** What is left of a key's cap if that is little, or will be spent soon. */
function lowCredit(key: KeyState, policy: AlertPolicy, nowMs: number): AlertFacts | null {
  const credit = creditAsOf(key.credit, nowMs)
  if (credit.kind === 'unknown' || credit.remainingUsd === null) return null
  const { remainingUsd, limitUsd } = credit
  const isSmall = remainingUsd <= policy.creditLowShare * (limitUsd ?? 0)
  const endsAtMs = projectedEndMs(credit, key.spendRate, nowMs)
  const isSoon = endsAtMs !== null && endsAtMs - nowMs < policy.creditLowMs
  if (!((isSmall && policy.creditLowShare > 0) || isSoon)) return null
  const left = { remaining_usd: remainingUsd, limit_usd: limitUsd }
  return { ...left, projected_end: isSoon ? isoTime(endsAtMs) : null }
}

/** No model has an empty name, so benches of single models do not count. */
const NO_MODEL = modelId('')

/** A rate limit of a few seconds makes no key unusable that anybody has to be told of. */
const LONG_MS = 60_000

function isOutForLong(key: KeyState, nowMs: number): boolean {
  if (asOf(key.breaker, nowMs).kind !== 'closed') return true
  return standingExclusions(key, NO_MODEL, nowMs).some(
    ({ clearsAtMs }) => clearsAtMs === null || clearsAtMs - nowMs > LONG_MS,
  )
}

function ofUsableKeys(
  { usable, total }: { readonly usable: number; readonly total: number },
  { usableKeysBelow }: AlertPolicy,
): AlertCause[] {
  const least = usableKeysBelow < 1 ? usableKeysBelow * total : usableKeysBelow
  if (usable >= least) return []
  return [{ event: 'usable_keys_below', subject: 'pool', facts: { usable, total } }]
}

/** Of a key's `max_spend`: the highest threshold that is passed, and lower ones told of before it. */
function ofKeySpend({ alerts, policy }: PoolState, key: KeyState, nowMs: number): AlertCause[] {
  if (key.spend === null) return []
  letPeriodPass(key.spend, nowMs)
  const { usd, period } = key.spend.terms
  const spent = usdOf(key.spend.spentNanos)
  const percent = usd === 0 ? 100 : (100 * spent) / usd
  const owner = `key:${key.id}`
  return thresholdsAt(percent, policy.alerts.budgetFromPercent)
    .map((threshold) => budgetCause({ owner, period, usd, spent }, threshold))
    .filter((cause, at) => at === 0 || alerts.active.has(alertName(cause)))
}

interface BudgetFacts {
  readonly owner: string
  readonly period: SpendPeriod
  readonly usd: number
  readonly spent: number
}

function budgetCause({ owner, period, usd, spent }: BudgetFacts, percent: number): AlertCause {
  const facts = { owner, period, percent, usd, spent_usd: spent }
  return { event: 'budget_threshold', subject: `${owner} ${period} ${percent}`, facts }
}

/**
 * Of the budgets of clients and groups: those that a settlement has just taken past a threshold, and
 * those whose alert is active. There may be ten thousand, so no others are looked at.
 */
function ofClientBudgets({ alerts, changes, clients, policy }: PoolState, nowMs: number) {
  const from = policy.alerts.budgetFromPercent
  const passed = changes.thresholds
    .splice(0)
    .filter(({ percent }) => percent >= from)
    .map(({ owner, budget, percent }) => causeOfBudget(owner, budget, percent))
  const active = [...alerts.active.values()].flatMap(({ event, facts }) => {
    if (event !== 'budget_threshold') return []
    const told = toldBudget(clients, facts)
    if (told === null) return []
    letPeriodPass(told.budget, nowMs)
    const isPassed = isStillPassed(told.budget, told.percent, nowMs)
    return isPassed ? [causeOfBudget(told.owner, told.budget, told.percent)] : []
  })
  return [...active, ...passed]
}

function causeOfBudget(owner: QuotaOwner, { terms, spentNanos }: Budget, percent: number) {
  const { usd, period } = terms
  return budgetCause({ owner, period, usd, spent: usdOf(spentNanos) }, percent)
}

/** The budget of a client or a group that an alert is about; null if it is a key's, or gone. */
export function toldBudget(clients: PoolState['clients'], { owner, period, percent }: AlertFacts) {
  const quota = quotaOf(clients, owner as QuotaOwner)
  const budget = quota?.budgets.find(({ terms }) => terms.period === period)
  return quota === undefined || budget === undefined
    ? null
    : { owner: quota.owner, budget, percent: Number(percent) }
}

/** An error that came within the last half of the interval is still there. */
function ofUnknownErrors({ alerts, policy }: PoolState, nowMs: number): AlertCause[] {
  const causes: AlertCause[] = []
  for (const [kind, { count, lastAtMs }] of alerts.unknownErrors) {
    if (nowMs - lastAtMs > policy.alerts.intervalMs / 2) alerts.unknownErrors.delete(kind)
    else causes.push({ event: 'unknown_error', subject: kind, facts: { error: kind, count } })
  }
  return causes
}

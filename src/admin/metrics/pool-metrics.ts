import type { CacheReading } from '../../balancing/accounting/cache-counters.ts'
import { addCounters, type Counters, createCounters } from '../../balancing/accounting/ledger.ts'
import { type CacheOutcome, REQUEST_OUTCOMES } from '../../balancing/accounting/request-row.ts'
import { BUCKETS_MS, type TimeHistogram } from '../../balancing/accounting/time-histogram.ts'
import { ALERT_EVENTS } from '../../balancing/alerts/alert-policy.ts'
import type { CountedUnder, PoolReadings } from '../../balancing/readings/pool-readings.ts'
import type { BudgetSnapshot, KeySnapshot, PoolSnapshot } from '../../balancing/snapshot.ts'
import type { Exposition } from './exposition.ts'
import { METRICS, type Metric } from './metric-names.ts'

/** By what the cache was to a request, in the words of the log. */
function tellCache({ add }: Exposition, { total }: CacheReading): void {
  const { hits, joins, misses, bypasses, keptBytes, savedUsd } = total
  const by: Readonly<Record<CacheOutcome, number>> = {
    ...{ hit: hits, joined: joins, miss: misses, bypass: bypasses },
  }
  for (const [outcome, count] of Object.entries(by)) add(METRICS.cacheRequests, count, { outcome })
  add(METRICS.cacheKept, keptBytes)
  add(METRICS.cacheSaved, savedUsd)
}

/** Tells all that the pool's object has read off itself. */
export function tellPool(exposition: Exposition, readings: PoolReadings): void {
  tellStanding(exposition, readings.snapshot)
  tellAlerts(exposition, readings.alerts)
  exposition.add(METRICS.batchLines, readings.batchLines)
  for (const outcome of REQUEST_OUTCOMES) {
    exposition.add(METRICS.requests, readings.requests[outcome], { outcome })
  }
  exposition.add(METRICS.retries, readings.requests.retries)
  for (const key of readings.snapshot.keys) tellKey(exposition, key)
  for (const budget of budgetsOf(readings)) tellBudget(exposition, budget)
  if (readings.cache !== undefined) tellCache(exposition, readings.cache)
  tellCounted(exposition, 'model', readings.models, {
    attempts: METRICS.modelAttempts,
    tokens: METRICS.modelTokens,
    cost: METRICS.modelCost,
  })
  tellCounted(exposition, 'client', readings.clients, {
    attempts: METRICS.clientAttempts,
    tokens: METRICS.clientTokens,
    cost: METRICS.clientCost,
  })
}

function tellStanding({ add }: Exposition, pool: PoolSnapshot): void {
  add(METRICS.usable, pool.usable)
  add(METRICS.panic, pool.panic)
  add(METRICS.waiting, pool.waiting)
  add(METRICS.models, pool.benchedModels.length)
}

function tellAlerts({ add }: Exposition, { active, undelivered }: PoolReadings['alerts']): void {
  for (const event of ALERT_EVENTS) add(METRICS.alerts, active[event] ?? 0, { event })
  for (const [to, count] of Object.entries(undelivered)) add(METRICS.undelivered, count, { to })
}

const BREAKERS: readonly KeySnapshot['breaker'][] = ['closed', 'open', 'half_open']

function tellKey(exposition: Exposition, key: KeySnapshot): void {
  const { add } = exposition
  const { id, account, reason, credit, total } = key
  const labels = { key: id }
  add(METRICS.key, 1, { ...labels, account })
  add(METRICS.keyUsable, reason === null, labels)
  if (reason !== null) add(METRICS.keyOut, 1, { ...labels, reason })
  add(METRICS.keyOutUntil, seconds(key.clearsAtMs), labels)
  for (const state of BREAKERS) add(METRICS.breaker, key.breaker === state, { ...labels, state })
  add(METRICS.inFlight, key.inFlight, labels)
  add(METRICS.rpmUsed, key.rpmUsed, labels)
  add(METRICS.tpmUsed, key.tpmUsed, labels)
  add(METRICS.expires, seconds(key.expiresAtMs), labels)
  if (credit !== null) {
    add(METRICS.creditLeft, credit.remainingUsd, labels)
    add(METRICS.creditLimit, credit.limitUsd, labels)
    add(METRICS.creditAt, seconds(credit.asOfMs), labels)
    add(METRICS.creditStale, credit.stale, labels)
  }
  tellTotal(exposition, total, labels, {
    attempts: METRICS.attempts,
    tokens: METRICS.keyTokens,
    cost: METRICS.keyCost,
  })
  add(METRICS.keyEstimate, total.estimatedUsd, labels)
  for (const [fault, count] of Object.entries(total.faults)) {
    add(METRICS.faults, count, { ...labels, fault })
  }
  tellTimes(exposition, METRICS.answerTime, key.times.answer, labels)
  tellTimes(exposition, METRICS.firstOutput, key.times.firstOutput, labels)
}

/** The provider of OpenTelemetry's conventions: it is OpenRouter whom the gateway calls. */
const PROVIDER = { gen_ai_provider_name: 'openrouter' }

const BOUNDS_S = BUCKETS_MS.map((ms) => ms / 1000)

function tellTimes(
  { addHistogram }: Exposition,
  metric: Metric,
  { counts, sumMs }: TimeHistogram,
  labels: Readonly<Record<string, string>>,
): void {
  const histogram = { bounds: BOUNDS_S, counts, sum: sumMs / 1000 }
  addHistogram(metric, histogram, { ...labels, ...PROVIDER })
}

interface CounterMetrics {
  readonly attempts: Metric
  readonly tokens: Metric
  readonly cost: Metric
}

function tellCounted(
  exposition: Exposition,
  label: 'model' | 'client',
  counted: readonly CountedUnder[],
  metrics: CounterMetrics,
): void {
  // A name may be written in two ways that a page of text cannot tell apart, and a line must not
  // stand there twice: Prometheus would refuse the whole scrape.
  const totals = new Map<string, Counters>()
  for (const { name, total } of counted) {
    const shown = name.toWellFormed()
    const sum = totals.get(shown) ?? createCounters()
    totals.set(shown, sum)
    addCounters(sum, total)
  }
  for (const [name, total] of totals) tellTotal(exposition, total, { [label]: name }, metrics)
}

function tellTotal(
  { add }: Exposition,
  total: Counters,
  labels: Readonly<Record<string, string>>,
  metrics: CounterMetrics,
): void {
  add(metrics.attempts, total.successes, { ...labels, outcome: 'success' })
  add(metrics.attempts, total.failures, { ...labels, outcome: 'failure' })
  add(metrics.attempts, total.ignored, { ...labels, outcome: 'ignorable' })
  // An estimate may be replaced by less, and a counter must not fall.
  const prompt = total.promptTokens - total.estimatedPromptTokens
  const completion = total.completionTokens - total.estimatedCompletionTokens
  add(metrics.tokens, prompt, { ...labels, type: 'prompt' })
  add(metrics.tokens, completion, { ...labels, type: 'completion' })
  add(metrics.tokens, total.cachedTokens, { ...labels, type: 'cached' })
  add(metrics.tokens, total.reasoningTokens, { ...labels, type: 'reasoning' })
  add(metrics.cost, certainUsd(total), labels)
}

/** To a nano-dollar: a difference of two sums is never twice the same to the last bit. */
function certainUsd({ costUsd, estimatedUsd }: Counters): number {
  return Math.max(0, Math.round((costUsd - estimatedUsd) * 1e9) / 1e9)
}

interface ToldBudget extends Omit<BudgetSnapshot, 'owner' | 'reservedUsd' | 'lostUsd'> {
  readonly owner: string
  readonly reservedUsd?: number
  readonly lostUsd?: number
}

function budgetsOf({ snapshot, spends }: PoolReadings): readonly ToldBudget[] {
  return [
    ...snapshot.budgets,
    ...spends.map(({ id, ...spend }) => ({ owner: `key:${id}`, ...spend })),
  ]
}

function tellBudget({ add }: Exposition, budget: ToldBudget): void {
  const labels = { owner: budget.owner, period: budget.period }
  add(METRICS.budgetLimit, budget.limitUsd, labels)
  add(METRICS.budgetSpent, budget.spentUsd, labels)
  add(METRICS.budgetReserved, budget.reservedUsd ?? null, labels)
  add(METRICS.budgetLost, budget.lostUsd ?? null, labels)
  add(METRICS.budgetResets, seconds(budget.resetsAtMs), labels)
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000
}

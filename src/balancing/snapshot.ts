import { creditAsOf } from './accounting/credit.ts'
import { type Counters, tallyOf } from './accounting/ledger.ts'
import { projectedEndMs } from './accounting/spend-rate.ts'
import type { KeyTimes } from './accounting/time-histogram.ts'
import { type RunningBatch, runningBatches } from './batches/batch-progress.ts'
import { type Budget, committedNanos, letPeriodPass, limitNanos, usdOf } from './clients/budget.ts'
import { quotas } from './clients/client-records.ts'
import { breakerExclusions, type Exclusion } from './eligibility.ts'
import { isActive } from './health/bench.ts'
import { asOf, type Breaker } from './health/circuit-breaker.ts'
import type { Halt } from './health/halt.ts'
import { type AccountId, type KeyId, type ModelId, modelId } from './ids.ts'
import { shareUsed } from './limits/meter.ts'
import type { QuotaOwner, SpendPeriod } from './limits/quota-charge.ts'
import type { KeyState, PoolState } from './pool-state.ts'
import { REASONS, type Reason } from './reasons.ts'
import { filterStanding } from './serving/filter.ts'
import { valueMs } from './strategies/peak-ewma.ts'

/** A key as operators see it. */
export interface KeySnapshot {
  readonly id: KeyId
  readonly account: AccountId
  /** Why the key may not serve now, or null. Load is no reason here: a busy key is still usable. */
  readonly reason: Reason | null
  /** When that reason ends by itself, in epoch milliseconds, or null. */
  readonly clearsAtMs: number | null
  /** All that is against the key now, the reported reason first. */
  readonly reasons: readonly Reason[]
  readonly disabled: boolean
  /** What an operator has told it; null for nothing. */
  readonly halt: Halt | null
  readonly breaker: Breaker['kind']
  /** When an open breaker lets a probe through, in epoch milliseconds; else null. */
  readonly breakerUntilMs: number | null
  readonly inFlight: number
  /** How many of them are lines of batches. */
  readonly batchInFlight: number
  readonly tags: readonly string[]
  readonly weight: number
  readonly maxConcurrent: number | null
  readonly rpm: number | null
  readonly tpm: number | null
  readonly minCreditUsd: number
  readonly maxSpend: SpendSnapshot | null
  /** Null while it is unknown. */
  readonly credit: CreditSnapshot | null
  readonly expiresAtMs: number | null
  /** Whether it expires soon, as alerts see it, or has expired. */
  readonly expiresSoon: boolean
  /** Peak EWMA of the time to first output; null while unmeasured. */
  readonly latencyMs: number | null
  /** The used shares of its limits per minute; null without a limit. */
  readonly rpmUsed: number | null
  readonly tpmUsed: number | null
  readonly affordableTokens: number | null
  readonly total: Counters
  /** Of the UTC day. */
  readonly today: Counters
  /** What its attempts took, as histograms: see time-histogram.ts for their buckets and quantiles. */
  readonly times: KeyTimes
}

/** A key's `max_spend`, with what is spent of it. */
export interface SpendSnapshot {
  readonly usd: number
  readonly period: SpendPeriod
  readonly spentUsd: number
  /** As of a budget. Absent from an object of an earlier release, like the next. */
  readonly reservedUsd?: number
  readonly lostUsd?: number
  readonly resetsAtMs: number | null
}

/** A key's credit as operators see it. */
export interface CreditSnapshot {
  /** The cap, and what is left of it; null for a key without a cap. */
  readonly limitUsd: number | null
  readonly remainingUsd: number | null
  readonly resetsAtMs: number | null
  /** When it will be spent at the present rate; null if it resets before, or that is far away or unknown. */
  readonly projectedEndMs: number | null
  readonly asOfMs: number
  /** Whether the latest lookup failed, so that the numbers are old. */
  readonly stale: boolean
}

/** The pool as operators see it. */
export interface PoolSnapshot {
  readonly panic: boolean
  /** The number of keys without a reason against them. Load is not considered. */
  readonly usable: number
  /** The number of requests in the queue. */
  readonly waiting: number
  /** Models that are benched everywhere, and when their bench ends. */
  readonly benchedModels: readonly { readonly model: ModelId; readonly untilMs: number | null }[]
  readonly keys: readonly KeySnapshot[]
  /** Budgets of clients and groups, those that are used the most first; at most `MAX_BUDGETS_SHOWN`. */
  readonly budgets: readonly BudgetSnapshot[]
  /** The batches that have not ended, as their objects told it some seconds ago. */
  readonly batches: readonly RunningBatch[]
}

/** A budget as operators see it. Money is in USD. */
export interface BudgetSnapshot {
  readonly owner: QuotaOwner
  readonly period: SpendPeriod
  readonly limitUsd: number
  readonly spentUsd: number
  /** What running requests hold. */
  readonly reservedUsd: number
  /** What requests held that ended without a word. It stays until a late word, or the period's end. */
  readonly lostUsd: number
  readonly resetsAtMs: number | null
}

/** A snapshot is taken each second while somebody looks; the clients' own list has them all. */
export const MAX_BUDGETS_SHOWN = 100

/** No model has an empty name. So benches of single models exclude no key in a snapshot. */
const NO_MODEL = modelId('')

/** The pool as operators see it. Taking a snapshot influences no decision. */
export function snapshot(state: PoolState, nowMs: number): PoolSnapshot {
  const route = state.routes.at(-1) ?? state.routes[0]
  const { keys: standing, panic } = filterStanding({ state, nowMs }, route, NO_MODEL)
  const keys = standing.map(({ key, exclusions }) => {
    const breaker = panic ? [] : breakerExclusions(key, nowMs)
    return keySnapshot(state, key, inOrder([...exclusions, ...breaker]), nowMs)
  })
  return {
    panic,
    usable: keys.filter(({ reason }) => reason === null).length,
    waiting: state.queue.size,
    benchedModels: [...state.modelBenches].flatMap(([model, bench]) =>
      isActive(bench, nowMs) ? [{ model, untilMs: bench.untilMs }] : [],
    ),
    keys,
    budgets: budgetSnapshots(state, nowMs),
    batches: runningBatches(state.batches.running, nowMs),
  }
}

function budgetSnapshots({ clients }: PoolState, nowMs: number): readonly BudgetSnapshot[] {
  const all = quotas(clients).flatMap(({ owner, budgets }) =>
    budgets.map((budget) => {
      letPeriodPass(budget, nowMs)
      return { owner, budget, share: committedNanos(budget) / limitNanos(budget, nowMs) }
    }),
  )
  // A budget of nothing, of which nothing is used, has no share.
  const bySize = all.toSorted((a, b) => (b.share || 0) - (a.share || 0))
  return bySize.slice(0, MAX_BUDGETS_SHOWN).map(({ owner, budget }) => ({
    owner,
    ...amountsOf(budget, nowMs),
  }))
}

/** What a budget pays for, and what is used of it, in USD. */
export function amountsOf(budget: Budget, nowMs: number): Omit<BudgetSnapshot, 'owner'> {
  letPeriodPass(budget, nowMs)
  return {
    period: budget.terms.period,
    limitUsd: usdOf(limitNanos(budget, nowMs)),
    spentUsd: usdOf(budget.spentNanos),
    reservedUsd: usdOf(budget.reservedNanos),
    lostUsd: usdOf(budget.lostNanos),
    resetsAtMs: budget.endsAtMs,
  }
}

/** The number of keys without a reason against them, as in a snapshot but without taking one. */
export function usableKeys(state: PoolState, nowMs: number): number {
  const route = state.routes.at(-1) ?? state.routes[0]
  const { keys, panic } = filterStanding({ state, nowMs }, route, NO_MODEL)
  let usable = 0
  for (const { key, exclusions } of keys) {
    if (exclusions.length > 0) continue
    if (panic || breakerExclusions(key, nowMs).length === 0) usable += 1
  }
  return usable
}

function keySnapshot(
  { ledger, policy }: PoolState,
  key: KeyState,
  exclusions: readonly Exclusion[],
  nowMs: number,
): KeySnapshot {
  const { expiresAtMs, latency, rpm, tpm, config } = key
  const { total, today } = tallyOf(ledger.byKey, key.id, nowMs)
  const [exclusion] = exclusions
  const breaker = asOf(key.breaker, nowMs)
  return {
    id: key.id,
    account: key.account.id,
    reason: exclusion?.reason ?? null,
    clearsAtMs: exclusion?.clearsAtMs ?? null,
    reasons: [...new Set(exclusions.map(({ reason }) => reason))],
    disabled: config.disabled,
    halt: key.halt,
    breaker: breaker.kind,
    breakerUntilMs: breaker.kind === 'open' ? breaker.untilMs : null,
    inFlight: key.inFlight,
    batchInFlight: key.batch.inFlight,
    tags: config.tags,
    weight: config.weight,
    maxConcurrent: config.maxConcurrent,
    rpm: config.rpm,
    tpm: config.tpm,
    minCreditUsd: config.minCreditUsd,
    maxSpend: spendSnapshot(key, nowMs),
    credit: creditSnapshot(key, nowMs),
    expiresAtMs,
    expiresSoon: expiresAtMs !== null && expiresAtMs - nowMs < policy.alerts.keyExpiresMs,
    latencyMs: valueMs(latency, nowMs),
    rpmUsed: rpm === null ? null : shareUsed(rpm, nowMs),
    tpmUsed: tpm === null ? null : shareUsed(tpm, nowMs),
    affordableTokens: key.affordableTokens,
    total,
    today,
    times: key.times,
  }
}

function spendSnapshot({ spend }: KeyState, nowMs: number): SpendSnapshot | null {
  if (spend === null) return null
  const { limitUsd: usd, ...amounts } = amountsOf(spend, nowMs)
  return { usd, ...amounts }
}

/** The rate of some hours says nothing of what comes later. */
const FORESEEABLE_MS = 90 * 24 * 60 * 60_000

function creditSnapshot(key: KeyState, nowMs: number): CreditSnapshot | null {
  const credit = creditAsOf(key.credit, nowMs)
  if (credit.kind === 'unknown') return null
  const { limitUsd, remainingUsd, resetsAtMs, asOfMs, stale } = credit
  const endMs = projectedEndMs(credit, key.spendRate, nowMs)
  const isFar = endMs === null || endMs - nowMs > FORESEEABLE_MS
  return {
    ...{ limitUsd, remainingUsd, resetsAtMs, asOfMs, stale },
    projectedEndMs: isFar ? null : endMs,
  }
}

function inOrder(exclusions: readonly Exclusion[]): readonly Exclusion[] {
  return exclusions.toSorted((a, b) => REASONS.indexOf(a.reason) - REASONS.indexOf(b.reason))
}

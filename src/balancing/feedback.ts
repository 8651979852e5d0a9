import { afterSpending } from './accounting/credit.ts'
import { afterCost } from './accounting/spend-rate.ts'
import { noteUnknownError } from './alerts/alerts.ts'
import { giveBackBatch } from './batches/batch-share.ts'
import { benchOf, isActive, withoutRejection } from './health/bench.ts'
import {
  afterFailure,
  afterNothing,
  afterSuccess,
  asOf,
  withoutFailures,
} from './health/circuit-breaker.ts'
import { judgeFailure, noteSuccess } from './health/correlation.ts'
import { doubt } from './health/lookup-duty.ts'
import { noteAccepted, noteRefused } from './health/rejection-wave.ts'
import { isBeforeReset } from './health/reset.ts'
import { isSinceStrike } from './health/strikes.ts'
import type { ModelId } from './ids.ts'
import { giveBackCharge } from './limits/charge.ts'
import type { RunningLease } from './limits/leases.ts'
import { deposit, withdraw } from './limits/retry-budget.ts'
import { noteSize } from './limits/size-note.ts'
import { giveBack, type SlidingWindow, take } from './limits/sliding-window.ts'
import { type KeyState, type PoolState, type Step, setLookup } from './pool-state.ts'
import { applyBench, benchModel, isStoredModel, WAVE_TERM } from './serving/bench-feedback.ts'
import {
  type EndedAttempt,
  grantedAtMs,
  isBeforeResetOf,
  isCurrent,
} from './serving/ended-attempt.ts'
import { type BenchOrder, type Settlement, tokensUsed, type Usage } from './settlement.ts'
import { observe } from './strategies/peak-ewma.ts'

/** What the pool learns of its keys from settlements. */

/** The weight of the latest answer in the mean cost. */
const LATEST_COST_SHARE = 0.05

/**
 * Learns from an attempt that ended.
 * @param lease null if a restart has forgotten it
 */
export function learnFromSettlement(
  step: Step,
  key: KeyState,
  lease: RunningLease | null,
  settlement: Settlement,
): void {
  const { state, nowMs } = step
  const attempt = { key, lease, model: lease?.model ?? settlement.lease?.model ?? null }
  if (!isBeforeReset(key.reset, lease, grantedAtMs(attempt, settlement))) {
    learnVerdict(step, attempt, settlement)
  }
  if (settlement.firstOutputMs !== undefined) {
    key.latency = observe(key.latency, settlement.firstOutputMs, nowMs)
  }
  if (lease !== null) correctTokens(key, lease, settlement, nowMs)
  if (settlement.usage !== undefined) learnCost(state, key, settlement.usage, nowMs)
}

/** What an attempt shows of its key, its account and its model. */
function learnVerdict(step: Step, attempt: EndedAttempt, settlement: Settlement): void {
  const { state, nowMs } = step
  const { key, lease } = attempt
  updateBreaker(step, attempt, settlement, isPlatformsRefusal(step, attempt, settlement))
  for (const order of settlement.benches) applyBench(step, attempt, settlement, order)
  if (settlement.outcome === 'success') {
    noteAccepted(state.rejections, grantedAtMs(attempt, settlement) ?? 0)
    if (attempt.model !== null) learnModelWorks(state, attempt.model, nowMs)
    if (key.strikes > 0 && isSinceStrike(key, lease)) {
      key.strikes = 0
      state.changes.keys.add(key.id)
    }
  }
  if (settlement.unknownError !== undefined) {
    noteUnknownError(state.alerts, settlement.unknownError, nowMs)
  }
  if (settlement.suspect) setLookup(state, key, doubt(key.lookup, nowMs))
  if (settlement.affordableTokens !== undefined) key.affordableTokens = settlement.affordableTokens
  learnSize(attempt, settlement, nowMs)
}

/** Notes the size of a request that the key, or its account, could not pay for. */
function learnSize(attempt: EndedAttempt, settlement: Settlement, nowMs: number): void {
  const { key } = attempt
  const { tooLargeFor } = settlement
  const size = settlement.lease?.size
  if (tooLargeFor === undefined || size === undefined) return
  const refused = { keyId: key.id, size }
  if (tooLargeFor === 'account') {
    if (isBeforeResetOf(key.account, attempt, settlement)) return
    key.account.tooLarge = noteSize(key.account.tooLarge, refused, null, nowMs)
    return
  }
  const resetsAtMs = key.credit.kind === 'known' ? key.credit.resetsAtMs : null
  key.tooLarge = noteSize(key.tooLarge, refused, resetsAtMs, nowMs)
}

/** Gives back all that a lease took with which no upstream call was made. */
export function undoLease({ state, nowMs }: Step, key: KeyState, lease: RunningLease): void {
  key.breaker = afterNothing(key.breaker, lease.id)
  giveBackCharge(key, lease.tokens, lease.chargedAtMs, nowMs)
  if (lease.isBatch) giveBackBatch(key, lease.tokens, lease.chargedAtMs, nowMs)
  const budgeted = { model: lease.model, policy: state.policy.retryBudget }
  const retryBudget = lease.isBatch ? state.batches.retryBudget : state.retryBudget
  if (lease.attempt === 'first') deposit(retryBudget, budgeted, nowMs, -1)
  if (lease.attempt === 'retry') withdraw(retryBudget, budgeted, nowMs, -1)
}

/** A success ends a model's bench, and clears it of its failures. */
function learnModelWorks(state: PoolState, model: ModelId, nowMs: number): void {
  noteSuccess(state.correlation, model)
  const bench = state.modelBenches.get(model)
  if (bench === undefined) return
  state.modelBenches.delete(model)
  if (isActive(bench, nowMs) && isStoredModel(state, model)) state.changes.models = true
}

/** The weight of the latest lease in the mean lease time. */
const LATEST_HOLD_SHARE = 0.2

/** Learns how long a lease of the key lasted. */
export function learnHold(key: KeyState, heldMs: number): void {
  const mean = key.meanHoldMs ?? heldMs
  key.meanHoldMs = mean + LATEST_HOLD_SHARE * (heldMs - mean)
}

/**
 * What an answer counts of its key's money. A stream that was cut has cost something, although it did
 * not say how much.
 */
export function chargedUsd({ meanTokenUsd }: PoolState, usage: Usage): number {
  const isUntold = usage.estimated && usage.costUsd === 0
  return isUntold ? (usage.promptTokens + usage.completionTokens) * meanTokenUsd : usage.costUsd
}

function learnCost(state: PoolState, key: KeyState, usage: Usage, nowMs: number): void {
  const tokens = usage.promptTokens + usage.completionTokens
  const costUsd = chargedUsd(state, usage)
  key.credit = afterSpending(key.credit, costUsd, nowMs)
  key.spentSinceAskedUsd += costUsd
  if (costUsd > 0) key.spendRate = afterCost(key.spendRate, costUsd, nowMs)
  if (usage.estimated) return
  const share = state.meanCostUsd === 0 ? 1 : LATEST_COST_SHARE
  state.meanCostUsd += share * (usage.costUsd - state.meanCostUsd)
  if (tokens === 0) return
  const tokenShare = state.meanTokenUsd === 0 ? 1 : LATEST_COST_SHARE
  state.meanTokenUsd += tokenShare * (usage.costUsd / tokens - state.meanTokenUsd)
}

/** Replaces the tokens that were reserved by those that were really used. */
function correctTokens(
  key: KeyState,
  lease: RunningLease,
  settlement: Settlement,
  nowMs: number,
): void {
  if (key.tpm === null) return
  const used = tokensUsed(settlement)
  if (used === null) return
  correct(key.tpm.window, lease, used, nowMs)
  if (lease.isBatch) correct(key.batch.tpm, lease, used, nowMs)
}

function correct(window: SlidingWindow, lease: RunningLease, used: number, nowMs: number): void {
  if (used > lease.tokens) take(window, used - lease.tokens, nowMs)
  else giveBack(window, lease.tokens - used, lease.chargedAtMs, nowMs)
}

/** Whether a 401 is the platform's trouble, and not the key's: see rejection-wave.ts. */
function isPlatformsRefusal(step: Step, attempt: EndedAttempt, settlement: Settlement): boolean {
  const { state, nowMs, random } = step
  if (!settlement.suspect || !isCurrent(attempt, settlement)) return false
  const verdict = noteRefused(state.rejections, state.keys.values(), attempt.key.id, nowMs)
  if (verdict.kind === 'keys_own') return false
  for (const [id, atMs] of verdict.begins ?? []) {
    const key = state.keys.get(id)
    if (key === undefined) continue
    const order = { scope: 'key', reason: 'key_rejected', term: WAVE_TERM } as const
    const untilMs = benchOf(order, 0, nowMs, random).untilMs ?? nowMs
    key.bench = withoutRejection(key.bench, untilMs, nowMs)
    takeBack(state, key, atMs)
  }
  return true
}

/** Takes failures back that turned out not to be the key's. */
function takeBack(state: PoolState, key: KeyState, atMs: readonly number[]): void {
  const breaker = withoutFailures(key.breaker, atMs, state.policy.breaker)
  if (breaker !== key.breaker) state.changes.keys.add(key.id)
  key.breaker = breaker
  state.queue.changed.add(key.id)
}

function updateBreaker(
  step: Step,
  attempt: EndedAttempt,
  settlement: Settlement,
  isPlatforms: boolean,
): void {
  const { state, nowMs } = step
  const { key, lease } = attempt
  const before = key.breaker
  const now = asOf(before, nowMs)
  const { leaseId } = settlement
  const isKeysFailure =
    settlement.outcome === 'failure' &&
    !isPlatforms &&
    isCurrent(attempt, settlement) &&
    !isModelsFault(step, attempt, settlement)
  if (settlement.outcome === 'success') {
    key.breaker = afterSuccess(now, leaseId, nowMs)
    // Attempts that began before this probe show how the key was before it recovered.
    if (key.breaker !== now) key.epoch += 1
  } else if (isKeysFailure) {
    const failure = { leaseId, panic: lease?.panic ?? false }
    key.breaker = afterFailure(now, failure, nowMs, state.policy.breaker)
  } else {
    key.breaker = afterNothing(now, leaseId)
  }
  if (key.breaker !== before) state.changes.keys.add(key.id)
}

/** Judges a failure of upstream's or the model's: see correlation.ts. */
function isModelsFault(step: Step, { key, model }: EndedAttempt, settlement: Settlement): boolean {
  const { fault, benches } = settlement
  const { state, nowMs } = step
  if (fault !== 'upstream' || model === null) return false
  const verdict = judgeFailure(state.correlation, model, key.id, nowMs)
  if (verdict.kind === 'counts') return false
  for (const [id, failures] of Map.groupBy(verdict.takenBack, ({ keyId }) => keyId)) {
    const other = state.keys.get(id)
    if (other === undefined) continue
    if (other.modelBenches.delete(model)) state.changes.keys.add(id)
    takeBack(
      state,
      other,
      failures.map((failure) => failure.atMs),
    )
  }
  // A wait that upstream named is the model's then.
  const term = benches.find(({ scope }) => scope === 'key_model')?.term ?? MODELS_FAULT.term
  benchModel(step, model, { ...MODELS_FAULT, term })
  return true
}

/** How long a model is benched that failed with two keys. It ends with the first success. */
const MODELS_FAULT: BenchOrder = {
  scope: 'model',
  reason: 'account_rate_limited',
  term: { kind: 'for', forMs: 15_000 },
}

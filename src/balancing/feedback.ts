import { afterSpending } from './accounting/credit.ts'
import { addSpend } from './accounting/max-spend.ts'
import { giveBackBatch } from './batches/batch-share.ts'
import { isFreeModel } from './eligibility.ts'
import { type Bench, benchOf, isActive, later, withoutRejection } from './health/bench.ts'
import {
  afterFailure,
  afterNothing,
  afterSuccess,
  asOf,
  withoutFailures,
} from './health/circuit-breaker.ts'
import { isAtFault, judgeFailure, noteSuccess } from './health/correlation.ts'
import { doubt } from './health/lookup-duty.ts'
import { putBench } from './health/model-benches.ts'
import { isWaveOn, noteAccepted, noteRefused, WAVE_BENCH_MS } from './health/rejection-wave.ts'
import { isSinceStrike, strike } from './health/strikes.ts'
import type { ModelId } from './ids.ts'
import { giveBackCharge } from './limits/charge.ts'
import type { RunningLease } from './limits/leases.ts'
import { deposit, withdraw } from './limits/retry-budget.ts'
import { noteSize } from './limits/size-note.ts'
import { giveBack, type SlidingWindow, take } from './limits/sliding-window.ts'
import { type KeyState, type PoolState, type Step, setLookup } from './pool-state.ts'
import { matchesModel } from './routes.ts'
import { type BenchOrder, type Settlement, tokensUsed, type Usage } from './settlement.ts'
import { observe } from './strategies/peak-ewma.ts'

/** What the pool learns of its keys from settlements. */

const MAX_MODEL_BENCHES = 500
const MAX_BENCHES_OF_KEY = 50

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
  if (settlement.suspect) setLookup(state, key, doubt(key.lookup, nowMs))
  if (settlement.affordableTokens !== undefined) key.affordableTokens = settlement.affordableTokens
  learnSize(key, settlement, nowMs)
  if (settlement.firstOutputMs !== undefined) {
    key.latency = observe(key.latency, settlement.firstOutputMs, nowMs)
  }
  if (lease !== null) correctTokens(key, lease, settlement, nowMs)
  if (settlement.usage !== undefined) learnCost(state, key, settlement.usage, nowMs)
}

/** Notes the size of a request that the key, or its account, could not pay for. */
function learnSize(key: KeyState, { tooLargeFor, lease }: Settlement, nowMs: number): void {
  const size = lease?.size
  if (tooLargeFor === undefined || size === undefined) return
  const refused = { keyId: key.id, size }
  if (tooLargeFor === 'account') {
    key.account.tooLarge = noteSize(key.account.tooLarge, refused, null, nowMs)
    return
  }
  const resetsAtMs = key.credit.kind === 'known' ? key.credit.resetsAtMs : null
  key.tooLarge = noteSize(key.tooLarge, refused, resetsAtMs, nowMs)
}

/** An attempt that has ended, as far as the pool still knows of it. */
interface EndedAttempt {
  readonly key: KeyState
  readonly lease: RunningLease | null
  readonly model: ModelId | null
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

/** Whether a bench of the model chooses between models: a route names it beside others. */
function isStoredModel(state: PoolState, model: ModelId): boolean {
  return state.routes.some(
    ({ config, models }) =>
      config.fallbackModels.length > 0 &&
      (config.fallbackModels.includes(model) ||
        models.some((pattern) => matchesModel(pattern, model))),
  )
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
  if (key.spend !== null && addSpend(key.spend, costUsd, state.meanCostUsd, nowMs)) {
    state.changes.spends.add(key.id)
  }
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

const WAVE_TERM = { kind: 'for', forMs: WAVE_BENCH_MS } as const

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

/** Whether an attempt began in the key's present epoch, so that it shows how the key is now. */
function isCurrent({ key, lease }: EndedAttempt, settlement: Settlement): boolean {
  if (lease !== null) return lease.epoch === key.epoch
  const { breaker } = key
  const recoveredAtMs = breaker.kind === 'closed' ? breaker.recoveredAtMs : null
  const beganAtMs = settlement.lease?.grantedAtMs ?? null
  return recoveredAtMs === null || beganAtMs === null || beganAtMs >= recoveredAtMs
}

function grantedAtMs({ lease }: EndedAttempt, settlement: Settlement): number | null {
  return lease?.grantedAtMs ?? settlement.lease?.grantedAtMs ?? null
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

function applyBench(
  step: Step,
  attempt: EndedAttempt,
  settlement: Settlement,
  order: BenchOrder,
): void {
  const { state, nowMs, random } = step
  const { key, model } = attempt
  const { account } = key
  const next = () => benchOf(order, 0, nowMs, random)
  switch (order.scope) {
    case 'key':
      if (isCurrent(attempt, settlement)) benchKey(step, attempt, order)
      return
    case 'key_model':
      if (isCurrent(attempt, settlement)) benchModelOfKey(step, attempt, next())
      return
    case 'account':
      if (!isActive(account.bench, nowMs)) account.keysWithoutRoom.clear()
      account.bench = later(account.bench, next(), nowMs)
      state.changes.accounts.add(account.id)
      return
    case 'account_free':
      benchFreeModels(step, attempt, next())
      return
    case 'account_model':
      if (model === null) return
      putBench(account.modelBenches, model, next(), { most: MAX_MODEL_BENCHES, nowMs })
      state.changes.accounts.add(account.id)
      return
    case 'model':
      if (model !== null) benchModel(step, model, order)
      return
    case 'creator':
    case 'workspace': {
      const group = key[order.scope]
      // While it is unknown which keys the budget covers, it covers this one.
      if (group === null) {
        applyBench(step, attempt, settlement, { ...order, scope: 'key' })
        return
      }
      group.bench = later(group.bench, next(), nowMs)
      state.changes.accounts.add(group.id)
    }
  }
}

function benchKey({ state, nowMs, random }: Step, attempt: EndedAttempt, order: BenchOrder): void {
  const { key, lease } = attempt
  const isWave = order.reason === 'key_rejected' && isWaveOn(state.rejections, nowMs)
  const given = isWave ? { ...order, term: WAVE_TERM } : order
  const next = benchOf(given, strike(key, lease, order, nowMs), nowMs, random)
  key.bench = later(key.bench, next, nowMs)
  state.changes.keys.add(key.id)
}

/** Benches one model of a key, unless the model is at fault with every key. */
function benchModelOfKey({ state, nowMs }: Step, { key, model }: EndedAttempt, bench: Bench): void {
  if (model === null || isAtFault(state.correlation, model)) return
  putBench(key.modelBenches, model, bench, { most: MAX_BENCHES_OF_KEY, nowMs })
  state.changes.keys.add(key.id)
}

/** Benches the free models of an account, and the name that was refused. */
function benchFreeModels({ state, nowMs }: Step, { key, model }: EndedAttempt, bench: Bench): void {
  const { account } = key
  account.freeBench = later(account.freeBench, bench, nowMs)
  state.changes.accounts.add(account.id)
  if (model === null || !isFreeByAnotherName(state, model)) return
  putBench(account.modelBenches, model, bench, { most: MAX_MODEL_BENCHES, nowMs })
}

/**
 * Whether a model that met the free tier's limit has a name that does not tell that it is free. An
 * answer of it that was paid for shows that the limit was not its own: a caller may name a paid model,
 * and beside it in `models` a free one.
 */
function isFreeByAnotherName({ ledger }: PoolState, model: ModelId): boolean {
  return !isFreeModel(model) && (ledger.byModel.get(model)?.total.costUsd ?? 0) === 0
}

/** One hint of a day must not put a model off through a hundred successes of its fallback. */
const MAX_MODEL_BENCH_MS = 5 * 60_000

/** Benches a model everywhere. Written down once when it begins, and not with each failure. */
function benchModel({ state, nowMs, random }: Step, model: ModelId, order: BenchOrder): void {
  const wasActive = isActive(state.modelBenches.get(model) ?? null, nowMs)
  const bench = benchOf(order, 0, nowMs, random)
  const untilMs = Math.min(bench.untilMs ?? Number.POSITIVE_INFINITY, nowMs + MAX_MODEL_BENCH_MS)
  putBench(state.modelBenches, model, { ...bench, untilMs }, { most: MAX_MODEL_BENCHES, nowMs })
  if (!wasActive && isStoredModel(state, model)) state.changes.models = true
}

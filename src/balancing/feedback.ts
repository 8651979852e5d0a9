import { afterFailedLookup, afterSpending } from './accounting/credit.ts'
import { addSpend } from './accounting/max-spend.ts'
import { isFreeModel } from './eligibility.ts'
import { benchOf, isActive, later, putBench } from './health/bench.ts'
import {
  afterFailure,
  afterNothing,
  afterSuccess,
  asOf,
  withoutFailures,
} from './health/circuit-breaker.ts'
import { judgeFailure, noteSuccess } from './health/correlation.ts'
import type { KeyReport } from './health/key-report.ts'
import {
  accountBenchAfterReport,
  benchAfterReport,
  freeBenchAfterReport,
  hasRoom,
} from './health/key-report.ts'
import { afterReport, doubt } from './health/lookup-duty.ts'
import type { ModelId } from './ids.ts'
import { giveBackCharge } from './limits/charge.ts'
import type { RunningLease } from './limits/leases.ts'
import { deposit, withdraw } from './limits/retry-budget.ts'
import { afterLookup, noteSize } from './limits/size-note.ts'
import { giveBack, take } from './limits/sliding-window.ts'
import {
  type KeyState,
  learnGroups,
  learnOwner,
  type PoolState,
  type Step,
  setLookup,
} from './pool-state.ts'
import { matchesModel } from './routes.ts'
import type { BenchOrder, Settlement, Usage } from './settlement.ts'
import { observe } from './strategies/peak-ewma.ts'

/** What the pool learns of its keys from settlements and from key reports. */

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
  updateBreaker(step, attempt, settlement)
  for (const order of settlement.benches) applyBench(step, attempt, settlement, order)
  if (settlement.outcome === 'success') {
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
  const budgeted = { model: lease.model, policy: state.policy.retryBudget }
  if (lease.attempt === 'first') deposit(state.retryBudget, budgeted, nowMs, -1)
  if (lease.attempt === 'retry') withdraw(state.retryBudget, budgeted, nowMs, -1)
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

function learnCost(state: PoolState, key: KeyState, usage: Usage, nowMs: number): void {
  const tokens = usage.promptTokens + usage.completionTokens
  // A stream that was cut has cost something, although it did not say how much.
  const isUntold = usage.estimated && usage.costUsd === 0
  const costUsd = isUntold ? tokens * state.meanTokenUsd : usage.costUsd
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
  const { window } = key.tpm
  if (used > lease.tokens) take(window, used - lease.tokens, nowMs)
  else giveBack(window, lease.tokens - used, lease.chargedAtMs, nowMs)
}

/**
 * The tokens that an attempt used. A failure that reports no usage used none. Null if unknown:
 * a success that reports no usage, or an attempt with the fault `nobody`.
 */
function tokensUsed({ outcome, fault, usage }: Settlement): number | null {
  if (usage !== undefined) return usage.promptTokens + usage.completionTokens
  return outcome === 'success' || fault === 'nobody' ? null : 0
}

function updateBreaker(step: Step, attempt: EndedAttempt, settlement: Settlement): void {
  const { state, nowMs } = step
  const { key, lease } = attempt
  const before = key.breaker
  const now = asOf(before, nowMs)
  const { leaseId } = settlement
  const isKeysFailure =
    settlement.outcome === 'failure' &&
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
  const grantedAtMs = settlement.lease?.grantedAtMs ?? null
  return recoveredAtMs === null || grantedAtMs === null || grantedAtMs >= recoveredAtMs
}

/** Judges a failure of upstream's or the model's: see correlation.ts. */
function isModelsFault(step: Step, { key, model }: EndedAttempt, { fault }: Settlement): boolean {
  const { state, nowMs } = step
  if (fault !== 'upstream' || model === null) return false
  const verdict = judgeFailure(state.correlation, model, key.id, nowMs)
  if (verdict.kind === 'counts') return false
  for (const [id, failures] of Map.groupBy(verdict.takenBack, ({ keyId }) => keyId)) {
    const other = state.keys.get(id)
    if (other === undefined) continue
    const atMs = failures.map((failure) => failure.atMs)
    const breaker = withoutFailures(other.breaker, atMs, state.policy.breaker)
    if (breaker !== other.breaker) state.changes.keys.add(id)
    other.breaker = breaker
    state.queue.changed.add(id)
  }
  benchModel(step, model, MODELS_FAULT)
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
  const { key, lease, model } = attempt
  const { account } = key
  switch (order.scope) {
    case 'key': {
      if (!isCurrent(attempt, settlement)) return
      const next = benchOf(order, strike(key, lease, order, nowMs), nowMs, random)
      key.bench = later(key.bench, next, nowMs)
      state.changes.keys.add(key.id)
      return
    }
    case 'account':
      if (!isActive(account.bench, nowMs)) account.keysWithoutRoom.clear()
      account.bench = later(account.bench, benchOf(order, 0, nowMs, random), nowMs)
      state.changes.accounts.add(account.id)
      return
    case 'account_free': {
      const bench = benchOf(order, 0, nowMs, random)
      account.freeBench = later(account.freeBench, bench, nowMs)
      // OpenRouter also counts models as free whose names do not say so.
      if (model !== null && !isFreeModel(model)) {
        putBench(account.modelBenches, model, bench, nowMs)
      }
      state.changes.accounts.add(account.id)
      return
    }
    case 'account_model':
      if (model === null) return
      putBench(account.modelBenches, model, benchOf(order, 0, nowMs, random), nowMs)
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
      group.bench = later(group.bench, benchOf(order, 0, nowMs, random), nowMs)
      state.changes.accounts.add(group.id)
      return
    }
  }
}

/** One hint of a day must not put a model off through a hundred successes of its fallback. */
const MAX_MODEL_BENCH_MS = 5 * 60_000

/** Benches a model everywhere. Written down once when it begins, and not with each failure. */
function benchModel({ state, nowMs, random }: Step, model: ModelId, order: BenchOrder): void {
  const wasActive = isActive(state.modelBenches.get(model) ?? null, nowMs)
  const bench = benchOf(order, 0, nowMs, random)
  const untilMs = Math.min(bench.untilMs ?? Number.POSITIVE_INFINITY, nowMs + MAX_MODEL_BENCH_MS)
  putBench(state.modelBenches, model, { ...bench, untilMs }, nowMs)
  if (!wasActive && isStoredModel(state, model)) state.changes.models = true
}

/**
 * How many strikes came before this order. A `backoff` order is a strike. But ten requests that
 * were running together when the limit was reached are one strike, not ten: only a lease that was
 * granted after the last strike adds to the count.
 */
function strike(
  key: KeyState,
  lease: RunningLease | null,
  order: BenchOrder,
  nowMs: number,
): number {
  if (order.term.kind !== 'backoff') return 0
  if (lease === null || (key.strikes > 0 && !isSinceStrike(key, lease))) {
    return Math.max(0, key.strikes - 1)
  }
  key.strikes += 1
  key.struckAtMs = nowMs
  return key.strikes - 1
}

/**
 * Whether a lease was granted after the key's last strike, so that its outcome shows the key's
 * state since then. A long answer that was already running does not show it. Neither does a lease
 * of the same millisecond: a strike benches the key, so that lease was granted before the strike.
 */
function isSinceStrike(key: KeyState, lease: RunningLease | null): boolean {
  return lease !== null && lease.grantedAtMs > key.struckAtMs
}

/** Learns from a key report: the key's credit and owner, and whether benches have ended. */
export function learnFromReport(
  state: PoolState,
  key: KeyState,
  lookup: KeyReport,
  nowMs: number,
): void {
  if (!isOfSecret(key, lookup)) return
  const bench = benchAfterReport(key.bench, lookup, nowMs)
  if (bench !== key.bench) state.changes.keys.add(key.id)
  key.bench = bench
  setLookup(state, key, afterReport(key.lookup, lookup, nowMs, refreshOf(state, key)))
  if (lookup.kind === 'valid') learnFromAnswer(state, key, lookup, nowMs)
  else if (lookup.kind === 'unknown') key.credit = afterFailedLookup(key.credit)
}

/** During a deployment, a Worker of the old version may have looked up an old secret of the key. */
function isOfSecret({ config }: KeyState, lookup: KeyReport): boolean {
  if (lookup.kind === 'unknown' || lookup.fingerprint === undefined) return true
  return lookup.fingerprint === config.fingerprint
}

/** Lookups that fell into step would stay in it, and a thousand keys be asked about in one second. */
const SPREAD = 0.2

/** After how long a key is looked up again: each key of a pool has a moment of its own. */
function refreshOf(state: PoolState, key: KeyState): number {
  return state.policy.credit.refreshMs * (1 + (SPREAD * key.position) / state.keys.size)
}

function learnFromAnswer(
  state: PoolState,
  key: KeyState,
  lookup: ValidReport,
  nowMs: number,
): void {
  const { limitUsd, remainingUsd, resetsAtMs, askedAtMs, owner, layer = null } = lookup
  // Reports may overtake each other.
  if (key.credit.kind === 'known' && askedAtMs < key.credit.asOfMs) return
  key.expiresAtMs = lookup.expiresAtMs
  // An answer that the pool already knows says nothing about later spending.
  if (key.credit.kind === 'unknown' || key.credit.asOfMs !== askedAtMs) {
    const amounts = { limitUsd, remainingUsd, resetsAtMs, layer } as const
    const answer = { kind: 'known', ...amounts, stale: false } as const
    // The answer may or may not include spending that was settled since the duty was handed out.
    // It is safer to count that spending twice.
    key.credit = afterSpending({ ...answer, asOfMs: askedAtMs }, key.spentSinceAskedUsd, nowMs)
  }
  const { account } = key
  const hadNoRoom = account.keysWithoutRoom.has(key.id)
  const accountBench = accountBenchAfterReport(account.bench, hadNoRoom, lookup, nowMs)
  if (accountBench !== account.bench) state.changes.accounts.add(account.id)
  account.bench = accountBench
  if (isActive(accountBench, nowMs) && !hasRoom(lookup) && !hadNoRoom) {
    account.keysWithoutRoom.add(key.id)
    state.changes.accounts.add(account.id)
  }
  if (owner !== null && owner !== key.owner) {
    learnOwner(state, key, owner, nowMs)
    state.changes.keys.add(key.id)
  }
  key.tooLarge = afterLookup(key.tooLarge, lookup)
  key.account.tooLarge = afterLookup(key.account.tooLarge, lookup)
  learnGroups(state, key, lookup)
  learnFreeTier(state, key, lookup, nowMs)
}

type ValidReport = Extract<KeyReport, { kind: 'valid' }>

/** Learns whether the key's account has requests for free models left. */
function learnFreeTier(state: PoolState, key: KeyState, lookup: ValidReport, nowMs: number): void {
  const { account } = key
  const bench = freeBenchAfterReport(account.freeBench, lookup, nowMs)
  if (bench !== account.freeBench) state.changes.accounts.add(account.id)
  account.freeBench = bench
}

import { isFreeModel } from '../eligibility.ts'
import { type Bench, benchOf, isActive, later } from '../health/bench.ts'
import { isAtFault } from '../health/correlation.ts'
import { putBench } from '../health/model-benches.ts'
import { isWaveOn, WAVE_BENCH_MS } from '../health/rejection-wave.ts'
import { strike } from '../health/strikes.ts'
import type { ModelId } from '../ids.ts'
import type { KeyState, PoolState, Step } from '../pool-state.ts'
import { matchesModel } from '../routes.ts'
import type { BenchOrder, Settlement } from '../settlement.ts'
import { type EndedAttempt, isBeforeResetOf, isCurrent } from './ended-attempt.ts'

/** What attempts bench. */

const MAX_MODEL_BENCHES = 500
const MAX_BENCHES_OF_KEY = 50

/** How long a key is benched for while the platform refuses everybody. */
export const WAVE_TERM = { kind: 'for', forMs: WAVE_BENCH_MS } as const

/** Whether a bench of the model chooses between models: a route names it beside others. */
export function isStoredModel(state: PoolState, model: ModelId): boolean {
  return state.routes.some(
    ({ config, models }) =>
      config.fallbackModels.length > 0 &&
      (config.fallbackModels.includes(model) ||
        models.some((pattern) => matchesModel(pattern, model))),
  )
}

/** What an order benches beside the key: its account, or the keys that share a budget with it. */
function groupOfOrder({ account, creator, workspace }: KeyState, { scope }: BenchOrder) {
  switch (scope) {
    case 'account':
    case 'account_free':
    case 'account_model':
      return account
    case 'creator':
      return creator
    case 'workspace':
      return workspace
    case 'key':
    case 'key_model':
    case 'model':
      return null
  }
}

/** A scope of a newer release has no group here, and benches nothing. */
function isOutdated(attempt: EndedAttempt, settlement: Settlement, order: BenchOrder): boolean {
  const benched = groupOfOrder(attempt.key, order) ?? null
  return benched !== null && isBeforeResetOf(benched, attempt, settlement)
}

/** Benches what an attempt says. */
export function applyBench(
  step: Step,
  attempt: EndedAttempt,
  settlement: Settlement,
  order: BenchOrder,
): void {
  const { state, nowMs, random } = step
  const { key, model } = attempt
  const { account } = key
  if (isOutdated(attempt, settlement, order)) return
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
export function benchModel(
  { state, nowMs, random }: Step,
  model: ModelId,
  order: BenchOrder,
): void {
  const wasActive = isActive(state.modelBenches.get(model) ?? null, nowMs)
  const bench = benchOf(order, 0, nowMs, random)
  const untilMs = Math.min(bench.untilMs ?? Number.POSITIVE_INFINITY, nowMs + MAX_MODEL_BENCH_MS)
  putBench(state.modelBenches, model, { ...bench, untilMs }, { most: MAX_MODEL_BENCHES, nowMs })
  if (!wasActive && isStoredModel(state, model)) state.changes.models = true
}

import { afterFailedLookup, afterSpending } from './accounting/credit.ts'
import { accountOf, createAccount, merge } from './health/account.ts'
import { type Bench, benchOf, isActive, later } from './health/bench.ts'
import { afterFailure, afterNothing, afterSuccess, asOf } from './health/circuit-breaker.ts'
import type { KeyReport } from './health/key-report.ts'
import { accountBenchAfterReport, benchAfterReport, hasRoom } from './health/key-report.ts'
import { afterReport, doubt } from './health/lookup-duty.ts'
import type { ModelId } from './ids.ts'
import type { Lease } from './limits/leases.ts'
import { giveBack, take } from './limits/sliding-window.ts'
import type { KeyState, PoolState, Step } from './pool-state.ts'
import type { BenchOrder, Settlement, Usage } from './settlement.ts'
import { observe } from './strategies/peak-ewma.ts'

/** What the pool learns of its keys from settlements and from key reports. */

/**
 * Model names come from callers, so the number of benched models is bounded. At this number ended
 * benches are removed. If it is still reached, no further model is benched.
 */
const MAX_MODEL_BENCHES = 500

/** The weight of the latest answer in the mean cost. */
const LATEST_COST_SHARE = 0.05

/**
 * Learns from an attempt that ended.
 * @param lease null if a restart has forgotten it
 */
export function learnFromSettlement(
  step: Step,
  key: KeyState,
  lease: Lease | null,
  settlement: Settlement,
): void {
  const { state, nowMs } = step
  updateBreaker(step, key, lease, settlement)
  for (const order of settlement.benches) applyBench(step, key, lease, order)
  if (settlement.outcome === 'success' && key.strikes > 0 && isSinceStrike(key, lease)) {
    key.strikes = 0
    state.changes.keys.add(key.id)
  }
  if (settlement.suspect) key.lookup = doubt(key.lookup, nowMs)
  if (settlement.affordableTokens !== undefined) key.affordableTokens = settlement.affordableTokens
  if (settlement.firstOutputMs !== undefined) {
    key.latency = observe(key.latency, settlement.firstOutputMs, nowMs)
  }
  if (lease !== null) correctTokens(key, lease, settlement, nowMs)
  if (settlement.usage !== undefined) learnCost(state, key, settlement.usage, nowMs)
}

/** The weight of the latest lease in the mean lease time. */
const LATEST_HOLD_SHARE = 0.2

/** Learns how long a lease of the key lasted. */
export function learnHold(key: KeyState, heldMs: number): void {
  const mean = key.meanHoldMs ?? heldMs
  key.meanHoldMs = mean + LATEST_HOLD_SHARE * (heldMs - mean)
}

function learnCost(state: PoolState, key: KeyState, usage: Usage, nowMs: number): void {
  key.credit = afterSpending(key.credit, usage.costUsd, nowMs)
  key.spentSinceAskedUsd += usage.costUsd
  if (usage.estimated) return
  const share = state.meanCostUsd === 0 ? 1 : LATEST_COST_SHARE
  state.meanCostUsd += share * (usage.costUsd - state.meanCostUsd)
}

/** Replaces the tokens that were reserved by those that were really used. */
function correctTokens(key: KeyState, lease: Lease, settlement: Settlement, nowMs: number): void {
  if (key.tpm === null) return
  const used = tokensUsed(settlement)
  if (used === null) return
  const { window } = key.tpm
  if (used > lease.tokens) take(window, used - lease.tokens, nowMs)
  else giveBack(window, lease.tokens - used, lease.grantedAtMs, nowMs)
}

/**
 * The tokens that an attempt used. A failure that reports no usage used none. Null if unknown:
 * a success that reports no usage, or an attempt with the fault `nobody`.
 */
function tokensUsed({ outcome, fault, usage }: Settlement): number | null {
  if (usage !== undefined) return usage.promptTokens + usage.completionTokens
  return outcome === 'success' || fault === 'nobody' ? null : 0
}

function updateBreaker(
  { state, nowMs }: Step,
  key: KeyState,
  lease: Lease | null,
  settlement: Settlement,
): void {
  const before = key.breaker
  const now = asOf(before, nowMs)
  const { leaseId } = settlement
  switch (settlement.outcome) {
    case 'success':
      key.breaker = afterSuccess(now, leaseId, nowMs)
      break
    case 'failure': {
      const failure = { leaseId, panic: lease?.panic ?? false }
      key.breaker = afterFailure(now, failure, nowMs, state.policy.breaker)
      break
    }
    case 'ignorable':
      key.breaker = afterNothing(now, leaseId)
      break
  }
  if (key.breaker !== before) state.changes.keys.add(key.id)
}

function applyBench(
  { state, nowMs, random }: Step,
  key: KeyState,
  lease: Lease | null,
  order: BenchOrder,
): void {
  const { account } = key
  switch (order.scope) {
    case 'key': {
      const next = benchOf(order, strike(key, lease, order, nowMs), nowMs, random)
      key.bench = later(key.bench, next, nowMs)
      state.changes.keys.add(key.id)
      return
    }
    case 'account':
      if (!isActive(account.bench, nowMs)) account.hadNoRoom = false
      account.bench = later(account.bench, benchOf(order, 0, nowMs, random), nowMs)
      state.changes.accounts.add(account.id)
      return
    case 'account_free':
      account.freeBench = later(account.freeBench, benchOf(order, 0, nowMs, random), nowMs)
      state.changes.accounts.add(account.id)
      return
    case 'account_model':
      if (lease === null) return
      benchModel(account.modelBenches, lease.model, benchOf(order, 0, nowMs, random), nowMs)
      state.changes.accounts.add(account.id)
      return
    case 'model':
      if (lease === null) return
      benchModel(state.modelBenches, lease.model, benchOf(order, 0, nowMs, random), nowMs)
      state.changes.models = true
      return
  }
}

/**
 * How many strikes came before this order. A `backoff` order is a strike. But ten requests that
 * were running together when the limit was reached are one strike, not ten: only a lease that was
 * granted after the last strike adds to the count.
 */
function strike(key: KeyState, lease: Lease | null, order: BenchOrder, nowMs: number): number {
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
function isSinceStrike(key: KeyState, lease: Lease | null): boolean {
  return lease !== null && lease.grantedAtMs > key.struckAtMs
}

function benchModel(
  benches: Map<ModelId, Bench>,
  model: ModelId,
  bench: Bench,
  nowMs: number,
): void {
  if (benches.size >= MAX_MODEL_BENCHES) {
    for (const [name, old] of benches) if (!isActive(old, nowMs)) benches.delete(name)
  }
  if (benches.size >= MAX_MODEL_BENCHES && !benches.has(model)) return
  benches.set(model, later(benches.get(model) ?? null, bench, nowMs))
}

/** Learns from a key report: the key's credit and owner, and whether benches have ended. */
export function learnFromReport(
  state: PoolState,
  key: KeyState,
  lookup: KeyReport,
  nowMs: number,
): void {
  const { refreshMs } = state.policy.credit
  const bench = benchAfterReport(key.bench, lookup, nowMs)
  if (bench !== key.bench) state.changes.keys.add(key.id)
  key.bench = bench
  key.lookup = afterReport(key.lookup, lookup, nowMs, refreshMs)
  if (lookup.kind === 'valid') learnFromAnswer(state, key, lookup, nowMs)
  else if (lookup.kind === 'unknown') key.credit = afterFailedLookup(key.credit)
}

function learnFromAnswer(
  state: PoolState,
  key: KeyState,
  lookup: Extract<KeyReport, { kind: 'valid' }>,
  nowMs: number,
): void {
  const { limitUsd, remainingUsd, resetsAtMs, askedAtMs, owner } = lookup
  key.expiresAtMs = lookup.expiresAtMs
  // An answer that the pool already knows says nothing about later spending.
  if (key.credit.kind === 'unknown' || key.credit.asOfMs !== askedAtMs) {
    const answer = { kind: 'known', limitUsd, remainingUsd, resetsAtMs, stale: false } as const
    // The answer may or may not include spending that was settled since the duty was handed out.
    // It is safer to count that spending twice.
    key.credit = afterSpending({ ...answer, asOfMs: askedAtMs }, key.spentSinceAskedUsd, nowMs)
  }
  const { account } = key
  const accountBench = accountBenchAfterReport(account.bench, account.hadNoRoom, lookup, nowMs)
  if (accountBench !== account.bench) state.changes.accounts.add(account.id)
  account.bench = accountBench
  if (isActive(accountBench, nowMs) && !hasRoom(lookup) && !account.hadNoRoom) {
    account.hadNoRoom = true
    state.changes.accounts.add(account.id)
  }
  if (owner !== null && owner !== key.owner) {
    key.owner = owner
    state.changes.keys.add(key.id)
    settleAccounts(state, nowMs)
  }
}

/** Moves every key to its account by what is known now, and drops accounts without keys. */
export function settleAccounts(state: PoolState, nowMs: number): void {
  const keys = [...state.keys.values()]
  for (const key of keys) {
    const id = accountOf(key, keys)
    if (id === key.account.id) continue
    const account = state.accounts.get(id) ?? createAccount(id)
    state.accounts.set(id, account)
    merge(key.account, account, nowMs)
    key.account = account
    state.changes.accounts.add(id)
  }
  const used = new Set(keys.map(({ account }) => account.id))
  for (const id of state.accounts.keys()) if (!used.has(id)) state.accounts.delete(id)
  for (const route of state.routes) route.members = null
}

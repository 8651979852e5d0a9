import { type Bench, benchOf, isActive, later } from './bench.ts'
import { afterFailure, afterNothing, afterSuccess, asOf, beginProbe } from './circuit-breaker.ts'
import { type Assessed, type Assessment, assess, type Needs } from './eligibility.ts'
import type { AccountId, ClientId, KeyId, LeaseId, ModelId } from './ids.ts'
import { afterLookup, hurry, isDue, nextLookup, takeOut } from './key-lookup.ts'
import { close, expire, type Lease, open } from './leases.ts'
import { book } from './ledger.ts'
import type { AccountState, KeyState, PoolState } from './pool-state.ts'
import { REASONS, type Reason, type ReasonCounts } from './reasons.ts'
import { canWithdraw, deposit, withdraw } from './retry-budget.ts'
import { isNonEmpty, type Random } from './selection.ts'
import type { BenchOrder, Lookup, Settlement } from './settlement.ts'
import { shareOf, takesPart } from './slow-start.ts'
import { STRATEGIES } from './strategy.ts'

/**
 * The reducer: every decision about the pool is one of these synchronous steps
 * over plain data, so nothing can come between choosing a key and counting it.
 */

export interface Want extends Needs {
  /** Minted by the asker: asking again with the same id grants nothing twice. */
  readonly leaseId: LeaseId
  readonly clientId: ClientId
  /**
   * `first` pays into the retry budget, `retry` (an upstream fault) is paid from it,
   * `move` (a key's or account's fault) is free: it is bounded by the pool.
   */
  readonly attempt: 'first' | 'move' | 'retry'
  /** How long the lease may be held before it expires. */
  readonly leaseMs: number
}

export interface Grant {
  readonly kind: 'grant'
  readonly leaseId: LeaseId
  readonly keyId: KeyId
  readonly accountId: AccountId
}

export interface Refusal {
  readonly kind: 'refusal'
  /** `ended`: this lease id was granted before and is over. */
  readonly cause: 'no_key' | 'retry_budget' | 'ended'
  readonly reasons: ReasonCounts
  /** The earliest moment at which a key may be free; null when no passing of time frees one. */
  readonly retryAtMs: number | null
}

/** So that one request does not end up looking after the whole pool. */
const LOOKUPS_PER_STEP = 4

/** Model names come from callers; benches that ended are swept when there are this many. */
const MAX_MODEL_BENCHES = 500

/** What one step changed of what must not be lost; `models` is null where no model's bench did. */
export interface ChangedRecords {
  readonly keys: readonly KeyState[]
  readonly accounts: readonly AccountState[]
  readonly models: ReadonlyMap<ModelId, Bench> | null
}

/** Decides which key serves, and takes a lease on it. */
export function acquire(
  state: PoolState,
  want: Want,
  nowMs: number,
  random: Random,
): Grant | Refusal {
  tick(state, nowMs)
  const open = state.leases.live.get(want.leaseId)
  if (open !== undefined) return granted(state, open)
  if (state.leases.ended.has(want.leaseId)) return refused('ended', [])
  const assessed = assess(state, want, nowMs)
  // Asked before a key is chosen: choosing takes a turn, which a refused retry must not cost.
  if (want.attempt === 'retry' && assessed.eligible.length > 0) {
    const paid = canWithdraw(state.retryBudget, state.policy.retryBudget, nowMs)
    if (!paid) return refused('retry_budget', [])
  }
  const key = choose(state, assessed, nowMs, random)
  if (key === null) return refused('no_key', assessed.excluded)
  // Paid at the grant, so that a request which has to ask often pays in once.
  if (want.attempt === 'first') deposit(state.retryBudget, state.policy.retryBudget, nowMs)
  if (want.attempt === 'retry') withdraw(state.retryBudget)
  return granted(state, grant(state, key, want, assessed.panic, nowMs))
}

function choose(
  state: PoolState,
  { eligible, panic }: Assessed,
  nowMs: number,
  random: Random,
): KeyState | null {
  for (const key of eligible) key.share = panic ? 1 : shareOf(key.breaker, nowMs)
  const ready = panic ? eligible : eligible.filter((key) => takesPart(key.breaker, nowMs, random))
  const candidates = ready.length > 0 ? ready : eligible
  return isNonEmpty(candidates) ? STRATEGIES[state.policy.strategy](candidates, random) : null
}

function grant(state: PoolState, key: KeyState, want: Want, panic: boolean, nowMs: number): Lease {
  const lease: Lease = {
    id: want.leaseId,
    keyId: key.id,
    clientId: want.clientId,
    model: want.model,
    grantedAtMs: nowMs,
    expiresAtMs: nowMs + want.leaseMs,
    panic,
  }
  open(state.leases, lease)
  state.turns += 1
  key.lastTurn = state.turns
  key.inFlight += 1
  key.breaker = beginProbe(asOf(key.breaker, nowMs), lease.id)
  return lease
}

function granted(state: PoolState, lease: Lease): Grant | Refusal {
  const key = state.keys.get(lease.keyId)
  if (key === undefined) return refused('ended', [])
  return { kind: 'grant', leaseId: lease.id, keyId: key.id, accountId: key.account.id }
}

function refused(cause: Refusal['cause'], excluded: readonly Assessment[]): Refusal {
  return {
    kind: 'refusal',
    cause,
    reasons: countReasons(excluded),
    retryAtMs: earliest(excluded.map(clearsAtMs)),
  }
}

function countReasons(excluded: readonly Assessment[]): ReasonCounts {
  const counts: ReasonCounts = {}
  for (const { obstacles } of excluded) {
    const reason = firstReason(obstacles.map((obstacle) => obstacle.reason))
    if (reason !== null) counts[reason] = (counts[reason] ?? 0) + 1
  }
  return counts
}

function firstReason(reasons: readonly Reason[]): Reason | null {
  return REASONS.find((reason) => reasons.includes(reason)) ?? null
}

/** A key is free when the last of its obstacles is gone; never, if one of them doesn't go. */
function clearsAtMs({ obstacles }: Assessment): number | null {
  let latestMs = 0
  for (const obstacle of obstacles) {
    if (obstacle.clearsAtMs === null) return null
    latestMs = Math.max(latestMs, obstacle.clearsAtMs)
  }
  return latestMs
}

function earliest(moments: readonly (number | null)[]): number | null {
  const known = moments.filter((moment) => moment !== null)
  return known.length === 0 ? null : Math.min(...known)
}

/** Gives a lease back and learns from its attempt. A second settlement of one lease does nothing. */
export function settle(
  state: PoolState,
  settlement: Settlement,
  nowMs: number,
  random: Random,
): void {
  tick(state, nowMs)
  const closing = close(state.leases, settlement.leaseId, nowMs)
  if (closing.kind === 'duplicate') return
  const lease = closing.kind === 'forgotten' ? null : closing.lease
  const key = state.keys.get(lease?.keyId ?? settlement.keyId)
  if (key === undefined) return
  if (closing.kind === 'live') key.inFlight -= 1
  learn(state, key, lease, settlement, nowMs, random)
  book(
    state.ledger,
    {
      keyId: key.id,
      model: lease?.model ?? null,
      clientId: lease?.clientId ?? null,
      outcome: settlement.outcome,
      fault: settlement.fault,
      usage: settlement.usage,
    },
    nowMs,
  )
}

function learn(
  state: PoolState,
  key: KeyState,
  lease: Lease | null,
  settlement: Settlement,
  nowMs: number,
  random: Random,
): void {
  updateBreaker(state, key, lease, settlement, nowMs)
  for (const order of settlement.benches) {
    carryOut(state, key, lease, order, nowMs, random)
  }
  if (settlement.outcome === 'success' && isSinceStrike(key, lease)) key.strikes = 0
  if (settlement.suspect) key.lookup = hurry(key.lookup, nowMs, key.lookedUpAtMs)
  if (settlement.affordableTokens !== undefined) key.affordableTokens = settlement.affordableTokens
}

function updateBreaker(
  state: PoolState,
  key: KeyState,
  lease: Lease | null,
  settlement: Settlement,
  nowMs: number,
): void {
  const before = key.breaker
  const now = asOf(before, nowMs)
  const { leaseId } = settlement
  switch (settlement.outcome) {
    case 'success':
      key.breaker = afterSuccess(now, leaseId, nowMs)
      break
    case 'failure':
      key.breaker = afterFailure(now, leaseId, lease?.panic ?? false, nowMs, state.policy.breaker)
      break
    case 'ignorable':
      key.breaker = afterNothing(now, leaseId)
      break
  }
  if (key.breaker !== before) state.changes.keys.add(key.id)
}

function carryOut(
  state: PoolState,
  key: KeyState,
  lease: Lease | null,
  order: BenchOrder,
  nowMs: number,
  random: Random,
): void {
  const { account } = key
  switch (order.scope) {
    case 'key': {
      const next = benchOf(order, strike(key, lease, order, nowMs), nowMs, random)
      key.bench = later(key.bench, next, nowMs)
      if (key.lookup.kind === 'none') key.lookup = nextLookup(key.bench, nowMs)
      state.changes.keys.add(key.id)
      return
    }
    case 'account':
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
 * How many backoff orders went before this one. Ten requests that were out
 * together when the limit struck are one strike, not ten: only a lease granted
 * after the last strike adds to the count.
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
 * Whether a lease can tell how the key is since its last strike. A long answer
 * that was already running cannot. Nor can a lease of the same millisecond: a
 * strike benches the key, so it was granted before.
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

/** Lets time pass: leases whose time is over end, and the capacity they held is free again. */
export function tick(state: PoolState, nowMs: number): void {
  for (const lease of expire(state.leases, nowMs)) {
    const key = state.keys.get(lease.keyId)
    if (key === undefined) continue
    key.inFlight -= 1
    key.breaker = afterNothing(key.breaker, lease.id)
  }
}

/** Hands out the lookups that are due, each to one asker at a time, a few per step. */
export function takeLookups(state: PoolState, nowMs: number): KeyId[] {
  const due: KeyId[] = []
  for (const key of state.keys.values()) {
    if (due.length === LOOKUPS_PER_STEP) break
    if (key.config.disabled || !isDue(key.lookup, nowMs)) continue
    key.lookup = takeOut(nowMs)
    due.push(key.id)
  }
  return due
}

/** Learns what a lookup found. */
export function observe(state: PoolState, lookup: Lookup, nowMs: number): void {
  const key = state.keys.get(lookup.keyId)
  if (key === undefined) return
  const bench = afterLookup(key.bench, lookup, nowMs)
  if (bench !== key.bench) state.changes.keys.add(key.id)
  key.bench = bench
  key.lookedUpAtMs = nowMs
  key.lookup = nextLookup(bench, nowMs)
}

/** Takes the records that have to be written before this step is answered. */
export function takeChanges(state: PoolState): ChangedRecords {
  const { changes, modelBenches } = state
  const keys = [...changes.keys].flatMap((id) => state.keys.get(id) ?? [])
  const accounts = [...changes.accounts].flatMap((id) => state.accounts.get(id) ?? [])
  const models = changes.models ? modelBenches : null
  changes.keys.clear()
  changes.accounts.clear()
  changes.models = false
  return { keys, accounts, models }
}

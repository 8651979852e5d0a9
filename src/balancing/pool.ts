import { rememberGeneration } from './accounting/generations.ts'
import { book } from './accounting/ledger.ts'
import { countRequest, remember } from './affinity/affinity.ts'
import { learnFromLookup, learnFromSettlement, learnHold } from './feedback.ts'
import type { AccountState } from './health/account.ts'
import { type Bench, isActive } from './health/bench.ts'
import { afterNothing, asOf, beginProbe } from './health/circuit-breaker.ts'
import type { Lookup } from './health/key-report.ts'
import { handOut, isDue, type LookupOrder } from './health/lookup-duty.ts'
import type { KeyId, LeaseId, ModelId } from './ids.ts'
import type { Decision, Grant, Refusal, Waiting, Want } from './lease-request.ts'
import { close, expire, type Lease, open } from './limits/leases.ts'
import { canWithdraw, deposit, withdraw } from './limits/retry-budget.ts'
import { take } from './limits/sliding-window.ts'
import { isAbandoned, laneOf } from './limits/waiting-queue.ts'
import type { KeyState, PoolState } from './pool-state.ts'
import type { Random } from './random.ts'
import { type Blockage, blockageOf, choiceOf, choose, outlookFor, routeOf } from './selection.ts'
import type { Settlement } from './settlement.ts'

/**
 * The reducer: every decision about the pool is one of these synchronous steps
 * over plain data, so nothing can come between choosing a key and counting it.
 */

/** So that one request does not end up looking after the whole pool. */
const LOOKUPS_PER_STEP = 4

/** How long a lease for a request that waited is kept for it to be fetched. */
const PICK_UP_MS = 5_000

/** What one step changed of what must not be lost; `models` is null where no model's bench did. */
export interface ChangedRecords {
  readonly keys: readonly KeyState[]
  readonly accounts: readonly AccountState[]
  readonly models: ReadonlyMap<ModelId, Bench> | null
}

/** A key to be looked up by whoever is handed this. */
export interface HandedLookup extends LookupOrder {
  readonly keyId: KeyId
  /** Whether the account's own balance should be asked for too, where OpenRouter tells it. */
  readonly withBalance: boolean
}

/** Decides which key serves and takes a lease on it, or lets the request wait, or refuses it. */
export function acquire(state: PoolState, want: Want, nowMs: number, random: Random): Decision {
  tick(state, nowMs)
  const known = claim(state, want.leaseId, nowMs)
  if (known !== null) return known
  const claimed = serveQueue(state, nowMs, random)
  const decided = behind(state, want, nowMs) ?? decide(state, want, claimed, nowMs, random)
  if (decided.kind !== 'blocked') return decided
  return enqueue(state, want, decided, nowMs) ?? decided.refusal
}

/**
 * What has become of a lease that was asked for before; null if it was not, or a
 * restart has forgotten it. Who waits calls this again and again.
 */
export function claim(state: PoolState, leaseId: LeaseId, nowMs: number): Decision | null {
  const lease = state.leases.live.get(leaseId)
  if (lease !== undefined) return granted(state, pickUp(state, lease, nowMs))
  if (state.leases.ended.has(leaseId)) return refused('ended')
  const waiter = state.queue.get(leaseId)
  if (waiter === undefined) return null
  waiter.seenAtMs = nowMs
  if (nowMs < waiter.deadlineMs) return { kind: 'waiting', leaseId }
  state.queue.delete(leaseId)
  return waiter.refusal
}

/** The term of a lease that was granted to a request in the queue begins when it is fetched. */
function pickUp(state: PoolState, lease: Lease, nowMs: number): Lease {
  if (lease.unclaimedMs === null) return lease
  const fetched = { ...lease, unclaimedMs: null, expiresAtMs: nowMs + lease.unclaimedMs }
  open(state.leases, fetched)
  return fetched
}

/**
 * Gives free keys to those who wait, first come first served.
 * @returns keys that one of them waits for, and which have room for smaller requests than its own
 */
export function serveQueue(state: PoolState, nowMs: number, random: Random): Set<KeyId> {
  const claimed = new Set<KeyId>()
  const blocked = new Map<string, Refusal>()
  for (const [leaseId, waiter] of state.queue) {
    if (isAbandoned(waiter, nowMs)) {
      state.queue.delete(leaseId)
      continue
    }
    const ahead = blocked.get(waiter.lane)
    if (ahead !== undefined) waiter.refusal = ahead
    if (nowMs >= waiter.deadlineMs || ahead !== undefined) continue
    const decided = decide(state, waiter.want, claimed, nowMs, random)
    switch (decided.kind) {
      case 'grant':
        state.queue.delete(leaseId)
        setAside(state, leaseId, nowMs)
        break
      case 'refusal':
        // The retry budget drips: there may be something in it before the time is up.
        waiter.refusal = decided
        break
      case 'blocked':
        blocked.set(waiter.lane, decided.refusal)
        waiter.refusal = decided.refusal
        for (const key of decided.shortOfTokens) claimed.add(key)
    }
  }
  return claimed
}

/** Keeps a lease for who waited for it, and for no longer than a living asker needs. */
function setAside(state: PoolState, leaseId: LeaseId, nowMs: number): void {
  const lease = state.leases.live.get(leaseId)
  if (lease === undefined) return
  const unclaimedMs = lease.expiresAtMs - lease.grantedAtMs
  open(state.leases, { ...lease, unclaimedMs, expiresAtMs: nowMs + PICK_UP_MS })
}

/** What keeps a request that comes after others of its lane from being served before them. */
function behind(state: PoolState, want: Want, nowMs: number): Blockage | null {
  if (state.queue.size === 0) return null
  const lane = laneOf(want)
  for (const waiter of state.queue.values()) {
    if (waiter.lane === lane && nowMs < waiter.deadlineMs) {
      return { kind: 'blocked', refusal: waiter.refusal, mayEndAtMs: nowMs, shortOfTokens: [] }
    }
  }
  return null
}

function enqueue(
  state: PoolState,
  want: Want,
  { refusal, mayEndAtMs }: Blockage,
  nowMs: number,
): Waiting | null {
  const { maxWaiting, maxWaitMs } = state.policy.queue
  const deadlineMs = nowMs + Math.min(want.waitMs, maxWaitMs)
  const isWorthWhile = mayEndAtMs !== null && mayEndAtMs < deadlineMs
  if (!isWorthWhile || state.queue.size >= maxWaiting) return null
  state.queue.set(want.leaseId, {
    want,
    lane: laneOf(want),
    deadlineMs,
    seenAtMs: nowMs,
    refusal,
  })
  return { kind: 'waiting', leaseId: want.leaseId }
}

function decide(
  state: PoolState,
  want: Want,
  claimed: ReadonlySet<KeyId>,
  nowMs: number,
  random: Random,
): Grant | Refusal | Blockage {
  const route = routeOf(state, want)
  const outlook = outlookFor(state, route, want, nowMs, claimed)
  if (outlook.kind === 'unserved') return blockageOf(outlook.prospects, nowMs)
  const { model, assessed } = outlook.prospect
  // Another model is no retry of what failed.
  const isRetry = want.attempt === 'retry' && model === want.models[0]
  const { retryBudget, policy } = state
  // Asked before a key is chosen: choosing takes a turn, which a refused retry must not cost.
  if (isRetry && !canWithdraw(retryBudget, policy.retryBudget, nowMs)) {
    return refused('retry_budget')
  }
  const choice = choiceOf(state, route, route.memory, nowMs, random)
  const key = choose(state, route, outlook, want.affinity, choice)
  // Paid at the grant, so that a request which has to ask often pays in once.
  if (want.attempt === 'first') deposit(retryBudget, policy.retryBudget, nowMs)
  if (isRetry) withdraw(retryBudget)
  return granted(state, grant(state, key, model, want, assessed.panic, nowMs))
}

function grant(
  state: PoolState,
  key: KeyState,
  model: ModelId,
  want: Want,
  panic: boolean,
  nowMs: number,
): Lease {
  const lease: Lease = {
    id: want.leaseId,
    keyId: key.id,
    clientId: want.clientId,
    model,
    grantedAtMs: nowMs,
    expiresAtMs: nowMs + want.leaseMs,
    tokens: want.tokens,
    unclaimedMs: null,
    panic,
  }
  open(state.leases, lease)
  state.turns += 1
  key.lastTurn = state.turns
  key.inFlight += 1
  key.breaker = beginProbe(asOf(key.breaker, nowMs), lease.id)
  if (key.rpm !== null) take(key.rpm.window, 1, nowMs)
  if (key.tpm !== null) take(key.tpm.window, want.tokens, nowMs)
  countRequest(state.affinities, key.account.id, nowMs)
  if (want.affinity?.kind === 'conversation') {
    remember(state.affinities, want.affinity.id, key.account.id, nowMs)
  }
  return lease
}

function granted(state: PoolState, lease: Lease): Grant | Refusal {
  const key = state.keys.get(lease.keyId)
  if (key === undefined) return refused('ended')
  const { id: leaseId, model } = lease
  return { kind: 'grant', leaseId, keyId: key.id, accountId: key.account.id, model }
}

function refused(cause: 'retry_budget' | 'ended'): Refusal {
  return { kind: 'refusal', cause, reasons: {}, retryAtMs: null }
}

/** Gives a lease back and learns from its attempt. A second settlement of one lease does nothing. */
export function settle(
  state: PoolState,
  settlement: Settlement,
  nowMs: number,
  random: Random,
): void {
  tick(state, nowMs)
  // Who gives up waiting settles what was never granted, and never will be.
  state.queue.delete(settlement.leaseId)
  const closing = close(state.leases, settlement.leaseId, nowMs)
  if (closing.kind === 'duplicate') return
  const lease = closing.kind === 'forgotten' ? null : closing.lease
  const key = state.keys.get(lease?.keyId ?? settlement.keyId)
  if (key === undefined) return
  if (closing.kind === 'live') {
    key.inFlight -= 1
    learnHold(key, nowMs - closing.lease.grantedAtMs)
  }
  learnFromSettlement(state, key, lease, settlement, nowMs, random)
  const { generationId } = settlement
  if (generationId !== undefined && lease !== null) {
    const { keyId, clientId } = lease
    rememberGeneration(state.generations, generationId, { keyId, clientId, atMs: nowMs })
  }
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

/** Lets time pass: leases whose time is over end, and the capacity they held is free again. */
export function tick(state: PoolState, nowMs: number): void {
  for (const lease of expire(state.leases, nowMs)) {
    const key = state.keys.get(lease.keyId)
    if (key === undefined) continue
    key.inFlight -= 1
    key.breaker = afterNothing(key.breaker, lease.id)
  }
}

/** When something happens by itself that those who wait should know of; null while nobody waits. */
export function wakeAtMs(state: PoolState): number | null {
  if (state.queue.size === 0) return null
  let earliestMs = state.leases.nextExpiryMs
  for (const { deadlineMs, refusal } of state.queue.values()) {
    earliestMs = Math.min(earliestMs, deadlineMs, refusal.retryAtMs ?? deadlineMs)
  }
  return earliestMs
}

/** Hands out the lookups that are due, each to one asker at a time, a few per step. */
export function takeLookups(state: PoolState, nowMs: number): HandedLookup[] {
  const { refreshMs } = state.policy.credit
  const handed: HandedLookup[] = []
  for (const key of state.keys.values()) {
    if (handed.length === LOOKUPS_PER_STEP) break
    if (key.config.disabled || !isDue(key.lookup, nowMs)) continue
    const { state: lookup, order } = handOut(key.lookup, nowMs, refreshMs)
    key.lookup = lookup
    key.spentSinceAskedUsd = 0
    const { bench } = key.account
    const withBalance = isActive(bench, nowMs) && bench.reason === 'account_out_of_credit'
    handed.push({ ...order, keyId: key.id, withBalance })
  }
  return handed
}

/** Learns what a lookup found. */
export function report(state: PoolState, lookup: Lookup, nowMs: number): void {
  const key = state.keys.get(lookup.keyId)
  if (key !== undefined) learnFromLookup(state, key, lookup, nowMs)
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

import { rememberGeneration } from './accounting/generations.ts'
import { book } from './accounting/ledger.ts'
import { type SpendRecord, spendRecord } from './accounting/max-spend.ts'
import { countRequest, remember } from './affinity/affinity.ts'
import { learnFromReport, learnFromSettlement, learnHold, undoLease } from './feedback.ts'
import type { AccountState } from './health/account.ts'
import { type Bench, isActive } from './health/bench.ts'
import { afterNothing, asOf, beginProbe } from './health/circuit-breaker.ts'
import type { KeyReport } from './health/key-report.ts'
import { dueAtMs, handOut, isDue, type LookupDuty } from './health/lookup-duty.ts'
import type { KeyId, LeaseId, ModelId } from './ids.ts'
import type { Decision, Grant, LeaseRequest, Refusal, Waiting } from './lease-request.ts'
import { close, expire, hasEnded, type Lease, open } from './limits/leases.ts'
import { canWithdraw, deposit, withdraw } from './limits/retry-budget.ts'
import { take } from './limits/sliding-window.ts'
import { isAbandoned, laneOf } from './limits/waiting-queue.ts'
import type { KeyState, PoolState, Step } from './pool-state.ts'
import type { Random } from './random.ts'
import { type NoCandidate, noCandidate, routeOf, selectKey, selectModel } from './selection.ts'
import type { LeaseTerms, Settlement } from './settlement.ts'

/**
 * The reducer. Every decision about the pool is one of these synchronous steps over plain data.
 * So no other step can run between choosing a key and counting its lease.
 */

/** The most lookups for one exchange, so that one request does not look up the whole pool. */
const LOOKUPS_PER_STEP = 4

/** How long a lease for a waiter is kept until the waiter's Worker fetches it. */
const PICK_UP_MS = 5_000

/** The records that a step changed and that must not be lost; `models` is null if unchanged. */
export interface ChangedRecords {
  readonly keys: readonly KeyState[]
  readonly accounts: readonly AccountState[]
  readonly models: ReadonlyMap<ModelId, Bench> | null
  readonly spends: ReadonlyMap<KeyId, SpendRecord>
}

/** Decides one lease request: grants a lease, puts the request in the queue, or refuses it. */
export function acquire(
  state: PoolState,
  request: LeaseRequest,
  nowMs: number,
  random: Random,
): Decision {
  tick(state, nowMs)
  const known = claim(state, request.leaseId, nowMs)
  if (known !== null) return known
  const claimedKeys = serveQueue(state, nowMs, random)
  const decided =
    behind(state, request, nowMs) ?? decide({ state, nowMs, random }, request, claimedKeys)
  if (decided.kind !== 'no_candidate') return decided
  return enqueue(state, request, decided, nowMs) ?? decided.refusal
}

/**
 * The state of a lease that was requested before. A waiter's Worker calls this every second.
 * @returns null if the pool knows no such lease and no such waiter, for example after a restart
 */
export function claim(state: PoolState, leaseId: LeaseId, nowMs: number): Decision | null {
  const lease = state.leases.live.get(leaseId)
  if (lease !== undefined) return granted(state, pickUp(state, lease, nowMs))
  if (hasEnded(state.leases, leaseId)) return refused('ended')
  const waiter = state.queue.get(leaseId)
  if (waiter === undefined) return null
  waiter.lastPolledAtMs = nowMs
  if (nowMs < waiter.deadlineMs) return { kind: 'waiting', leaseId }
  state.queue.delete(leaseId)
  return waiter.refusal
}

/** The term of a waiter's lease begins when the lease is fetched. */
function pickUp(state: PoolState, lease: Lease, nowMs: number): Lease {
  if (lease.unclaimedMs === null) return lease
  const fetched = { ...lease, unclaimedMs: null, expiresAtMs: nowMs + lease.unclaimedMs }
  open(state.leases, fetched)
  return fetched
}

/**
 * Grants free keys to the waiters, first come, first served.
 * @returns keys whose tokens a waiter waits for, and which may still have room for smaller requests
 */
export function serveQueue(state: PoolState, nowMs: number, random: Random): Set<KeyId> {
  const step = { state, nowMs, random }
  const claimedKeys = new Set<KeyId>()
  const refusedLanes = new Map<string, Refusal>()
  for (const [leaseId, waiter] of state.queue) {
    if (isAbandoned(waiter, nowMs)) {
      state.queue.delete(leaseId)
      continue
    }
    const ahead = refusedLanes.get(waiter.lane)
    if (ahead !== undefined) waiter.refusal = ahead
    if (nowMs >= waiter.deadlineMs || ahead !== undefined) continue
    const decided = decide(step, waiter.request, claimedKeys)
    switch (decided.kind) {
      case 'grant':
        state.queue.delete(leaseId)
        reserveForWaiter(state, leaseId, nowMs)
        break
      case 'refusal':
        // The retry budget refills with time. It may pay for this retry before the deadline.
        waiter.refusal = decided
        break
      case 'no_candidate':
        refusedLanes.set(waiter.lane, decided.refusal)
        waiter.refusal = decided.refusal
        for (const key of decided.shortOfTokens) claimedKeys.add(key)
    }
  }
  return claimedKeys
}

/** Keeps a lease for a waiter, for as long as a Worker that still runs needs to fetch it. */
function reserveForWaiter(state: PoolState, leaseId: LeaseId, nowMs: number): void {
  const lease = state.leases.live.get(leaseId)
  if (lease === undefined) return
  const unclaimedMs = lease.expiresAtMs - lease.grantedAtMs
  open(state.leases, { ...lease, unclaimedMs, expiresAtMs: nowMs + PICK_UP_MS })
}

/** Holds a request back if its lane has waiters, with the refusal of the first of them. */
function behind(state: PoolState, request: LeaseRequest, nowMs: number): NoCandidate | null {
  if (state.queue.size === 0) return null
  const lane = laneOf(request)
  for (const waiter of state.queue.values()) {
    if (waiter.lane === lane && nowMs < waiter.deadlineMs) {
      const { refusal } = waiter
      return { kind: 'no_candidate', refusal, mayClearAtMs: nowMs, shortOfTokens: [] }
    }
  }
  return null
}

function enqueue(
  state: PoolState,
  request: LeaseRequest,
  { refusal, mayClearAtMs }: NoCandidate,
  nowMs: number,
): Waiting | null {
  const { maxWaiting, maxWaitMs } = state.policy.queue
  const deadlineMs = nowMs + Math.min(request.waitMs, maxWaitMs)
  const isWorthWhile = mayClearAtMs !== null && mayClearAtMs < deadlineMs
  if (!isWorthWhile || state.queue.size >= maxWaiting) return null
  state.queue.set(request.leaseId, {
    request,
    lane: laneOf(request),
    deadlineMs,
    lastPolledAtMs: nowMs,
    refusal,
  })
  return { kind: 'waiting', leaseId: request.leaseId }
}

function decide(
  step: Step,
  request: LeaseRequest,
  claimedKeys: ReadonlySet<KeyId>,
): Grant | Refusal | NoCandidate {
  const { state, nowMs } = step
  const route = routeOf(state, request)
  const selected = selectModel(step, route, request, claimedKeys)
  if (selected.kind === 'unserved') return noCandidate(selected.models, nowMs)
  const { model, filtered } = selected
  // A lease for another model does not retry the failed one, so the budget does not pay for it.
  const isRetry = request.attempt === 'retry' && model === request.models[0]
  const { retryBudget } = state
  const budgeted = { model, policy: state.policy.retryBudget }
  // Checked before a key is chosen: choosing changes the strategy's memory, and a refused retry
  // must not.
  if (isRetry && !canWithdraw(retryBudget, budgeted, nowMs)) {
    return refused('retry_budget')
  }
  const { affinity } = request
  const key = selectKey(step, selected, { route, affinity, memory: route.memory })
  // Paid in at the grant, so a request that waits and is tried several times pays in once.
  if (request.attempt === 'first') deposit(retryBudget, budgeted, nowMs)
  if (isRetry) withdraw(retryBudget, budgeted, nowMs)
  const attempt = request.attempt === 'retry' && !isRetry ? 'move' : request.attempt
  return granted(state, grant(step, key, request, { model, panic: filtered.panic, attempt }))
}

function grant(
  { state, nowMs }: Step,
  key: KeyState,
  request: LeaseRequest,
  { model, panic, attempt }: Pick<Lease, 'model' | 'panic' | 'attempt'>,
): Lease {
  const lease: Lease = {
    id: request.leaseId,
    keyId: key.id,
    clientId: request.clientId,
    model,
    grantedAtMs: nowMs,
    expiresAtMs: nowMs + request.leaseMs,
    tokens: request.tokens,
    unclaimedMs: null,
    panic,
    epoch: key.epoch,
    attempt,
  }
  open(state.leases, lease)
  state.turns += 1
  key.lastTurn = state.turns
  key.inFlight += 1
  key.breaker = beginProbe(asOf(key.breaker, nowMs), lease.id)
  if (key.rpm !== null) take(key.rpm.window, 1, nowMs)
  if (key.tpm !== null) take(key.tpm.window, request.tokens, nowMs)
  countRequest(state.affinities, key.account.id, nowMs)
  if (request.affinity?.kind === 'conversation') {
    remember(state.affinities, request.affinity.id, key.account.id, nowMs)
  }
  return lease
}

function granted(state: PoolState, lease: Lease): Grant | Refusal {
  const key = state.keys.get(lease.keyId)
  if (key === undefined) return refused('ended')
  const { id: leaseId, model, grantedAtMs } = lease
  const accountId = key.account.id
  return { kind: 'grant', leaseId, keyId: key.id, accountId, model, grantedAtMs }
}

function refused(cause: 'retry_budget' | 'ended'): Refusal {
  return { kind: 'refusal', cause, reasons: {}, retryAtMs: null }
}

/** Gives a lease back and learns from its attempt. A second settlement of a lease does nothing. */
export function settle(
  state: PoolState,
  settlement: Settlement,
  nowMs: number,
  random: Random,
): void {
  tick(state, nowMs)
  // A waiter that gives up settles its lease id. Then that lease must never be granted.
  state.queue.delete(settlement.leaseId)
  const closing = close(state.leases, settlement.leaseId, nowMs)
  if (closing.kind === 'duplicate') return
  const lease = closing.kind === 'forgotten' ? null : closing.lease
  if (lease === null && isSettledBefore(state, settlement)) return
  const keyId = lease?.keyId ?? settlement.keyId
  const key = state.keys.get(keyId)
  if (key !== undefined && closing.kind === 'live') key.inFlight -= 1
  const step = { state, nowMs, random }
  if (settlement.unused) {
    if (key !== undefined && lease !== null) undoLease(step, key, lease)
    return
  }
  if (key !== undefined && closing.kind === 'live')
    learnHold(key, nowMs - closing.lease.grantedAtMs)
  if (key !== undefined) learnFromSettlement(step, key, lease, settlement)
  bookAttempt(step, { ...settlement, keyId }, lease ?? settlement.lease ?? null)
}

/**
 * Whether a settlement of a lease that the pool does not know is a repeated one, or about nothing. A
 * lease that was granted before the checkpoint, and was not in it, had been settled by then.
 */
function isSettledBefore(state: PoolState, { lease, keyId }: Settlement): boolean {
  return lease === undefined ? !state.keys.has(keyId) : lease.grantedAtMs < state.restoredAtMs
}

/** Books an attempt for its client and its model, even if its key is gone. */
function bookAttempt(
  { state, nowMs }: Step,
  { keyId, generationId, outcome, fault, usage }: Settlement,
  terms: Pick<LeaseTerms, 'clientId' | 'model'> | null,
): void {
  if (generationId !== undefined && terms !== null) {
    const generation = { keyId, clientId: terms.clientId, atMs: nowMs }
    rememberGeneration(state.generations, generationId, generation)
  }
  const entry = {
    keyId: state.keys.has(keyId) ? keyId : null,
    model: terms?.model ?? null,
    clientId: terms?.clientId ?? null,
    outcome,
    fault,
    usage,
  }
  book(state.ledger, entry, nowMs)
}

/** Lets time pass: overdue leases expire, and the capacity that they held is free again. */
export function tick(state: PoolState, nowMs: number): void {
  for (const lease of expire(state.leases, nowMs)) {
    const key = state.keys.get(lease.keyId)
    if (key === undefined) continue
    key.inFlight -= 1
    key.breaker = afterNothing(key.breaker, lease.id)
  }
}

/**
 * The next moment, in epoch milliseconds, at which time alone may decide a waiter: a lease expires,
 * a deadline passes, or a key may be free. Null while the queue is empty.
 */
export function wakeAtMs(state: PoolState): number | null {
  if (state.queue.size === 0) return null
  let earliestMs = state.leases.nextExpiryMs
  for (const { deadlineMs, refusal } of state.queue.values()) {
    earliestMs = Math.min(earliestMs, deadlineMs, refusal.retryAtMs ?? deadlineMs)
  }
  return earliestMs
}

/**
 * Hands out the lookup duties that are due, a few per step, the most overdue first, and each to one
 * Worker at a time. Costs a comparison while nothing is due.
 */
export function takeLookupDuties(state: PoolState, nowMs: number): LookupDuty[] {
  if (nowMs < state.lookupsDueAtMs) return []
  const { refreshMs } = state.policy.credit
  const keys = [...state.keys.values()].filter(({ config }) => !config.disabled)
  const due = keys
    .filter(({ lookup }) => isDue(lookup, nowMs))
    .sort((a, b) => dueAtMs(a.lookup) - dueAtMs(b.lookup))
    .slice(0, LOOKUPS_PER_STEP)
  const duties = due.map((key) => {
    const { state: lookup, freshSinceMs } = handOut(key.lookup, nowMs, refreshMs)
    key.lookup = lookup
    key.spentSinceAskedUsd = 0
    const { bench } = key.account
    const withBalance = isActive(bench, nowMs) && bench.reason === 'account_out_of_credit'
    return { keyId: key.id, freshSinceMs, withBalance }
  })
  state.lookupsDueAtMs = keys.reduce(
    (earliestMs, { lookup }) => Math.min(earliestMs, dueAtMs(lookup)),
    Number.POSITIVE_INFINITY,
  )
  return duties
}

/** Learns from a key report. */
export function report(state: PoolState, lookup: KeyReport, nowMs: number): void {
  const key = state.keys.get(lookup.keyId)
  if (key !== undefined) learnFromReport(state, key, lookup, nowMs)
}

/** Takes the records that must be stored before the pool answers this step. */
export function takeChanges(state: PoolState): ChangedRecords {
  const { changes, modelBenches } = state
  const keys = [...changes.keys].flatMap((id) => state.keys.get(id) ?? [])
  const accounts = [...changes.accounts].flatMap(
    (id) => state.accounts.get(id) ?? state.budgets.get(id) ?? [],
  )
  const spends = takeSpends(state)
  const models = changes.models ? modelBenches : null
  changes.keys.clear()
  changes.accounts.clear()
  changes.models = false
  return { keys, accounts, models, spends }
}

function takeSpends({ keys, changes }: PoolState): Map<KeyId, SpendRecord> {
  const spends = new Map<KeyId, SpendRecord>()
  for (const id of changes.spends) {
    const spend = keys.get(id)?.spend ?? null
    if (spend !== null) spends.set(id, spendRecord(spend))
  }
  changes.spends.clear()
  return spends
}

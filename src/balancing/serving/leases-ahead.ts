import { spendableUsd } from '../accounting/credit.ts'
import { countRequest, mayKeep, remember } from '../affinity/affinity.ts'
import { chargeBatch, interactivePart } from '../batches/batch-share.ts'
import { committedNanos, limitNanos, reservationNanos } from '../clients/budget.ts'
import { keysFor } from '../clients/clients.ts'
import { NO_CLAIMS } from '../eligibility.ts'
import { awaitsProbe } from '../health/circuit-breaker.ts'
import { epochAt } from '../health/reset.ts'
import { shareOf } from '../health/slow-start.ts'
import { clientId, type LeaseId, leaseId } from '../ids.ts'
import { isOfBatch } from '../lease-request.ts'
import { charge, giveBackCharge } from '../limits/charge.ts'
import { hear } from '../limits/isolates.ts'
import { numberedLeaseId } from '../limits/lease-number.ts'
import type { LeaseAhead, LeaseBegin, LeaseOrder } from '../limits/lease-order.ts'
import {
  type Closing,
  hasEnded,
  isBatchLease,
  isSettled,
  type Lease,
  lostLease,
  open,
  type ReservedLease,
  type RunningLease,
} from '../limits/leases.ts'
import type { Meter } from '../limits/meter.ts'
import type { QuotaCharge } from '../limits/quota-charge.ts'
import { lookAgain } from '../limits/readiness.ts'
import { deposit } from '../limits/retry-budget.ts'
import type { SlidingWindow } from '../limits/sliding-window.ts'
import { isNonEmpty } from '../non-empty.ts'
import {
  accountsAmong,
  changeInFlight,
  type KeyState,
  type PoolState,
  type RouteState,
  type Step,
} from '../pool-state.ts'
import { wasSettled } from '../records/lease-gaps.ts'
import { choiceOf, modelsInOrder, routeOf } from '../selection.ts'
import type { Settlement } from '../settlement.ts'
import { STRATEGIES, type StrategyName } from '../strategies/strategy-registry.ts'
import { candidatesFor } from './candidates.ts'
import { admitAhead, beginForClient, heldOfBudgets, retakeForClient } from './client-charges.ts'
import { noteChange } from './key-changes.ts'
import { beginOfKey, holdOfKey } from './key-charges.ts'

/**
 * Leases ahead: a busy isolate holds some leases for requests that have yet to come, so that it need
 * not ask the pool in the middle of a request. They count like any others, so every limit holds
 * exactly, unless the word of a begun request is late by seconds, as in an outage of the object. What it costs is that a choice is up to two seconds old when its request comes. So the
 * pool gives none where two seconds matter: while somebody waits, and of keys near a limit, a recovery
 * or the end of their money.
 */

/** No isolate needs more at once: it orders again when half of them are used. */
const MAX_AHEAD = 32

/** How long the pool keeps a lease for a request that does not come. */
const RESERVED_MS = 3_000

/** The most of a key's limit that leases ahead may fill. The rest is for those who ask. */
const AHEAD_SHARE = 0.5

/** Holds up to `count` leases for an isolate: fewer, or none, where the pool cannot spare them. */
export function hold(step: Step, order: LeaseOrder): LeaseAhead[] {
  const { state, nowMs } = step
  hear(state.isolates, order.isolate, nowMs)
  const [model] = order.models
  // A request of these would go to a fallback. It is rare, and asks.
  if (modelsInOrder(step, { models: order.models, attempt: 'first' })[0] !== model) return []
  const route = routeOf(state, order)
  if (IN_TURN.has(route.config.strategy)) return []
  const held: LeaseAhead[] = []
  const terms = { share: AHEAD_SHARE, untilMs: nowMs + RESERVED_MS }
  let count = Math.min(order.count, MAX_AHEAD)
  while (held.length < count && state.queue.size === 0) {
    const chosen = chooseAhead(step, route, order)
    if (chosen === null) break
    // Fewer than were ordered: then the isolate asks for a while, and the others get their requests.
    if (chosen.passedOver) count = Math.min(count, Math.ceil(order.count / 2))
    const charge = admitAhead(state, order, terms, nowMs)
    if (charge === 'none') break
    const id = nameOf(order, held.length)
    held.push(reserve(step, chosen, order, { id, charge }))
  }
  return held
}

function nameOf({ isolate, firstNumber, idPrefix }: LeaseOrder, place: number): LeaseId {
  return firstNumber === undefined
    ? leaseId(`${idPrefix}:${place}`)
    : numberedLeaseId(isolate, firstNumber + place)
}

/** A key for a lease ahead. */
interface ChosenAhead {
  readonly key: KeyState
  readonly panic: boolean
  /** Whether other keys may serve that no lease ahead is held of. */
  readonly passedOver: boolean
}

/** Strategies whose order is a promise: to pass over a key would break it. */
const ORDERED: ReadonlySet<StrategyName> = new Set(['priority', 'credit-threshold', 'most-credit'])

/** Strategies that count turns. A lease ahead that no request comes for would waste its key's turn. */
const IN_TURN: ReadonlySet<StrategyName> = new Set(['round-robin', 'weighted'])

/**
 * The key for one more lease ahead, chosen as for a request that comes now, among those that are far
 * from a limit, from a recovery and from the end of their money.
 */
function chooseAhead(step: Step, route: RouteState, order: LeaseOrder): ChosenAhead | null {
  const { state, nowMs } = step
  const [model] = order.models
  const { keys, panic } = candidatesFor(step, route, {
    model,
    triedKeys: [],
    excludedAccounts: [],
    tokens: order.tokens,
    costNanos: order.costNanos,
    ...(order.clientId === undefined ? {} : { clientKeys: keysFor(state.clients, order.clientId) }),
    claimedKeys: NO_CLAIMS,
  })
  const far = keys.filter(
    (key) => isSteady(key, panic, nowMs) && isFarFromLimits(state, key, order, nowMs),
  )
  const { strategy } = route.config
  const passedOver = far.length < keys.length
  if (passedOver && ORDERED.has(strategy)) return null
  const { account } = order
  const narrowed = account === null ? far : far.filter((key) => key.account.id === account)
  if (!isNonEmpty(narrowed)) return null
  // The conversations of an account with more than its share go elsewhere, one by one.
  const { load } = narrowed[0].account
  if (account !== null && !mayKeep(accountsAmong(state, route, keys), load)) return null
  const key = STRATEGIES[strategy].choose(narrowed, choiceOf(step, route, route.memory))
  return { key, panic, passedOver }
}

/** Whether a key's breaker takes part as it is: it is closed for good, or open in panic. */
function isSteady({ breaker }: KeyState, panic: boolean, nowMs: number): boolean {
  if (breaker.kind === 'closed') return shareOf(breaker, nowMs) === 1
  return panic && !awaitsProbe(breaker, nowMs) && breaker.kind === 'open'
}

function isFarFromLimits(
  state: PoolState,
  key: KeyState,
  order: LeaseOrder,
  nowMs: number,
): boolean {
  const { tokens } = order
  const { config, inFlight } = key
  if (key.tooLarge !== null || key.account.tooLarge !== null) return false
  // What batches have counts for neither: else a batch would end all leases ahead.
  const { batch } = key
  if (config.maxConcurrent !== null) {
    const left = config.maxConcurrent - batch.inFlight
    if (inFlight - batch.inFlight + 1 > AHEAD_SHARE * left) return false
  }
  const leavesRoom = (meter: Meter | null, ofBatch: SlidingWindow, amount: number) => {
    if (meter === null) return true
    const { taken, limit } = interactivePart(meter, ofBatch, nowMs)
    return taken + amount <= AHEAD_SHARE * limit
  }
  if (!(leavesRoom(key.rpm, batch.rpm, 1) && leavesRoom(key.tpm, batch.tpm, tokens))) return false
  return hasMoney(state, key, order, nowMs)
}

/** Whether a key can pay for all that runs, and for a whole stock more. */
function hasMoney(
  state: PoolState,
  key: KeyState,
  { count, costNanos }: LeaseOrder,
  nowMs: number,
): boolean {
  const { credit, spend, config } = key
  const expectedUsd = (key.inFlight + MAX_AHEAD) * state.meanCostUsd
  const left = spendableUsd(credit, expectedUsd, nowMs)
  if (left !== null && left <= config.minCreditUsd) return false
  if (spend === null) return true
  const stockNanos = count * reservationNanos(spend, costNanos ?? null, nowMs)
  return committedNanos(spend) + stockNanos < limitNanos(spend, nowMs)
}

function reserve(
  { state, nowMs }: Step,
  { key, panic }: ChosenAhead,
  { isolate, models, tokens, costNanos }: LeaseOrder,
  { id, charge: taken }: { readonly id: LeaseId; readonly charge: QuotaCharge | null },
): LeaseAhead {
  const [model] = models
  const lease: ReservedLease = {
    kind: 'reserved',
    id,
    keyId: key.id,
    model,
    grantedAtMs: nowMs,
    expiresAtMs: nowMs + RESERVED_MS,
    tokens,
    panic,
    epoch: key.epoch,
    isolate,
    charge: taken,
    keyHold: holdOfKey({ state, nowMs }, key, costNanos),
  }
  open(state.leases, lease)
  state.turns += 1
  key.lastTurn = state.turns
  changeInFlight(key, 1, false)
  charge(key, tokens, nowMs)
  const accountId = key.account.id
  const ahead = { leaseId: id, keyId: key.id, accountId, model, grantedAtMs: nowMs, tokens }
  return { ...ahead, ...heldOfBudgets(lease) }
}

/**
 * Turns a lease that was held ahead into that of a request. Told of a lease that the pool has given up
 * since its isolate was silent, it takes that lease up again. Of a lease that runs, it does nothing.
 */
export function begin({ state, nowMs }: Step, told: LeaseBegin): void {
  hear(state.isolates, told.isolate, nowMs)
  const live = state.leases.live.get(told.leaseId)
  const key = state.keys.get(told.keyId)
  if (key === undefined || live?.kind === 'running') return
  if (live === undefined && isOver(state, told)) return
  const lost = live === undefined ? lostLease(state.leases, told.leaseId) : null
  const isBatch = isOfBatchNow(told, lost)
  if (live === undefined) changeInFlight(key, 1, isBatch)
  else giveBackCharge(key, live.tokens, live.grantedAtMs, nowMs)
  if (lost !== null) retakeForClient(state, lost, nowMs)
  const found = { live: live ?? null, lost }
  const keyHold = beginOfKey({ state, nowMs }, key, found, told)
  lookAgain(key)
  noteChange(state, key)
  if (lost?.kind === 'running') {
    // What it took is still charged.
    open(state.leases, { ...lost, ...termOf(told, nowMs) })
    return
  }
  // Charged anew now: a minute that began at the grant would end before that of the upstream call.
  charge(key, told.tokens, nowMs)
  const taken = beginForClient(state, found, told, nowMs)
  open(state.leases, {
    kind: 'running',
    id: told.leaseId,
    keyId: key.id,
    clientId: told.clientId,
    model: told.model,
    grantedAtMs: told.grantedAtMs,
    chargedAtMs: nowMs,
    ...termOf(told, nowMs),
    tokens: told.tokens,
    unclaimedMs: null,
    panic: live?.panic ?? false,
    epoch: (live ?? lost)?.epoch ?? epochAt(key, told.grantedAtMs),
    charge: taken,
    keyHold,
    attempt: 'first',
    isBatch,
  })
  if (isBatch) {
    chargeBatch(key, told.tokens, nowMs)
    return
  }
  state.batches.interactiveAtMs = nowMs
  deposit(state.retryBudget, { model: told.model, policy: state.policy.retryBudget }, nowMs)
  countRequest(state.affinities, key.account.load, nowMs)
  if (told.conversation !== null) {
    remember(state.affinities, told.conversation, key.account.id, nowMs)
  }
}

/** By the lease that was lost; of one that is forgotten, by what its isolate tells. */
function isOfBatchNow(told: LeaseBegin, lost: Lease | null): boolean {
  return lost === null ? isOfBatch(told) : isBatchLease(lost)
}

function termOf({ leaseMs, isolate }: LeaseBegin, nowMs: number) {
  return { expiresAtMs: nowMs + leaseMs, isolate }
}

/**
 * The lease of a request whose settlement comes before the word that it has begun: that word was
 * lost, or had not been sent. What it says of the request, the settlement's terms say as well.
 */
export function beginLate(
  { state, nowMs }: Step,
  lease: ReservedLease,
  { lease: terms }: Settlement,
  { kind }: Closing,
): RunningLease {
  const key = state.keys.get(lease.keyId)
  const hasExpired = kind === 'expired'
  // What a lease took that expired without a request was given back.
  if (hasExpired && key !== undefined) charge(key, lease.tokens, nowMs)
  deposit(state.retryBudget, { model: lease.model, policy: state.policy.retryBudget }, nowMs)
  if (key !== undefined) countRequest(state.affinities, key.account.load, nowMs)
  return {
    ...lease,
    kind: 'running',
    clientId: terms?.clientId ?? clientId(''),
    chargedAtMs: hasExpired ? nowMs : lease.grantedAtMs,
    unclaimedMs: null,
    attempt: 'first',
    isBatch: false,
  }
}

/**
 * Whether a lease has had its settlement. One that only expired has not: then its request began so
 * late, or its word came so late, that the pool had given it up.
 */
function isOver(state: PoolState, { leaseId: id, grantedAtMs }: LeaseBegin): boolean {
  const { leases } = state
  return isSettled(leases, id) || (!hasEnded(leases, id) && wasSettled(state, grantedAtMs))
}

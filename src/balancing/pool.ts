import { countRequest, remember } from './affinity/affinity.ts'
import { isBatchActive } from './batches/batch-activity.ts'
import { chargeBatch, yieldToInteractive } from './batches/batch-share.ts'
import type { Claims } from './eligibility.ts'
import { asOf, beginProbe } from './health/circuit-breaker.ts'
import type { KeyReport } from './health/key-report.ts'
import type { LeaseId, ModelId } from './ids.ts'
import {
  type Decision,
  type Grant,
  isOfBatch,
  type LeaseRequest,
  type Refusal,
  type Waiting,
} from './lease-request.ts'
import { charge } from './limits/charge.ts'
import { hear } from './limits/isolates.ts'
import { hasEnded, type Lease, open, type RunningLease } from './limits/leases.ts'
import type { QuotaCharge } from './limits/quota-charge.ts'
import type { QuotaRefusal } from './limits/quota-refusal.ts'
import { lookAgain } from './limits/readiness.ts'
import { canWithdraw, deposit, type RetryBudget, withdraw } from './limits/retry-budget.ts'
import { changeInFlight, type KeyState, type PoolState, type Step } from './pool-state.ts'
import { mayWait, placeOf, refusalOf } from './queue/queue-place.ts'
import {
  awaitKeys,
  type Choice,
  goesToWaiter,
  type Lending,
  serveQueue,
} from './queue/queue-serving.ts'
import { admit } from './queue/queue-shares.ts'
import { displace, enter, leave } from './queue/waiting-queue.ts'
import type { Random } from './random.ts'
import {
  memoryFor,
  type NoCandidate,
  noCandidate,
  routeOf,
  selectKey,
  selectModel,
} from './selection.ts'
import { yieldWanted } from './serving/batch-yield.ts'
import {
  admitRequest,
  callLeasesBack,
  heldOfBudgets,
  undoAdmission,
  undoUncharged,
} from './serving/client-charges.ts'
import { noteReport } from './serving/key-changes.ts'
import { holdOfKey } from './serving/key-charges.ts'
import { letTimePass } from './serving/lease-end.ts'
import { learnFromReport } from './serving/report-feedback.ts'

/**
 * The reducer. Every decision about the pool is one of these synchronous steps over plain data.
 * So no other step can run between choosing a key and counting its lease.
 */

/** How long a lease for a waiter is kept until the waiter's Worker fetches it. */
const PICK_UP_MS = 5_000

/** Decides one lease request: grants a lease, puts the request in the queue, or refuses it. */
export function acquire(
  state: PoolState,
  request: LeaseRequest,
  nowMs: number,
  random: Random,
): Decision {
  tick(state, nowMs, random)
  const known = claim(state, request.leaseId, nowMs)
  if (known !== null) return known
  const step = { state, nowMs, random }
  if (isOfBatch(request)) state.batches.askedAtMs = nowMs
  else state.batches.interactiveAtMs = nowMs
  const decided = admitThen(step, request)
  // A deposit may pay for a retry that waits, and a place may have been given up for this request.
  serveQueue(step, LENDING)
  return decided.kind === 'waiting' ? (claim(state, request.leaseId, nowMs) ?? decided) : decided
}

/**
 * The state of a lease that was requested before. A waiter's Worker calls this every second, so it is
 * a look-up and nothing else, until the waiter's time is over.
 * @returns null if the pool knows no such lease and no such waiter, for example after a restart
 */
export function claim(state: PoolState, leaseId: LeaseId, nowMs: number): Decision | null {
  const lease = state.leases.live.get(leaseId)
  if (lease?.kind === 'running') return granted(state, pickUp(state, lease, nowMs), nowMs)
  if (hasEnded(state.leases, leaseId)) return refused('ended')
  const waiter = state.queue.waiters.get(leaseId)
  if (waiter === undefined) return null
  waiter.lastPolledAtMs = nowMs
  if (waiter.state === 'waits' && nowMs < waiter.deadlineMs) return { kind: 'waiting', leaseId }
  const refusal = waiter.state === 'waits' ? refusalOf(state, waiter, nowMs) : waiter.refusal
  leave(state.queue, waiter)
  undoUncharged(state, nowMs)
  return refusal
}

/** The term of a waiter's lease begins when the lease is fetched. */
function pickUp(state: PoolState, lease: RunningLease, nowMs: number): RunningLease {
  if (lease.unclaimedMs === null) return lease
  const fetched = { ...lease, unclaimedMs: null, expiresAtMs: nowMs + lease.unclaimedMs }
  open(state.leases, fetched)
  return fetched
}

/** How keys get to waiters: see queue-serving.ts. */
const LENDING: Lending = {
  choose,
  lendTo: (step, waiter, choice) => {
    const { state, nowMs } = step
    const { request, charge } = waiter
    // The lease takes over what the waiter has taken of its client's limits.
    waiter.charge = null
    leave(state.queue, waiter)
    const { key, model, panic } = choice
    const route = routeOf(state, request)
    // A strategy remembers its turns, so it is told of this one.
    const { affinity } = request
    selectKey(
      step,
      { kind: 'served', model, panic, hasRecovering: false, candidates: [key] },
      { route, affinity, memory: route.memory },
    )
    const lease = lend(step, { request, charge }, choice)
    // Kept for as long as a Worker that still runs needs to fetch it.
    const unclaimedMs = lease.expiresAtMs - lease.grantedAtMs
    open(state.leases, { ...lease, unclaimedMs, expiresAtMs: nowMs + PICK_UP_MS })
    state.queue.decided.push(request.leaseId)
    yieldToInteractive(key, nowMs)
  },
}

/** Asks the client's limits first, so that a client over its limits never holds up a lane. */
function admitThen(step: Step, request: LeaseRequest): Decision {
  const { state, nowMs } = step
  const admission = admitRequest(state, request, nowMs)
  if (admission.kind === 'refused') {
    const { refusal } = admission
    // Leases ahead are for interactive requests: they are not called back for a batch.
    const isHeldAhead = !isOfBatch(request) && callLeasesBack(state, refusal, nowMs)
    return refusedByQuota(refusal, isHeldAhead)
  }
  const { charge } = admission
  const decided = decide(step, { request, charge })
  if (decided.kind === 'refusal') undoAdmission(state, charge, nowMs)
  return decided
}

/** A request that its client's limits have admitted, with what it has taken of them. */
interface Admitted {
  readonly request: LeaseRequest
  readonly charge: QuotaCharge | null
}

function decide(step: Step, admitted: Admitted): Decision {
  const { request } = admitted
  const { state } = step
  const { queue } = state
  let chosen = choose(step, request, queue.claims)
  // Who waits goes first, whatever freed the key.
  while (chosen.kind === 'choice' && queue.size > 0 && goesToWaiter(step, LENDING, chosen.key)) {
    chosen = choose(step, request, queue.claims)
  }
  switch (chosen.kind) {
    case 'choice':
      return granted(state, lend(step, admitted, chosen), step.nowMs)
    case 'no_candidate':
      if (!isOfBatch(request) && isBatchActive(state.batches, step.nowMs)) {
        yieldWanted(step, request, chosen.models)
      }
      return enqueue(step, admitted, chosen) ?? chosen.refusal
    case 'refusal':
      return chosen
  }
}

function enqueue(step: Step, { request, charge }: Admitted, unserved: NoCandidate): Waiting | null {
  const { state, nowMs } = step
  const { queue } = state
  if (!mayWait(state, request, unserved, nowMs)) return null
  const place = placeOf(state, request)
  const admission = admit(queue, { ...place, ...request }, state.policy.queue.maxWaiting)
  if (admission.kind === 'full') return null
  const { instead } = admission
  if (instead !== null) displace(queue, instead, refusalOf(state, instead, nowMs))
  const { refusal, models } = unserved
  const deadlineMs = nowMs + Math.min(request.waitMs, state.policy.queue.maxWaitMs)
  const waiter = enter(queue, place, {
    ...{ request, charge, deadlineMs, lastPolledAtMs: nowMs, refusal },
  })
  awaitKeys(step, waiter, models)
  return { kind: 'waiting', leaseId: request.leaseId }
}

/** Which key a request would get. Only the strategy's memory changes. */
function choose(step: Step, request: LeaseRequest, claims: Claims): Choice | Refusal | NoCandidate {
  const { state, nowMs } = step
  const route = routeOf(state, request)
  const selected = selectModel(step, route, request, claims)
  if (selected.kind === 'unserved') return noCandidate(selected.models, nowMs)
  const { model, panic } = selected
  const budgeted = { model, policy: state.policy.retryBudget }
  // Checked before a key is chosen: choosing changes the strategy's memory, and a refused retry
  // must not.
  if (isRetryOf(request, model) && !canWithdraw(retryBudgetOf(state, request), budgeted, nowMs)) {
    return refused('retry_budget')
  }
  const { affinity } = request
  const key = selectKey(step, selected, { route, affinity, memory: memoryFor(route, request) })
  return { kind: 'choice', key, model, panic }
}

/** What the retries of a request's class are paid from. */
function retryBudgetOf({ batches, retryBudget }: PoolState, request: LeaseRequest): RetryBudget {
  return isOfBatch(request) ? batches.retryBudget : retryBudget
}

/** A lease for another model does not retry the failed one, so the budget does not pay for it. */
function isRetryOf({ attempt, models }: LeaseRequest, model: ModelId): boolean {
  return attempt === 'retry' && model === models[0]
}

/** Pays for a lease and grants it. */
function lend(step: Step, admitted: Admitted, { key, model, panic }: Choice): RunningLease {
  const { request } = admitted
  const { state, nowMs } = step
  const { queue } = state
  const retryBudget = retryBudgetOf(state, request)
  const isRetry = isRetryOf(request, model)
  const budgeted = { model, policy: state.policy.retryBudget }
  // Paid in at the grant, so a request that waits and is tried several times pays in once.
  if (request.attempt === 'first') {
    deposit(retryBudget, budgeted, nowMs)
    if (queue.unpaid.size > 0 && !isOfBatch(request)) queue.paidAtMs = nowMs
  }
  if (isRetry) withdraw(retryBudget, budgeted, nowMs)
  const attempt = request.attempt === 'retry' && !isRetry ? 'move' : request.attempt
  return grant(step, key, admitted, { model, panic, attempt })
}

function grant(
  { state, nowMs }: Step,
  key: KeyState,
  { request, charge: taken }: Admitted,
  { model, panic, attempt }: Pick<RunningLease, 'model' | 'panic' | 'attempt'>,
): RunningLease {
  const isBatch = isOfBatch(request)
  const keyHold = holdOfKey({ state, nowMs }, key, request.costNanos)
  const lease: RunningLease = {
    kind: 'running',
    id: request.leaseId,
    keyId: key.id,
    clientId: request.clientId,
    model,
    grantedAtMs: nowMs,
    chargedAtMs: nowMs,
    expiresAtMs: nowMs + request.leaseMs,
    tokens: request.tokens,
    unclaimedMs: null,
    panic,
    epoch: key.epoch,
    isolate: request.isolate ?? null,
    charge: taken,
    keyHold,
    attempt,
    isBatch,
  }
  open(state.leases, lease)
  changeInFlight(key, 1, isBatch)
  key.breaker = beginProbe(asOf(key.breaker, nowMs), lease.id)
  charge(key, request.tokens, nowMs)
  if (isBatch) {
    chargeBatch(key, request.tokens, nowMs)
    state.batches.turns += 1
    key.batch.lastTurn = state.batches.turns
    return lease
  }
  state.turns += 1
  key.lastTurn = state.turns
  countRequest(state.affinities, key.account.load, nowMs)
  if (request.affinity?.kind === 'conversation') {
    remember(state.affinities, request.affinity.id, key.account.id, nowMs)
  }
  return lease
}

function granted(state: PoolState, lease: Lease, nowMs: number): Grant | Refusal {
  const key = state.keys.get(lease.keyId)
  if (key === undefined) return refused('ended')
  // From now on its isolate tells of itself.
  if (lease.isolate !== null) hear(state.isolates, lease.isolate, nowMs)
  const { id: leaseId, model, grantedAtMs } = lease
  const accountId = key.account.id
  const held = heldOfBudgets(lease)
  return { kind: 'grant', leaseId, keyId: key.id, accountId, model, grantedAtMs, ...held }
}

function refused(cause: 'retry_budget' | 'ended'): Refusal {
  return { kind: 'refusal', cause, reasons: {}, retryAtMs: null }
}

function refusedByQuota(quota: QuotaRefusal, isHeldAhead: boolean): Refusal {
  const retryAtMs = 'resetsAtMs' in quota ? quota.resetsAtMs : null
  const heldAhead = isHeldAhead ? ({ heldAhead: true } as const) : {}
  return { kind: 'refusal', cause: 'client', reasons: {}, retryAtMs, quota, ...heldAhead }
}

/** Lets time pass, and serves the waiters that the keys which it frees are for. */
export function tick(state: PoolState, nowMs: number, random: Random): void {
  letTimePass(state, nowMs)
  serveQueue({ state, nowMs, random }, LENDING)
}

/**
 * The next moment, in epoch milliseconds, at which time alone may serve a waiter: a lease expires,
 * or a key that somebody waits for changes. Null if that is in nobody's time. A waiter's deadline is
 * none of these: it frees nothing, and whoever holds the waiter's call keeps the time.
 */
export function wakeAtMs({ queue, leases, isolates }: PoolState): number | null {
  if (queue.lines.size === 0) return null
  const atMs = Math.min(
    queue.nextMomentMs,
    queue.paidAtMs,
    leases.nextExpiryMs,
    isolates.silentAtMs,
  )
  return atMs < queue.lastDeadlineMs ? atMs : null
}

/** Takes the waiters that were decided since the last call. Their held calls have to be released. */
export function takeDecided(state: PoolState): readonly LeaseId[] {
  const { decided } = state.queue
  if (decided.length > 0) state.queue.decided = []
  return decided
}

/** Learns from a key report. */
export function report(state: PoolState, lookup: KeyReport, nowMs: number): void {
  const key = state.keys.get(lookup.keyId)
  if (key === undefined) return
  lookAgain(key)
  learnFromReport(state, key, lookup, nowMs)
  noteReport(state, key)
}

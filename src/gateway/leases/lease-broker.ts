import type { CacheCounters } from '../../balancing/accounting/cache-counters.ts'
import type { RequestRow } from '../../balancing/accounting/request-row.ts'
import type { AccountId, IsolateId, KeyId, LeaseId, ModelId } from '../../balancing/ids.ts'
import {
  type Decision,
  type Grant,
  isOfBatch,
  type LeaseRequest,
  type Refusal,
} from '../../balancing/lease-request.ts'
import { numberedLeaseId } from '../../balancing/limits/lease-number.ts'
import type { LeaseBegin } from '../../balancing/limits/lease-order.ts'
import type { LeaseTerms, Settlement } from '../../balancing/settlement.ts'
import { sleep } from '../ports.ts'
import {
  giveBackFor,
  type IsolateLeases,
  isLow,
  type LanesOfRequest,
  lanesOf,
  noteCache,
  noteHome,
  noteRequest,
  takeFromStock,
  takeNumbers,
} from './isolate-leases.ts'
import type { KeyRing, RingBounds } from './key-ring.ts'
import type { LeaseDraft } from './lease-draft.ts'
import { unusedLease } from './outbox.ts'
import { createPoolExchanges, type PoolExchangesParts } from './pool-exchanges.ts'

/** Permission for one attempt. `leaseId` is null if the pool could not be reached. */
export interface Leased {
  readonly kind: 'leased'
  readonly keyId: KeyId
  readonly accountId: AccountId
  /** The model that it is for: one of the requested models. */
  readonly model: ModelId
  readonly leaseId: LeaseId | null
  /** What the settlement repeats of the grant; null without the pool, or by an older object. */
  readonly terms: LeaseTerms | null
}

export type Acquired =
  | Leased
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The pool can't be reached. The policy is `closed`, or the ring has no key for the request. */
  | { readonly kind: 'no_pool' }
  /** The client left while its request waited in the queue. */
  | { readonly kind: 'client_gone' }

/** Whether no key may serve, by the pool or, while it can't be reached, by the ring. */
export function isWithoutKey(acquired: Acquired): boolean {
  if (acquired.kind === 'refused') return acquired.refusal.cause === 'no_key'
  return acquired.kind === 'no_pool'
}

export interface LeaseBroker {
  /**
   * Takes a lease from the isolate's stock, or asks the pool for one. What is owed goes along. If no
   * key is free, the request waits in the pool's queue.
   * @param gone aborted when the client leaves; the request then leaves the queue
   * @param onWaited called with the time spent in the queue, in milliseconds
   */
  acquire(
    draft: LeaseDraft,
    gone: AbortSignal,
    onWaited: (waitedMs: number) => void,
  ): Promise<Acquired>
  /** Notes a request that has ended. It is sent with what is owed next, or soon after `settle`. */
  note(row: RequestRow): void
  /** Counts a shared or kept answer. It is sent as a row is. */
  count(counted: Partial<CacheCounters>): void
  /** Gives leases back with the exchange that is made next: the lease request that follows. */
  owe(settlements: readonly Settlement[]): void
  /**
   * Gives leases back, and sends what is owed. It is tried again if it is lost: a lost settlement
   * holds capacity until its lease expires.
   */
  settle(settlements: readonly Settlement[]): Promise<void>
}

/** A deployment breaks a waiting request's call once. If more than two break, the object is ill. */
const MAX_LOST_ANSWERS = 2

export interface LeaseBrokerParts extends PoolExchangesParts {
  readonly ring: KeyRing
  /** What happens if the pool can't be reached: `open` uses the ring, `closed` refuses. */
  readonly onPoolUnavailable: 'open' | 'closed'
}

/**
 * Gets leases: from the isolate's stock, or from the pool object. If the object can't be reached and
 * the policy is `open`, takes keys in turn from the isolate's own ring; a batch can wait until it is back.
 *
 * One broker serves one request. An object that does not answer costs two seconds. The request's
 * next attempts therefore do not ask the object, unless it has answered a settlement or a key
 * report of this request since. Which of the next requests asks again: see pool-outage.ts.
 */
export function createLeaseBroker(parts: LeaseBrokerParts): LeaseBroker {
  const { ports, pool, ring, leases, onPoolUnavailable, background } = parts
  const exchanges = createPoolExchanges(parts)
  const withoutPool = (draft: LeaseDraft): Acquired =>
    onPoolUnavailable === 'closed' || draft.caller.budget !== null || isOfBatch(draft)
      ? { kind: 'no_pool' }
      : fromRing(ring, { ...draft, halted: leases.halted }, ports.nowMs())
  /** Whether the object may have granted a lease in an answer that was lost. */
  let wasAsked = false
  const ask = async (request: LeaseRequest) => {
    const answer = await exchanges.send([request])
    wasAsked ||= answer.kind === 'answer' || answer.unasked !== true
    return answer.kind === 'answer' ? (answer.value.decisions[0] ?? null) : null
  }
  const fromStock = (draft: LeaseDraft, lanes: LanesOfRequest | null): Leased | null => {
    const taken = takeFromStock(leases, draft, lanes, ports.nowMs())
    if (taken === null || lanes === null) return null
    exchanges.keepTelling(taken.begin)
    if (isLow(lanes, ports.nowMs())) exchanges.refill()
    else exchanges.flushSoon()
    return leased(taken.lease, draft)
  }
  /** What else there is for a request that the pool has no lease for now. */
  const secondLook = async (draft: LeaseDraft, lanes: LanesOfRequest | null, asked: Asked) => {
    const { request, decision } = asked
    // Leases ahead may have come while the pool was asked: no key stands idle for the sake of a
    // request that is yet to come.
    const late = fromStock(draft, lanes)
    if (late !== null) {
      if (decision.kind === 'waiting') background(exchanges.settle([unusedLease(request.leaseId)]))
      return late
    }
    // For want of what no key has, no lease of another client is given back.
    if (decision.kind === 'refusal' && decision.cause === 'client') return decision
    if (!giveBackFor(leases, draft, ports.nowMs())) return decision
    if (decision.kind === 'refusal') return await ask(request)
    background(exchanges.settle([]))
    return decision
  }
  const askPool = async (
    draft: LeaseDraft,
    lanes: LanesOfRequest | null,
    request: LeaseRequest,
  ) => {
    const decision = await ask(request)
    // A batch takes nothing that is held for interactive requests.
    return decision !== null && isWithoutLease(decision) && !isOfBatch(draft)
      ? await secondLook(draft, lanes, { request, decision })
      : decision
  }
  return {
    ...{ owe: exchanges.owe, settle: exchanges.settle, ...notesOf(parts) },
    async acquire(draft, gone, onWaited) {
      const lanes = lanesOf(leases, draft, ports.nowMs())
      const stocked = fromStock(draft, lanes)
      if (stocked !== null) return stocked
      if (exchanges.isUnreachable()) {
        background(exchanges.settle([]))
        return withoutPool(draft)
      }
      wasAsked = false
      const request = requestOf(leases, draft)
      const asked = await askPool(draft, lanes, request)
      let decision = await untilCalledBack({ ports, ask }, { request, asked }, { gone, onWaited })
      if (decision?.kind === 'waiting') {
        decision = await waitInQueue({ ports, pool, ask }, request, { gone, onWaited })
      }
      switch (decision?.kind) {
        case 'leased':
          return decision
        case 'grant': {
          noteHome(leases, draft, decision.accountId, ports.nowMs())
          const begin = beginOf(decision, draft, leases.isolate)
          if (begin !== null) exchanges.keepTelling(begin)
          return leased(decision, draft)
        }
        case 'refusal':
          return { kind: 'refused', refusal: decision }
        case 'waiting':
          background(exchanges.settle([unusedLease(request.leaseId)]))
          return { kind: 'client_gone' }
        case undefined:
          // The object may have granted the lease in an answer that was lost. Its capacity must not
          // stay taken.
          if (wasAsked) background(exchanges.settle([unusedLease(request.leaseId)]))
          return withoutPool(draft)
      }
    },
  }
}

function notesOf({ leases, ports }: LeaseBrokerParts): Pick<LeaseBroker, 'note' | 'count'> {
  return {
    note: (row) => noteRequest(leases, row, ports.nowMs()),
    count: (counted) => noteCache(leases, counted, ports.nowMs()),
  }
}

/** The lease request of a draft, under a name of its own. */
function requestOf(leases: IsolateLeases, draft: LeaseDraft): LeaseRequest {
  const { routeKeys: _routeKeys, routeIndex: _routeIndex, caller: _caller, ...rest } = draft
  const { isolate } = leases
  return { ...rest, isolate, leaseId: numberedLeaseId(isolate, takeNumbers(leases, 1)) }
}

/** A key of the isolate's own ring. No limit is kept for it. */
function fromRing(ring: KeyRing, draft: LeaseDraft & RingBounds, nowMs: number): Acquired {
  const [model, fallback] = draft.models
  const key = ring.next(draft, nowMs)
  if (key !== null) return { kind: 'leased', ...key, model, leaseId: null, terms: null }
  const anew = { ...draft, triedKeys: [], excludedAccounts: [] }
  const other = fallback === undefined ? null : ring.next(anew, nowMs)
  return other === null || fallback === undefined
    ? { kind: 'no_pool' }
    : { kind: 'leased', ...other, model: fallback, leaseId: null, terms: null }
}

/** A lease request with what the pool decided. */
interface Asked {
  readonly request: LeaseRequest
  readonly decision: Decision
}

/** Whether a request goes without for want of what others hold, and leases ahead are among those. */
function isWithoutLease(decision: Decision): boolean {
  if (decision.kind !== 'refusal') return decision.kind === 'waiting'
  if (decision.cause === 'client') return true
  return HELD_BY_OTHERS.some((reason) => (decision.reasons[reason] ?? 0) > 0)
}

const HELD_BY_OTHERS = [
  ...(['at_max_concurrent', 'at_rpm', 'at_tpm'] as const),
  ...(['below_min_credit', 'at_max_spend'] as const),
]

function leased(grant: Omit<Grant, 'kind'>, { clientId, tokens, size }: LeaseDraft): Leased {
  const { leaseId, keyId, accountId, model, grantedAtMs, held } = grant
  const sized = {
    ...(size === undefined ? {} : { size }),
    ...(held === undefined ? {} : { held }),
  }
  const terms =
    grantedAtMs === undefined ? null : { clientId, model, grantedAtMs, tokens, ...sized }
  return { kind: 'leased', leaseId, keyId, accountId, model, terms }
}

/** What the pool is told of a lease after a silence; null of an object that knows no isolates. */
function beginOf(
  { leaseId, keyId, model, grantedAtMs, held }: Grant,
  draft: LeaseDraft,
  isolate: IsolateId,
): LeaseBegin | null {
  if (grantedAtMs === undefined) return null
  const { clientId, tokens, leaseMs, affinity, costNanos } = draft
  const conversation = affinity?.kind === 'conversation' ? affinity.id : null
  const grant = { leaseId, keyId, model, grantedAtMs }
  const bound = costNanos === undefined ? {} : { costNanos }
  const of = held === undefined ? bound : { ...bound, held }
  const ofClass = draft.class === undefined ? of : { ...of, class: draft.class }
  return { ...grant, isolate, clientId, tokens, leaseMs, conversation, ...ofClass }
}

interface PoolAccess extends Pick<LeaseBrokerParts, 'ports' | 'pool'> {
  ask(request: LeaseRequest): Promise<Decision | null>
}

/**
 * How long a request waits for leases ahead, each time. At once if this isolate held them; an idle one
 * hears within half a second that they are called back. All together it is longer than the pool keeps
 * those of an isolate that has died.
 */
const COME_BACK_MS = [0, 100, 200, 300, 800, 1_600] as const

interface Patience {
  readonly gone: AbortSignal
  onWaited(waitedMs: number): void
}

/**
 * Asks again while leases ahead, of any isolate, hold of the limit that a client is refused for: they
 * have been called back.
 */
async function untilCalledBack(
  { ports, ask }: Pick<PoolAccess, 'ports' | 'ask'>,
  { request, asked }: { readonly request: LeaseRequest; readonly asked: Decision | Leased | null },
  { gone, onWaited }: Patience,
): Promise<Decision | Leased | null> {
  let decision = asked
  const beganMs = ports.nowMs()
  for (const ms of COME_BACK_MS) {
    if (decision?.kind !== 'refusal' || decision.heldAhead !== true || gone.aborted) break
    await unlessAborted(sleep(ports, ms), gone)
    decision = await ask(request)
  }
  onWaited(ports.nowMs() - beganMs)
  return decision
}

/**
 * Calls the object again and again until the waiting request is decided.
 * @returns `waiting` if the client left first; null if the object can't be reached
 */
async function waitInQueue(
  { ports, pool, ask }: PoolAccess,
  request: LeaseRequest,
  { gone, onWaited }: Patience,
): Promise<Decision | null> {
  const beganMs = ports.nowMs()
  const untilMs = beganMs + request.waitMs
  let decision: Decision | null = { kind: 'waiting', leaseId: request.leaseId }
  let lostAnswers = 0
  while (decision?.kind === 'waiting' && !gone.aborted) {
    const answer = await unlessAborted(pool.whenDecided(request.leaseId), gone)
    if (answer === null) break
    if (answer.kind === 'unavailable') lostAnswers += 1
    if (lostAnswers > MAX_LOST_ANSWERS) {
      decision = null
      break
    }
    // A restarted object has lost its queue and broken the calls that it held: the request goes to
    // the end of the new queue. If only the answer with the grant was lost, the object grants the
    // same lease again.
    const known = answer.kind === 'answer' ? answer.value.decision : null
    const waitMs = Math.max(0, untilMs - ports.nowMs())
    decision = known ?? (await ask({ ...request, waitMs }))
  }
  onWaited(ports.nowMs() - beganMs)
  return decision
}

/** Waits for `work`. Null if the signal is aborted first. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  if (signal.aborted) return null
  let onAbort = (): void => undefined
  const aborted = new Promise<null>((resolve) => {
    onAbort = () => resolve(null)
    signal.addEventListener('abort', onAbort)
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

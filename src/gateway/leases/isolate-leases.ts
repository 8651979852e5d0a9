import type { CacheCounters } from '../../balancing/accounting/cache-counters.ts'
import type { RequestRow } from '../../balancing/accounting/request-row.ts'
import { type AccountId, type IsolateId, isolateId, type KeyId } from '../../balancing/ids.ts'
import { isOfBatch } from '../../balancing/lease-request.ts'
import type { LeaseAhead, LeaseBegin } from '../../balancing/limits/lease-order.ts'
import { holdsOf } from '../../balancing/limits/quota-charge.ts'
import {
  createRotatingMap,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../../balancing/limits/rotating-map.ts'
import type { LeaseDraft } from './lease-draft.ts'
import {
  countRequest,
  createLeaseStock,
  dropFor,
  type Lane,
  type LeaseStock,
  laneFor,
  leasesToOrder,
  takeLease,
} from './lease-stock.ts'
import {
  createOutbox,
  type Outbox,
  oweBegin,
  oweCache,
  oweRequest,
  oweSettlement,
  unusedAhead,
} from './outbox.ts'

/** What the requests of one isolate share of their leases. Plain data. */
export interface IsolateLeases {
  readonly isolate: IsolateId
  readonly stock: LeaseStock
  readonly outbox: Outbox
  /** Where conversations were sent last, so that leases in stock keep them there. */
  readonly homes: RotatingMap<string, AccountId>
  /** The number of the next lease: see `takeNumbers`. */
  nextNumber: number
  /** How many rows of requests, and notes of shared answers, it has written. */
  notedRequests: number
  /** When the pool's object answered last, in epoch milliseconds. */
  heardAtMs: number
  /** The newest version of the clients that an answer has told. */
  clientsVersion: number
  /** Keys that operators have told to take no new lease, as the pool last said. */
  halted: ReadonlySet<KeyId>
  /** When it was told of this isolate last, in epoch milliseconds. */
  toldAtMs: number
}

/** The object remembers for longer. A conversation that has rested for this long asks it. */
const HOMES = { termMs: 60_000, capacity: 5_000 }

export const NONE_HALTED: ReadonlySet<KeyId> = new Set()

/** @param id unique over all isolates */
export function createIsolateLeases(id: string): IsolateLeases {
  return {
    isolate: isolateId(id),
    stock: createLeaseStock(),
    outbox: createOutbox(),
    homes: createRotatingMap(HOMES),
    nextNumber: 0,
    notedRequests: 0,
    heardAtMs: Number.NEGATIVE_INFINITY,
    clientsVersion: 0,
    halted: NONE_HALTED,
    toldAtMs: Number.NEGATIVE_INFINITY,
  }
}

/**
 * Takes numbers for leases, and returns the first of them. An isolate numbers the leases that it asks
 * for, so that the pool remembers with one bit which of them were settled: see settled-leases.ts.
 */
export function takeNumbers(leases: IsolateLeases, count: number): number {
  const first = leases.nextNumber
  leases.nextNumber += count
  return first
}

/**
 * Where a request's leases are in the stock: in the lane of its conversation's account, and in that of
 * all others.
 */
export interface LanesOfRequest {
  readonly own: Lane
  readonly general: Lane
}

/** The lanes of a request; null if it has to ask the pool. */
export function lanesOf(
  leases: IsolateLeases,
  draft: LeaseDraft,
  nowMs: number,
): LanesOfRequest | null {
  const { affinity, asked, models, tokens, routeIndex, caller, costNanos } = draft
  if (!isFresh(draft) || affinity?.kind === 'cache') return null
  const account = affinity === null ? null : getEntry(leases.homes, affinity.id)
  if (account === undefined) return null
  const open = (of: AccountId | null): Lane => {
    const client = caller.isLimited ? caller.id : null
    const isBounded = typeof costNanos === 'number'
    const kind = { routeIndex, asked, models, account: of, client, isBounded }
    const { lane, returned } = laneFor(leases.stock, kind, nowMs)
    oweUnused(leases, returned, nowMs)
    return lane
  }
  const own = open(account)
  countRequest(own, { tokens, costNanos: costNanos ?? 0 }, nowMs)
  return { own, general: account === null ? own : open(null) }
}

/** Whether leases have to be ordered for one of these lanes. */
export function isLow({ own, general }: LanesOfRequest, nowMs: number): boolean {
  return leasesToOrder(own, nowMs) > 0 || leasesToOrder(general, nowMs) > 0
}

/** Owes the word that no request came for these leases. */
function oweUnused({ outbox }: IsolateLeases, unused: readonly LeaseAhead[], nowMs: number): void {
  for (const lease of unused) oweSettlement(outbox, unusedAhead(lease), nowMs)
}

/**
 * Takes a lease from the stock for a request, and owes the word that it has begun.
 * @param lanes null for a request that has tried keys before, that is bound to one key, or that belongs
 *   to a conversation which this isolate does not know
 */
export function takeFromStock(
  leases: IsolateLeases,
  draft: LeaseDraft,
  lanes: LanesOfRequest | null,
  nowMs: number,
): { readonly lease: LeaseAhead; readonly begin: LeaseBegin } | null {
  const { affinity, clientId, tokens, leaseMs, costNanos } = draft
  const { outbox, isolate } = leases
  if (lanes === null) return null
  const { own, general } = lanes
  const need = { tokens, account: own.kind.account, costNanos: costNanos ?? 0 }
  const lease = takeLease(own, need, nowMs) ?? takeLease(general, need, nowMs)
  if (lease === null) return null
  const { leaseId, keyId, model, grantedAtMs, held } = lease
  noteHome(leases, draft, lease.accountId, nowMs)
  const conversation = affinity?.id ?? null
  const grant = { leaseId, keyId, model, grantedAtMs }
  const bound = costNanos === undefined ? {} : { costNanos }
  const of = held === undefined ? bound : { ...bound, held }
  const begin = { ...grant, isolate, clientId, tokens, leaseMs, conversation, ...of }
  oweBegin(outbox, begin, nowMs)
  if (held === undefined) return { lease, begin }
  const holds = holdsOf(held.holds, costNanos)
  return { lease: { ...lease, held: { ...held, holds } }, begin }
}

/**
 * Gives the leases ahead back that a request could use which the pool has none for.
 * @returns whether there are any
 */
export function giveBackFor(leases: IsolateLeases, draft: LeaseDraft, nowMs: number): boolean {
  const unused = dropFor(leases.stock, draft, nowMs)
  oweUnused(leases, unused, nowMs)
  return unused.length > 0
}

/** Leases ahead are for interactive requests: a batch asks for each of its own. */
function isFresh(draft: LeaseDraft): boolean {
  const { attempt, triedKeys, excludedAccounts, isFallback } = draft
  if (isOfBatch(draft)) return false
  return !isFallback && attempt === 'first' && triedKeys.length + excludedAccounts.length === 0
}

/** Notes where a request of a conversation goes. A batch moves none. */
export function noteHome(
  { homes }: IsolateLeases,
  draft: LeaseDraft,
  account: AccountId,
  nowMs: number,
): void {
  const { affinity } = draft
  if (affinity?.kind !== 'conversation' || isOfBatch(draft)) return
  setEntry(homes, affinity.id, account, nowMs)
}

/** Owes the row of a request that has ended. It is a text from here on: only who asks for it reads it. */
export function noteRequest(leases: IsolateLeases, row: RequestRow, nowMs: number): void {
  const mark = newMark(leases)
  oweRequest(
    leases.outbox,
    {
      ...{ id: row.id, mark, text: JSON.stringify(row), outcome: row.outcome },
      attempts: row.attempts.length + row.attemptsLeftOut,
    },
    nowMs,
  )
}

/** Owes what was counted of shared and kept answers. */
export function noteCache(
  leases: IsolateLeases,
  counted: Partial<CacheCounters>,
  nowMs: number,
): void {
  oweCache(leases.outbox, counted, () => newMark(leases), nowMs)
}

function newMark(leases: IsolateLeases): string {
  leases.notedRequests += 1
  return `${leases.isolate}:${leases.notedRequests}`
}

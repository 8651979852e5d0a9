import { type AccountId, type IsolateId, isolateId } from '../../balancing/ids.ts'
import type { LeaseAhead } from '../../balancing/limits/lease-order.ts'
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
  type Lane,
  type LeaseStock,
  laneFor,
  takeLease,
} from './lease-stock.ts'
import { createOutbox, type Outbox, oweBegin, oweSettlement, unusedLease } from './outbox.ts'

/** What the requests of one isolate share of their leases. Plain data. */
export interface IsolateLeases {
  readonly isolate: IsolateId
  readonly stock: LeaseStock
  readonly outbox: Outbox
  /** Where conversations were sent last, so that leases in stock keep them there. */
  readonly homes: RotatingMap<string, AccountId>
  /** When the pool's object answered last, in epoch milliseconds. */
  heardAtMs: number
}

/** The object remembers for longer. A conversation that has rested for this long asks it. */
const HOMES = { termMs: 60_000, capacity: 5_000 }

/** @param id unique over all isolates */
export function createIsolateLeases(id: string): IsolateLeases {
  return {
    isolate: isolateId(id),
    stock: createLeaseStock(),
    outbox: createOutbox(),
    homes: createRotatingMap(HOMES),
    heardAtMs: Number.NEGATIVE_INFINITY,
  }
}

/** Where a request's leases are in the stock; null if it has to ask the pool. */
export function laneOf(leases: IsolateLeases, draft: LeaseDraft, nowMs: number): Lane | null {
  const { affinity, asked, models, tokens } = draft
  if (!isFresh(draft) || affinity?.kind === 'cache') return null
  const account = affinity === null ? null : getEntry(leases.homes, affinity.id)
  if (account === undefined) return null
  const { lane, returned } = laneFor(leases.stock, { asked, models, account }, nowMs)
  oweUnused(leases, returned, nowMs)
  countRequest(lane, tokens, nowMs)
  return lane
}

/** Owes the word that no request came for these leases. */
export function oweUnused(
  { outbox }: IsolateLeases,
  unused: readonly LeaseAhead[],
  nowMs: number,
): void {
  for (const { leaseId } of unused) oweSettlement(outbox, unusedLease(leaseId), nowMs)
}

/**
 * Takes a lease from the stock for a request, and owes the word that it has begun.
 * @param lane null for a request that has tried keys before, that is bound to one key, or that belongs
 *   to a conversation which this isolate does not know
 */
export function takeFromStock(
  leases: IsolateLeases,
  draft: LeaseDraft,
  lane: Lane | null,
  nowMs: number,
): LeaseAhead | null {
  const { affinity, clientId, tokens, leaseMs } = draft
  const { outbox, isolate } = leases
  const lease = lane === null ? null : takeLease(lane, tokens, nowMs)
  if (lease === null) return null
  const { leaseId, keyId, model, grantedAtMs } = lease
  noteHome(leases, draft, lease.accountId, nowMs)
  const conversation = affinity?.id ?? null
  const grant = { leaseId, keyId, model, grantedAtMs }
  oweBegin(outbox, { ...grant, isolate, clientId, tokens, leaseMs, conversation }, nowMs)
  return lease
}

function isFresh({ attempt, triedKeys, excludedAccounts }: LeaseDraft): boolean {
  return attempt === 'first' && triedKeys.length + excludedAccounts.length === 0
}

/** Notes where a request of a conversation goes. */
export function noteHome(
  { homes }: IsolateLeases,
  { affinity }: LeaseDraft,
  account: AccountId,
  nowMs: number,
): void {
  if (affinity?.kind === 'conversation') setEntry(homes, affinity.id, account, nowMs)
}

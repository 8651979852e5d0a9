import { type AccountId, type IsolateId, isolateId } from '../../balancing/ids.ts'
import type { LeaseAhead } from '../../balancing/limits/lease-order.ts'
import {
  createRotatingMap,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../../balancing/limits/rotating-map.ts'
import type { LeaseDraft } from './lease-draft.ts'
import { createLeaseStock, type Lane, type LeaseStock, laneFor, takeLease } from './lease-stock.ts'
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

/**
 * Takes a lease from the stock for a request, and owes the word that it has begun. Null if the request
 * has to ask the pool: it has tried keys before, it is bound to one key, it belongs to a conversation
 * that this isolate does not know, or nothing is in stock for it.
 */
export function takeFromStock(
  leases: IsolateLeases,
  draft: LeaseDraft,
  nowMs: number,
): { readonly lease: LeaseAhead; readonly lane: Lane } | null {
  const { affinity, asked, models, clientId, tokens, leaseMs } = draft
  const { stock, outbox, isolate } = leases
  if (!isFresh(draft) || affinity?.kind === 'cache') return null
  const account = affinity === null ? null : getEntry(leases.homes, affinity.id)
  if (account === undefined) return null
  const { lane, returned } = laneFor(stock, { asked, models, account }, nowMs)
  for (const { leaseId } of returned) oweSettlement(outbox, unusedLease(leaseId), nowMs)
  const lease = takeLease(lane, tokens, nowMs)
  if (lease === null) return null
  const { leaseId, keyId, model, grantedAtMs } = lease
  noteHome(leases, draft, lease.accountId, nowMs)
  const conversation = affinity?.id ?? null
  const grant = { leaseId, keyId, model, grantedAtMs }
  oweBegin(outbox, { ...grant, isolate, clientId, tokens, leaseMs, conversation }, nowMs)
  return { lease, lane }
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

import type { ClientId, IsolateId, KeyId, LeaseId, ModelId } from '../ids.ts'
import type { Hold, QuotaCharge } from './quota-charge.ts'
import {
  createRotatingMap,
  deleteEntry,
  getEntry,
  type RotatingMap,
  setEntry,
} from './rotating-map.ts'
import {
  createSettledLeases,
  noteSettled,
  SETTLED_MS,
  type SettledLeases,
  wasSettled,
} from './settled-leases.ts'

/** Permission for one upstream attempt. A lease holds capacity until it is settled or expires. */
export type Lease = ReservedLease | RunningLease

interface AnyLease {
  readonly id: LeaseId
  readonly keyId: KeyId
  readonly model: ModelId
  readonly grantedAtMs: number
  readonly expiresAtMs: number
  /** Tokens that the lease took from the key's limit. The settlement corrects them. */
  readonly tokens: number
  /** Granted in panic: a failure of this lease lengthens no cooldown. */
  readonly panic: boolean
  /** The key's epoch at the grant. What a lease of an earlier epoch shows, the key was before. */
  readonly epoch: number
  /** The isolate that keeps telling of itself while it has the lease; null of an older release. */
  readonly isolate: IsolateId | null
  /** What it has taken of the limits of its client; null for a client without any. */
  readonly charge: QuotaCharge | null
  /** What it holds of its key's `max_spend`; null for a key without. */
  readonly keyHold: Hold | null
}

/** A lease that an isolate holds ahead, for a request that has yet to come. */
export interface ReservedLease extends AnyLease {
  readonly kind: 'reserved'
}

/** A lease of a request. */
export interface RunningLease extends AnyLease {
  readonly kind: 'running'
  readonly clientId: ClientId
  /** When its request and its tokens were counted against the key's limits per minute. */
  readonly chargedAtMs: number
  /** The whole term, in milliseconds, of a waiter's lease until it is fetched; otherwise null. */
  readonly unclaimedMs: number | null
  /** How the grant was paid, so that an unused lease can give it back. */
  readonly attempt: 'first' | 'move' | 'retry'
  /** Whether it is a batch's: then it counts in the batches' share of the key. */
  readonly isBatch: boolean
}

/** Whether a lease is a batch's. Leases are held ahead for interactive requests only. */
export function isBatchLease(lease: Lease): boolean {
  return lease.kind === 'running' && lease.isBatch
}

/**
 * Every lease ends exactly once. What has ended is remembered for a while, for two reasons: a
 * settlement that is sent twice counts once, and the id of an ended lease is not granted again.
 */
export interface Leases {
  readonly live: Map<LeaseId, Lease>
  /**
   * Leases that expired and are not settled yet: their usage is still owed. `expiresAtMs` is when the
   * pool saw that.
   */
  readonly owed: RotatingMap<LeaseId, Lease>
  readonly settled: SettledLeases
  /** No live lease expires before this moment. */
  nextExpiryMs: number
}

/**
 * All of them were live at once, or nearly: they are the leases of Workers that died or cannot reach
 * the object. One that is forgotten is still booked, by what its settlement says of it. About 4 MB.
 */
const OWED = { termMs: SETTLED_MS, capacity: 10_000 }

/** No leases. */
export function createLeases(): Leases {
  return {
    live: new Map(),
    owed: createRotatingMap(OWED),
    settled: createSettledLeases(),
    nextExpiryMs: Number.POSITIVE_INFINITY,
  }
}

/** Adds a lease, or replaces the one with the same id. */
export function open(leases: Leases, lease: Lease): void {
  leases.live.set(lease.id, lease)
  deleteEntry(leases.owed, lease.id)
  leases.nextExpiryMs = Math.min(leases.nextExpiryMs, lease.expiresAtMs)
}

/**
 * What a settlement finds:
 * - `live`: the lease was open and is closed now
 * - `expired`: the lease had expired, and this is its first settlement
 * - `forgotten`: the lease is unknown, for example since a restart of the object
 * - `duplicate`: the lease was settled before
 */
export type Closing =
  | { readonly kind: 'live'; readonly lease: Lease }
  | { readonly kind: 'expired'; readonly lease: Lease }
  | { readonly kind: 'forgotten' }
  | { readonly kind: 'duplicate' }

/** Ends a lease for its settlement. */
export function close(leases: Leases, id: LeaseId, nowMs: number): Closing {
  const closing = find(leases, id)
  if (closing.kind === 'duplicate') return closing
  leases.live.delete(id)
  deleteEntry(leases.owed, id)
  noteSettled(leases.settled, id, nowMs)
  return closing
}

function find(leases: Leases, id: LeaseId): Closing {
  const lease = leases.live.get(id)
  if (lease !== undefined) return { kind: 'live', lease }
  if (isSettled(leases, id)) return { kind: 'duplicate' }
  const owed = getEntry(leases.owed, id)
  return owed === undefined ? { kind: 'forgotten' } : { kind: 'expired', lease: owed }
}

/**
 * Ends the overdue leases and returns them. The cost is one comparison until the first lease is
 * due, and then one pass over the live leases.
 */
export function expire(leases: Leases, nowMs: number): Lease[] {
  if (nowMs < leases.nextExpiryMs) return []
  const expired: Lease[] = []
  let nextExpiryMs = Number.POSITIVE_INFINITY
  for (const lease of leases.live.values()) {
    if (lease.expiresAtMs <= nowMs) expired.push(lease)
    else nextExpiryMs = Math.min(nextExpiryMs, lease.expiresAtMs)
  }
  for (const lease of expired) owe(leases, { ...lease, expiresAtMs: nowMs }, nowMs)
  leases.nextExpiryMs = nextExpiryMs
  return expired
}

/**
 * Ends the leases of isolates that have fallen silent, and returns them. While a waiter's lease waits to
 * be fetched, its isolate need not tell of it: such a lease has a short term of its own.
 */
export function expireOf(leases: Leases, isolates: ReadonlySet<IsolateId>, nowMs: number): Lease[] {
  const expired = [...leases.live.values()].filter(
    (lease) => lease.isolate !== null && isolates.has(lease.isolate) && !isUnclaimed(lease),
  )
  for (const lease of expired) owe(leases, { ...lease, expiresAtMs: nowMs }, nowMs)
  return expired
}

/** Notes that a lease ended without its settlement. */
export function owe({ live, owed }: Leases, lease: Lease, nowMs: number): void {
  live.delete(lease.id)
  setEntry(owed, lease.id, lease, nowMs)
}

function isUnclaimed(lease: Lease): boolean {
  return lease.kind === 'running' && lease.unclaimedMs !== null
}

/** The lease of this id if it has ended without a word, and has had no settlement since. */
export function lostLease(leases: Leases, id: LeaseId): Lease | null {
  return getEntry(leases.owed, id) ?? null
}

/** Whether a lease of this id has had its settlement. */
export function isSettled(leases: Leases, id: LeaseId): boolean {
  return wasSettled(leases.settled, id)
}

/** Whether a lease of this id has ended. */
export function hasEnded(leases: Leases, id: LeaseId): boolean {
  return isSettled(leases, id) || getEntry(leases.owed, id) !== undefined
}

import type { ClientId, KeyId, LeaseId, ModelId } from '../ids.ts'

/** Permission for one upstream attempt. It holds capacity until it is settled or expires. */
export interface Lease {
  readonly id: LeaseId
  readonly keyId: KeyId
  readonly clientId: ClientId
  readonly model: ModelId
  readonly grantedAtMs: number
  readonly expiresAtMs: number
  /** Tokens taken from the key's limit for it, to be corrected when it ends. */
  readonly tokens: number
  /** Its whole term, in ms, while nobody has come for it yet: it was granted to a request that waited. */
  readonly unclaimedMs: number | null
  /** Granted while breakers were ignored: its failure lengthens no cooldown. */
  readonly panic: boolean
}

/**
 * Every lease ends exactly once. Ended ones are remembered for a while, so that
 * a settlement that is sent twice counts once, and a lease id that is asked for
 * again after its end is not granted a second time.
 */
export interface Leases {
  readonly live: Map<LeaseId, Lease>
  /** In order of their end. `lease` is kept only where its usage is still owed (it expired). */
  readonly ended: Map<LeaseId, { readonly endedAtMs: number; readonly owed: Lease | null }>
  /** No live lease expires before this moment. */
  nextExpiryMs: number
}

/** Longer than any retry of a settlement (Workers cut `waitUntil` after 30 s). */
const REMEMBER_ENDED_MS = 120_000

/** Bounds memory at any request rate: about 10 MB of ids. */
const MAX_ENDED = 50_000

export function createLeases(): Leases {
  return { live: new Map(), ended: new Map(), nextExpiryMs: Number.POSITIVE_INFINITY }
}

export function open(leases: Leases, lease: Lease): void {
  leases.live.set(lease.id, lease)
  leases.nextExpiryMs = Math.min(leases.nextExpiryMs, lease.expiresAtMs)
}

/**
 * What a settlement finds:
 * - `live`: the lease was open and is closed now
 * - `expired`: it had expired, and this is the first word of it since
 * - `forgotten`: unknown, so from before a restart of the object
 * - `duplicate`: it was settled before
 */
export type Closing =
  | { readonly kind: 'live'; readonly lease: Lease }
  | { readonly kind: 'expired'; readonly lease: Lease }
  | { readonly kind: 'forgotten' }
  | { readonly kind: 'duplicate' }

export function close(leases: Leases, id: LeaseId, nowMs: number): Closing {
  const lease = leases.live.get(id)
  if (lease !== undefined) {
    leases.live.delete(id)
    remember(leases, id, null, nowMs)
    return { kind: 'live', lease }
  }
  const ended = leases.ended.get(id)
  if (ended === undefined) {
    remember(leases, id, null, nowMs)
    return { kind: 'forgotten' }
  }
  if (ended.owed === null) return { kind: 'duplicate' }
  remember(leases, id, null, nowMs)
  return { kind: 'expired', lease: ended.owed }
}

/**
 * Ends the leases whose time is over and returns them. Costs nothing until the
 * first of them is due, then one pass over those that are open.
 */
export function expire(leases: Leases, nowMs: number): Lease[] {
  if (nowMs < leases.nextExpiryMs) return []
  const expired: Lease[] = []
  let nextExpiryMs = Number.POSITIVE_INFINITY
  for (const lease of leases.live.values()) {
    if (lease.expiresAtMs <= nowMs) expired.push(lease)
    else nextExpiryMs = Math.min(nextExpiryMs, lease.expiresAtMs)
  }
  for (const lease of expired) {
    leases.live.delete(lease.id)
    remember(leases, lease.id, lease, nowMs)
  }
  leases.nextExpiryMs = nextExpiryMs
  return expired
}

function remember(leases: Leases, id: LeaseId, owed: Lease | null, nowMs: number): void {
  leases.ended.delete(id)
  leases.ended.set(id, { endedAtMs: nowMs, owed })
  for (const [oldest, { endedAtMs }] of leases.ended) {
    const stale = endedAtMs < nowMs - REMEMBER_ENDED_MS || leases.ended.size > MAX_ENDED
    if (!stale) break
    leases.ended.delete(oldest)
  }
}

import type { Caller } from '../../balancing/clients/caller.ts'
import { ownAccount } from '../../balancing/health/account.ts'
import type { AccountId, KeyId } from '../../balancing/ids.ts'
import { type KeySelector, selects } from '../../balancing/routes.ts'
import type { UpstreamKey } from '../../config/upstream-keys.ts'

/** How long the ring avoids a key that failed. */
const AVOID_MS = 60_000

export interface RingKey {
  readonly keyId: KeyId
  readonly accountId: AccountId
}

/** Limits which keys a request may get. */
export interface RingBounds {
  /** The keys that its route selects; null for all. Only the configured account of a key counts. */
  readonly routeKeys: readonly KeySelector[] | null
  readonly caller: Pick<Caller, 'keys'>
  readonly triedKeys: readonly KeyId[]
  readonly excludedAccounts: readonly AccountId[]
  /** Keys that operators have halted, as far as the isolate has heard of it. */
  readonly halted: ReadonlySet<KeyId>
}

/**
 * The isolate's keys: the only place that maps an id to its secret. While the pool object can't be
 * reached, the ring also takes keys in turn and avoids those that failed in this isolate. With this
 * local memory, an outage of the object does not become an outage of the gateway.
 */
export interface KeyRing {
  /** The secret of a key, or null if it is no longer configured. */
  secret(id: KeyId): string | null
  /** Tells the key's secret from every other; null if the key is no longer configured. */
  fingerprint(id: KeyId): string | null
  /** Makes `next` avoid this key for a minute, but not the other keys of its account. */
  noteFailure(id: KeyId, nowMs: number): void
  /** The next key in turn that serves the request's route and is not ruled out, or null. */
  next(bounds: RingBounds, nowMs: number): RingKey | null
  /** The number of keys that are not disabled. */
  readonly size: number
}

export function createKeyRing(keys: readonly UpstreamKey[]): KeyRing {
  const secrets = new Map(keys.map((key) => [key.config.id, key.secret]))
  const fingerprints = new Map(keys.map(({ config }) => [config.id, config.fingerprint]))
  const ring = keys
    .filter((key) => !key.config.disabled)
    .map(({ config: { id, tags, account } }) => ({ id, tags, account: account ?? ownAccount(id) }))
  const failedAtMs = new Map<KeyId, number>()
  let turn = 0

  return {
    secret: (id) => secrets.get(id) ?? null,
    fingerprint: (id) => fingerprints.get(id) ?? null,
    noteFailure: (id, nowMs) => void failedAtMs.set(id, nowMs),
    next({ routeKeys, triedKeys, excludedAccounts, halted, caller }, nowMs) {
      const inTurn = [...ring.slice(turn), ...ring.slice(0, turn)].filter(
        (key) =>
          !(halted.has(key.id) || triedKeys.includes(key.id)) &&
          !excludedAccounts.includes(key.account) &&
          (routeKeys === null || routeKeys.some((selector) => selects(selector, key))) &&
          caller.keys.every((list) => list.some((selector) => selects(selector, key))),
      )
      const well = inTurn.filter(
        (key) => nowMs - (failedAtMs.get(key.id) ?? Number.NEGATIVE_INFINITY) >= AVOID_MS,
      )
      // If all keys failed recently, the keys are probably not the cause. Any is better than none.
      const key = well[0] ?? inTurn[0]
      if (key === undefined) return null
      turn = (ring.indexOf(key) + 1) % ring.length
      return { keyId: key.id, accountId: key.account }
    },
    size: ring.length,
  }
}

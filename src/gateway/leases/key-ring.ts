import { ownAccount } from '../../balancing/health/account.ts'
import type { AccountId, KeyId } from '../../balancing/ids.ts'
import { type KeySelector, selects } from '../../balancing/routes.ts'
import type { UpstreamKey } from '../../config/upstream-keys.ts'

/** How long a key that failed is passed over while the pool cannot be asked. */
const AVOID_MS = 60_000

export interface RingKey {
  readonly keyId: KeyId
  readonly accountId: AccountId
}

/** Which keys a request may have. */
export interface RingBounds {
  /** Those that its route selects; null for all. An account counts as it is configured. */
  readonly routeKeys: readonly KeySelector[] | null
  readonly triedKeys: readonly KeyId[]
  readonly excludedAccounts: readonly AccountId[]
}

/**
 * The isolate's keys: the only place that knows the secret behind an id. It also
 * takes keys in turn by itself while the pool object can't be reached, avoiding
 * those that it saw fail; that much memory of our own is what keeps an outage of
 * the object from becoming one of the gateway.
 */
export interface KeyRing {
  /** The secret of a key, or null if it is no longer configured. */
  secret(id: KeyId): string | null
  /** Remembers a key's (or its account's) failure for a minute. */
  noteFailure(id: KeyId, nowMs: number): void
  /** The next key in turn that serves the request's route and that it has not ruled out, or null. */
  next(bounds: RingBounds, nowMs: number): RingKey | null
  /** How many keys are not disabled. */
  readonly size: number
}

export function createKeyRing(keys: readonly UpstreamKey[]): KeyRing {
  const secrets = new Map(keys.map((key) => [key.config.id, key.secret]))
  const ring = keys
    .filter((key) => !key.config.disabled)
    .map(({ config: { id, tags, account } }) => ({ id, tags, account: account ?? ownAccount(id) }))
  const failedAtMs = new Map<KeyId, number>()
  let turn = 0

  return {
    secret: (id) => secrets.get(id) ?? null,
    noteFailure: (id, nowMs) => void failedAtMs.set(id, nowMs),
    next({ routeKeys, triedKeys, excludedAccounts }, nowMs) {
      const inTurn = [...ring.slice(turn), ...ring.slice(0, turn)].filter(
        (key) =>
          !(triedKeys.includes(key.id) || excludedAccounts.includes(key.account)) &&
          (routeKeys === null || routeKeys.some((selector) => selects(selector, key))),
      )
      const well = inTurn.filter(
        (key) => nowMs - (failedAtMs.get(key.id) ?? Number.NEGATIVE_INFINITY) >= AVOID_MS,
      )
      // When all have failed lately the fault is hardly theirs: any is better than none.
      const key = well[0] ?? inTurn[0]
      if (key === undefined) return null
      turn = (ring.indexOf(key) + 1) % ring.length
      return { keyId: key.id, accountId: key.account }
    },
    size: ring.length,
  }
}

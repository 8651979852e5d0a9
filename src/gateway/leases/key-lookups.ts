import type { KeyReport } from '../../balancing/health/key-report.ts'
import type { LookupDuty } from '../../balancing/health/lookup-duty.ts'
import type { KeyId } from '../../balancing/ids.ts'
import { readBalance, readKeyInfo } from '../../openrouter/key-info.ts'
import type { Ports } from '../ports.ts'
import { createAccountQuery } from './account-query.ts'
import type { CreditCache } from './credit-cache.ts'
import type { KeyRing } from './key-ring.ts'
import { createTurns } from './turns.ts'

/**
 * Looks up all given keys, a few at a time. A key's report comes from the shared cache if the entry
 * is recent enough and no balance is needed, else from OpenRouter. A failed lookup is reported as
 * `unknown`. The function never rejects.
 */
export type KeyLookups = (orders: readonly LookupDuty[]) => Promise<KeyReport[]>

/**
 * An invocation opens at most six connections that wait for an answer, and further ones wait in line,
 * a failover of the request too. So lookups take only a part of them, whatever is due.
 */
const MAX_CONNECTIONS = 3

/** `/auth/key` is the old name of `/key`. It is asked if upstream answers 404 to `/key`. */
const PATHS = ['key', 'auth/key'] as const

export interface KeyLookupParts {
  readonly ports: Ports
  readonly upstreamUrl: string
  readonly ring: KeyRing
  readonly cache: CreditCache
}

export function createKeyLookups(parts: KeyLookupParts): KeyLookups {
  const { ports, upstreamUrl, ring, cache } = parts
  const inTurn = createTurns(MAX_CONNECTIONS)
  const query = createAccountQuery(ports, upstreamUrl)
  const get = (path: string, secret: string) => inTurn(() => query(path, secret))
  const askKey = async (keyId: KeyId, secret: string, askedAtMs: number): Promise<KeyReport> => {
    for (const path of PATHS) {
      const { status, body } = await get(path, secret)
      if (status === 404) continue
      const found = readKeyInfo(status, body, askedAtMs)
      if (found.kind === 'unknown') return { keyId, kind: 'unknown' }
      return found.kind === 'rejected'
        ? { keyId, askedAtMs, ...found }
        : { keyId, askedAtMs, balanceUsd: null, ...found }
    }
    return { keyId, kind: 'unknown' }
  }
  const lookUp = async ({ keyId, freshSinceMs, withBalance }: LookupDuty): Promise<KeyReport> => {
    const secret = ring.secret(keyId)
    const fingerprint = ring.fingerprint(keyId)
    if (secret === null || fingerprint === null) return { keyId, kind: 'unknown' }
    const cached = withBalance ? null : await inTurn(() => cache.read(keyId, fingerprint))
    if (cached !== null && cached.askedAtMs >= freshSinceMs) return cached
    // `freshSinceMs` is from the pool object's clock, which may be ahead of this one. A report must
    // not look older than its lookup duty.
    const askedAtMs = Math.max(ports.nowMs(), freshSinceMs)
    const [answer, balanceUsd] = await Promise.all([
      askKey(keyId, secret, askedAtMs),
      withBalance ? balanceOf(secret) : null,
    ])
    if (answer.kind === 'unknown') return answer
    const found = { ...answer, fingerprint }
    if (found.kind !== 'valid') return found
    await inTurn(() => cache.write(found))
    return { ...found, balanceUsd }
  }
  const balanceOf = async (secret: string) => {
    const { status, body } = await get('credits', secret)
    return readBalance(status, body)
  }
  return (orders) => Promise.all(orders.map(lookUp))
}

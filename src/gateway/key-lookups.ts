import type { KeyId } from '../balancing/ids.ts'
import type { Lookup } from '../balancing/settlement.ts'
import { readKeyLookup } from '../openrouter/key-lookup.ts'
import type { KeyRing } from './key-ring.ts'
import type { Ports } from './ports.ts'

/** Asks OpenRouter about keys, all at once. A lookup that fails is `unknown`; it never throws. */
export type KeyLookups = (keys: readonly KeyId[]) => Promise<Lookup[]>

const LOOKUP_TIMEOUT_MS = 10_000

/** `/auth/key` is the old name of `/key`, for an upstream that only knows that one. */
const PATHS = ['key', 'auth/key'] as const

export function createKeyLookups(ports: Ports, upstreamUrl: string, ring: KeyRing): KeyLookups {
  const lookUp = async (keyId: KeyId): Promise<Lookup> => {
    const secret = ring.secret(keyId)
    if (secret === null) return { keyId, kind: 'unknown' }
    const controller = new AbortController()
    const cancel = ports.timer(LOOKUP_TIMEOUT_MS, () => controller.abort())
    try {
      for (const path of PATHS) {
        const response = await ports.fetch(`${upstreamUrl}/${path}`, {
          headers: { authorization: `Bearer ${secret}` },
          redirect: 'manual',
          signal: controller.signal,
        })
        const body: unknown = await response.json().catch(() => undefined)
        if (response.status !== 404) return { keyId, ...readKeyLookup(response.status, body) }
      }
      return { keyId, kind: 'unknown' }
    } catch {
      return { keyId, kind: 'unknown' }
    } finally {
      cancel()
    }
  }
  return (keys) => Promise.all(keys.map(lookUp))
}

import * as z from 'zod/mini'
import { accountId, keyId } from '../balancing/ids.ts'
import type { CreditCache, KnownCredit } from '../gateway/leases/credit-cache.ts'
import { type Ports, withinTime } from '../gateway/ports.ts'
import { orElse } from '../key-pool/or-else.ts'

/** An entry in KV. It is parsed, not cast, since another release may have written it. */
const stored = z.object({
  limitUsd: z.nullable(z.number()),
  remainingUsd: z.nullable(z.number()),
  resetsAtMs: z.nullable(z.number()),
  expiresAtMs: z.nullable(z.number()),
  owner: z.nullable(z.string()),
  askedAtMs: z.number(),
  // An entry of the first release says nothing of its secret, and so is none.
  fingerprint: z.string(),
  layer: orElse(z.nullable(z.string()), null),
  creator: orElse(z.nullable(z.string()), null),
  workspace: orElse(z.nullable(z.string()), null),
  freeRemaining: orElse(z.nullable(z.number()), null),
  usageDailyUsd: orElse(z.nullable(z.number()), null),
})

/** An entry survives any likely outage, and the entry of a removed key disappears in the end. */
const KEEP_S = 30 * 24 * 60 * 60

/** A read of KV takes milliseconds. Without an answer by then OpenRouter is asked. */
export const KV_TIMEOUT_MS = 1_000

/** The credit cache in Workers KV. Each entry's name is the key's public id. */
export function createCreditCache(kv: KVNamespace, ports: Pick<Ports, 'timer'>): CreditCache {
  return {
    async read(id, fingerprint) {
      const read = kv.get(id, 'json').catch(() => null)
      const parsed = stored.safeParse(await withinTime(ports, KV_TIMEOUT_MS, read))
      if (!parsed.success || parsed.data.fingerprint !== fingerprint) return null
      const { owner, ...rest } = parsed.data
      return {
        ...rest,
        kind: 'valid',
        keyId: keyId(id),
        owner: owner === null ? null : accountId(owner),
        balanceUsd: null,
      }
    },
    async write({ keyId: id, kind: _, balanceUsd: __, ...value }: KnownCredit) {
      const text = JSON.stringify(value)
      const put = kv.put(id, text, { expirationTtl: KEEP_S }).catch(() => undefined)
      await withinTime(ports, KV_TIMEOUT_MS, put)
    },
  }
}

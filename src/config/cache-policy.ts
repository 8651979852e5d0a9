import * as z from 'zod/mini'
import { boundedInteger, flag, oneOf, section } from './fields.ts'

/** Who gets an answer that somebody else has asked for: nobody, his group's clients, every client. */
export const CACHE_SCOPES = ['client', 'group', 'pool'] as const
export type CacheScope = (typeof CACHE_SCOPES)[number]

/** How answers of a route are given to those who ask the same. */
export interface CachePolicy {
  /** How long an answer is kept, in milliseconds; null if it goes only to those who ask meanwhile. */
  readonly ttlMs: number | null
  readonly scope: CacheScope
  /** A larger answer is not kept. */
  readonly maxBytes: number
  /** Whether requests that come while the same is being answered get that answer. */
  readonly share: boolean
}

const WEEK_S = 7 * 24 * 60 * 60
const MIB = 1024 * 1024

/** An answer that is kept is held in memory while it is written and read, beside all others. */
const MAX_KEPT_BYTES = 8 * MIB

export const cacheFields = section({
  ttl_s: z.optional(boundedInteger(1, WEEK_S)),
  scope: z._default(oneOf(CACHE_SCOPES), 'client'),
  max_bytes: z._default(boundedInteger(1024, MAX_KEPT_BYTES), MIB),
  share: z._default(flag(), true),
})

/** Null where nothing is kept and nothing shared. */
export function cacheOf(fields: z.infer<typeof cacheFields> | undefined): CachePolicy | null {
  if (fields === undefined) return null
  const { ttl_s: ttlS, scope, max_bytes: maxBytes, share } = fields
  if (ttlS === undefined && !share) return null
  return { ttlMs: ttlS === undefined ? null : ttlS * 1000, scope, maxBytes, share }
}

import { z } from 'zod'
import { readError } from './upstream-failure.ts'

/** What `GET /key` said about a key. `null` dollars are an uncapped key, not an empty one. */
export type KeyLookup =
  | { readonly kind: 'valid'; readonly remainingUsd: number | null }
  | { readonly kind: 'rejected' }
  | { readonly kind: 'unknown' }

/** The part of the answer that is used so far. https://openrouter.ai/docs/api-reference/limits */
const keyAnswer = z.object({
  data: z.object({
    limit: z.number().nullish(),
    limit_remaining: z.number().nullish(),
  }),
})

/**
 * Judges the answer of `GET /key`. Only an answer that is clearly OpenRouter's
 * proves anything about the key: a page of the edge, an outage or a shape that
 * we do not know leaves it as it was.
 * @param body the parsed JSON, or anything else where there was none.
 */
export function readKeyLookup(status: number, body: unknown): KeyLookup {
  if (status === 401) {
    const error = readError(body, status)
    return error !== null && error.providerName === null
      ? { kind: 'rejected' }
      : { kind: 'unknown' }
  }
  const answer = keyAnswer.safeParse(body)
  if (status !== 200 || !answer.success) return { kind: 'unknown' }
  const { limit = null, limit_remaining: remaining = null } = answer.data.data
  if (limit !== null && remaining === null) return { kind: 'unknown' }
  // A cap is overdrawn by the requests that were running when it was reached.
  return { kind: 'valid', remainingUsd: remaining === null ? null : Math.max(0, remaining) }
}

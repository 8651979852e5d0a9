import { z } from 'zod'
import { type AccountId, accountId } from '../balancing/ids.ts'
import { readError } from './failures/upstream-failure.ts'
import { endOfUtcWindow, type UtcWindow } from './utc-window.ts'

/** What `GET /key` said about a key. */
export type KeyInfo =
  | ({ readonly kind: 'valid' } & KeyStatus)
  | { readonly kind: 'rejected' }
  | { readonly kind: 'unknown' }

export interface KeyStatus {
  /** The spending cap in USD, and what is left of it. `null` is an uncapped key, not an empty one. */
  readonly limitUsd: number | null
  readonly remainingUsd: number | null
  /** When the cap begins anew; null where it never does. */
  readonly resetsAtMs: number | null
  readonly expiresAtMs: number | null
  /** Who pays: the organisation, else the person who made the key. */
  readonly owner: AccountId | null
}

/** The part of the answer that is used. https://openrouter.ai/docs/api-reference/limits */
const keyAnswer = z.object({
  data: z.object({
    limit: z.number().nullish(),
    limit_remaining: z.number().nullish(),
    // What is not known of these must not cost us the rest of the answer.
    limit_reset: z.string().nullish().catch(null),
    expires_at: z.string().nullish().catch(null),
    organization_id: z.string().nullish().catch(null),
    creator_user_id: z.string().nullish().catch(null),
  }),
})

const RESETS: ReadonlyMap<string | null | undefined, UtcWindow> = new Map([
  ['daily', 'day'],
  ['weekly', 'week'],
  ['monthly', 'month'],
])

/**
 * Judges the answer of `GET /key`. Only an answer that is clearly OpenRouter's
 * proves anything about the key: a page of the edge, an outage or a shape that
 * we do not know leaves it as it was.
 * @param body the parsed JSON, or anything else where there was none.
 * @param nowMs when it was asked: the cap's window is the one of that moment
 */
export function readKeyInfo(status: number, body: unknown, nowMs: number): KeyInfo {
  if (status === 401) {
    const error = readError(body, status)
    return error !== null && error.providerName === null
      ? { kind: 'rejected' }
      : { kind: 'unknown' }
  }
  const answer = keyAnswer.safeParse(body)
  if (status !== 200 || !answer.success) return { kind: 'unknown' }
  const { limit = null, limit_remaining: remaining = null, ...rest } = answer.data.data
  if (limit !== null && remaining === null) return { kind: 'unknown' }
  const window = RESETS.get(rest.limit_reset)
  const owner = rest.organization_id || rest.creator_user_id || null
  return {
    kind: 'valid',
    limitUsd: limit,
    // A cap is overdrawn by the requests that were running when it was reached.
    remainingUsd: remaining === null ? null : Math.max(0, remaining),
    resetsAtMs: window === undefined ? null : endOfUtcWindow(window, nowMs),
    expiresAtMs: momentOf(rest.expires_at),
    owner: owner === null ? null : accountId(owner),
  }
}

function momentOf(text: string | null | undefined): number | null {
  const momentMs = Date.parse(text ?? '')
  return Number.isNaN(momentMs) ? null : momentMs
}

const creditsAnswer = z.object({
  data: z.object({ total_credits: z.number(), total_usage: z.number() }),
})

/**
 * What an account has left, in USD, by the answer of `GET /credits`; null where it
 * does not tell. By its documentation OpenRouter shows it to management keys only.
 */
export function readBalance(status: number, body: unknown): number | null {
  const answer = creditsAnswer.safeParse(body)
  if (status !== 200 || !answer.success) return null
  return answer.data.data.total_credits - answer.data.data.total_usage
}

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
  /** The spending cap in USD, and what is left of it. `null` means no cap; it does not mean 0. */
  readonly limitUsd: number | null
  readonly remainingUsd: number | null
  /** When the cap resets, in epoch milliseconds; null if it never resets. */
  readonly resetsAtMs: number | null
  readonly expiresAtMs: number | null
  /** The account that pays: the organisation, or else the user who created the key. */
  readonly owner: AccountId | null
}

/** The part of the answer that is used. https://openrouter.ai/docs/api-reference/limits */
const keyAnswer = z.object({
  data: z.object({
    limit: z.number().nullish(),
    limit_remaining: z.number().nullish(),
    // An unexpected value in one of these fields must not make the rest of the answer unusable.
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
 * Reads the answer of `GET /key`. Only an answer that is clearly OpenRouter's proves something
 * about the key. A page of the CDN, an outage or an unknown form gives `unknown`.
 * @param body the parsed JSON, or any other value if the answer was not JSON
 * @param nowMs the moment of the call, in epoch milliseconds: it selects the cap's window
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
    // Requests that were running when the key reached its cap may overdraw it.
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
 * The balance of an account, in USD, from the answer of `GET /credits`; null if the answer does not
 * give it. According to OpenRouter's documentation, only management keys may read it.
 */
export function readBalance(status: number, body: unknown): number | null {
  const answer = creditsAnswer.safeParse(body)
  if (status !== 200 || !answer.success) return null
  return answer.data.data.total_credits - answer.data.data.total_usage
}

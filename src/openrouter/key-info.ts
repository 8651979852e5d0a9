import * as z from 'zod/mini'
import { type AccountId, accountId } from '../balancing/ids.ts'
import { endOfUtcWindow, type UtcWindow } from '../balancing/limits/utc-window.ts'
import { readError } from './failures/upstream-failure.ts'
import { listOf, numberOf, objectOf, textOf } from './json-value.ts'

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
  /** The scope of the budget layer that these amounts are of; null if they are the cap's. */
  readonly layer: string | null
  readonly creator: string | null
  readonly workspace: string | null
  /** How many requests for free models the account has left today; null if it is not told. */
  readonly freeRemaining: number | null
  /** What the key has spent in the running UTC day; null if it is not told. */
  readonly usageDailyUsd: number | null
}

/**
 * The part of the answer that is used. https://openrouter.ai/docs/api-reference/limits
 * Only the amounts are checked here. An unexpected value in another field must not make the rest of
 * the answer unusable, so each of those is read by itself.
 */
const keyAnswer = z.object({
  data: z.looseObject({
    limit: z.nullish(z.number()),
    limit_remaining: z.nullish(z.number()),
  }),
})

const RESETS: ReadonlyMap<unknown, UtcWindow> = new Map([
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
  const creator = textOf(rest.creator_user_id)
  const owner = textOf(rest.organization_id) ?? creator
  const resetsAtMs = endOfReset(rest.limit_reset, nowMs)
  const cap = { layer: null, limitUsd: limit, remainingUsd: remaining, resetsAtMs }
  return {
    kind: 'valid',
    ...tightest(cap, budgetLayers(body, nowMs)),
    creator,
    workspace: textOf(rest.workspace_id),
    freeRemaining: numberOf(objectOf(rest.free_model_daily_requests).remaining),
    usageDailyUsd: numberOf(rest.usage_daily),
    expiresAtMs: momentOf(rest.expires_at),
    owner: owner === null ? null : accountId(owner),
  }
}

/** What one limit of a key leaves: its cap, or a budget layer. */
type LimitStatus = Pick<KeyStatus, 'layer' | 'limitUsd' | 'remainingUsd' | 'resetsAtMs'>

const layerAnswer = z.looseObject({ scope: z.string(), remaining_usd: z.number() })

/**
 * The budget layers of a key: those of the key itself, of its creator, of its workspace. OpenRouter
 * does not document which field holds their list. So every list of objects of that form is one, and so
 * is `effective_budget`, the tightest of them. A layer without an amount limits nothing.
 */
function budgetLayers(body: unknown, nowMs: number): readonly LimitStatus[] {
  const data = objectOf(objectOf(body).data)
  const listed = [data.effective_budget, ...Object.values(data).flatMap(listOf)]
  return listed.flatMap((value) => {
    const layer = layerAnswer.safeParse(value)
    if (!layer.success) return []
    const { scope, remaining_usd, limit_usd, reset_interval, resets_at } = layer.data
    return {
      layer: scope.replace(/^openrouter_/, ''),
      limitUsd: numberOf(limit_usd),
      remainingUsd: remaining_usd,
      resetsAtMs: momentOf(resets_at) ?? endOfReset(reset_interval, nowMs),
    }
  })
}

/**
 * The limit that leaves least. A layer goes before a cap that leaves the same: it may be the cap
 * itself, under its name as a layer. Requests that were running when a limit was reached may overdraw
 * it.
 */
function tightest(cap: LimitStatus, layers: readonly LimitStatus[]): LimitStatus {
  const left = ({ remainingUsd }: LimitStatus) =>
    remainingUsd === null ? Number.POSITIVE_INFINITY : Math.max(0, remainingUsd)
  const least = layers.reduce((a, b) => (left(b) < left(a) ? b : a), layers[0] ?? cap)
  const found = left(least) <= left(cap) ? least : cap
  const { remainingUsd } = found
  return { ...found, remainingUsd: remainingUsd === null ? null : left(found) }
}

function endOfReset(reset: unknown, nowMs: number): number | null {
  const window = RESETS.get(reset)
  return window === undefined ? null : endOfUtcWindow(window, nowMs)
}

function momentOf(value: unknown): number | null {
  const momentMs = Date.parse(textOf(value) ?? '')
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

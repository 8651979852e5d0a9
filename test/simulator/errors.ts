import type { FaultParams } from './fault-params.ts'
import type { Passed } from './rate-limits.ts'
import type { Budget, Key, Settings } from './world.ts'

/** An error of OpenRouter's platform, before an API shape puts it into its own envelope. */
export interface ApiError {
  readonly code: number | string
  readonly message: string
  readonly metadata?: Readonly<Record<string, unknown>>
}

export interface ErrorAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly error: ApiError
}

/** The error answer of a refused request, and its name in the log. */
export interface Refusal {
  readonly answer: ErrorAnswer
  readonly label: string
}

/** The values that the texts mention. */
export interface ErrorContext {
  readonly model: string
  readonly provider: string
  /** 64 hex digits. The newest key-limit text names the key by them. */
  readonly keyHash: string
  readonly nowMs: number
  readonly settings: Settings
  readonly params: FaultParams
}

const KEYS_URL = 'https://openrouter.ai/settings/keys'
const CREDITS_URL = 'https://openrouter.ai/settings/credits'

/** An error answer with this status, which is also its code. */
export function failure(
  status: number,
  message: string,
  metadata?: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {},
): ErrorAnswer {
  const error =
    metadata === undefined ? { message, code: status } : { message, code: status, metadata }
  return { status, headers, error }
}

/** The source of a limit. Bodies from before July 2026 do not name it. */
export function limitSource(
  context: ErrorContext,
  source: string,
  remedy: string,
): Record<string, unknown> {
  if (context.settings.errorForm === 'older') return {}
  return { limit_source: source, remedy_hint: remedy }
}

export const unauthorized = (): ErrorAnswer => failure(401, 'User not found.')

/** 403: the key has spent its cap. */
export function keyLimit(
  context: ErrorContext,
  cap: { reset: Key['limitReset']; usedUsd: number; limitUsd: number; resetsAtMs: number | null },
): ErrorAnswer {
  const window = cap.reset ?? 'total'
  const start = `Key limit exceeded (${window} limit). Manage it using `
  if (context.settings.errorForm === 'older') return failure(403, `${start}${KEYS_URL}`)
  const resets = cap.resetsAtMs === null ? '' : `; resets ${new Date(cap.resetsAtMs).toISOString()}`
  const spent = `$${cap.usedUsd.toFixed(2)} of $${cap.limitUsd.toFixed(2)} used${resets}.`
  return failure(
    403,
    `${start}https://openrouter.ai/workspaces/default/keys/${context.keyHash} ${spent}`,
    { limit_source: 'openrouter_key_limit', remedy_hint: 'Raise the limit of this key.' },
  )
}

/** 403: a budget that covers the key is spent. It has no `Retry-After`. */
export function budgetSpent(
  { settings }: ErrorContext,
  { scope, limitUsd, spendUsd }: Budget,
  resetsAtMs: number | null,
): ErrorAnswer {
  const source = scope === 'workspace' ? 'workspace_budget' : 'guardrail_budget'
  const prefix = settings.errorForm === 'older' ? '' : 'openrouter_'
  return failure(403, `A budget of $${limitUsd.toFixed(2)} is exceeded.`, {
    limit_source: `${prefix}${source}`,
    scope,
    limit_usd: limitUsd,
    spend_usd: spendUsd,
    resets_at: resetsAtMs === null ? null : new Date(resetsAtMs).toISOString(),
  })
}

/** 402: too many tokens, in the words of a limit, with the advice whose limit to raise. */
export function tokensExceed(
  payer: 'key' | 'account',
  what: string,
  affordable: number,
): ErrorAnswer {
  const cure =
    payer === 'key'
      ? `visit ${KEYS_URL} and create a key with a higher monthly limit`
      : `visit ${CREDITS_URL} and upgrade to a paid account`
  return failure(402, `${what} limit exceeded: 65536 > ${affordable}. To increase, ${cure}`)
}

/** 402: a request with fewer tokens would pass. `payer`: whose money is short, key or account. */
export function canOnlyAfford(
  context: ErrorContext,
  payer: 'key' | 'account',
  tokens: { requested: number; affordable: number },
): ErrorAnswer {
  const cure =
    payer === 'key'
      ? `${KEYS_URL} and create a key with a higher monthly limit`
      : `${CREDITS_URL} and upgrade to a paid account`
  const message =
    'This request requires more credits, or fewer max_tokens. You requested up to ' +
    `${tokens.requested} tokens, but can only afford ${tokens.affordable}. To increase, visit ${cure}`
  const source = payer === 'key' ? 'openrouter_key_limit' : 'openrouter_credits'
  return failure(402, message, {
    ...limitSource(context, source, 'Lower max_tokens or add credits.'),
    previous_errors: [],
  })
}

/** 402: the account has no credits left, or never bought any. */
export function outOfCredits(context: ErrorContext, everPurchased: boolean): ErrorAnswer {
  const message = everPurchased
    ? `Insufficient credits. Add more using ${CREDITS_URL}`
    : 'Insufficient credits. This account never purchased credits. Make sure your key is on the ' +
      `correct account or org, and if so, purchase more at ${CREDITS_URL}`
  return failure(402, message, limitSource(context, 'openrouter_credits', 'Add credits.'))
}

/** 402: requests in flight hold the account's budget. It is temporary, so it says when to retry. */
export function inFlightBudget(context: ErrorContext): ErrorAnswer {
  const metadata = {
    limit_source: 'openrouter_in_flight_budget',
    reason: 'in_flight_budget_exhausted',
    remedy_hint: 'Retry when requests in flight have finished.',
  }
  return failure(402, 'Requests in flight already use the available credits.', metadata, {
    'retry-after': retryAfter(context, 2),
  })
}

/** 402: this request alone is larger than the account's in-flight budget. */
export function weightExceedsBudget(): ErrorAnswer {
  return failure(402, 'This request is larger than the available in-flight credits.', {
    limit_source: 'openrouter_credits',
    reason: 'weight_exceeds_budget',
    remedy_hint: 'Lower max_tokens or add credits.',
  })
}

/** 429 of the platform's own limits, with the reset in epoch milliseconds. */
export function rateLimited(context: ErrorContext, passed: Passed): ErrorAnswer {
  const texts = {
    'free-day': {
      message:
        passed.perWindow > 50
          ? 'Rate limit exceeded: free-models-per-day-high-balance. '
          : 'Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day',
      source: 'openrouter_free_tier_daily',
    },
    'free-minute': {
      message: 'Rate limit exceeded: free-models-per-min. ',
      source: 'openrouter_free_tier_per_minute',
    },
    'new-account': {
      message: `Rate limit exceeded: new-account-rpm/${context.model}. New accounts may send ${passed.perWindow} requests per minute to one model.`,
      source: 'openrouter_new_account',
    },
  }
  const { message, source } = texts[passed.limit]
  const limits = {
    'X-RateLimit-Limit': String(passed.perWindow),
    'X-RateLimit-Remaining': '0',
    'X-RateLimit-Reset': String(passed.resetAtMs),
  }
  return failure(
    429,
    message,
    {
      ...inBody(context, limits),
      provider_name: null,
      ...limitSource(context, source, 'Wait for the reset.'),
    },
    inHeaders(context, limits),
  )
}

/** The rate-limit headers as metadata, if the settings put them into the body. */
export function inBody(context: ErrorContext, limits: Record<string, string>) {
  return context.settings.rateLimitHeaders === 'http' ? {} : { headers: limits }
}

/** The rate-limit headers as headers, if the settings put them there. */
export function inHeaders(context: ErrorContext, limits: Record<string, string>) {
  return context.settings.rateLimitHeaders === 'metadata' ? {} : limits
}

/** `Retry-After`, in seconds or as an HTTP date, as the fault's parameters say. */
export function retryAfter(context: ErrorContext, defaultSeconds: number): string {
  const seconds = context.params.retryAfter ?? defaultSeconds
  if (context.params.date !== true) return String(seconds)
  return new Date(context.nowMs + seconds * 1000).toUTCString()
}

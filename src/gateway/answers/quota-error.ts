import { usdOf } from '../../balancing/clients/budget.ts'
import type { QuotaRefusal } from '../../balancing/limits/quota-refusal.ts'
import { type GatewayError, gatewayError } from './gateway-error.ts'

/** A request that its client's running ones keep out has room as soon as one of them ends. */
const SOON_MS = 1_000

/** The error for a request that a limit or a budget of its client does not admit. */
export function quotaError(refusal: QuotaRefusal, nowMs: number): GatewayError {
  switch (refusal.kind) {
    case 'rate':
      return rateError(refusal, nowMs)
    case 'budget':
      return budgetError(refusal, nowMs)
    case 'revoked':
      return gatewayError('unauthorized', 'This client key is not valid any more.')
    case 'unpriceable':
      return gatewayError('budget_unpriceable', UNPRICEABLE, { metadata: ofOwner(refusal) })
  }
}

const UNPRICEABLE =
  'The budget of this client key wants to know what a request may cost, and this one has no bound. ' +
  'Name a model with a known price, and max_tokens.'

const LIMITS = {
  rpm: 'requests per minute',
  tpm: 'tokens per minute',
  rpd: 'requests per day',
  max_concurrent: 'requests at the same time',
} as const

function rateError(refusal: Extract<QuotaRefusal, { kind: 'rate' }>, nowMs: number): GatewayError {
  const { limit, max, remaining, resetsAtMs } = refusal
  const atMs = resetsAtMs ?? (limit === 'max_concurrent' ? nowMs + SOON_MS : null)
  const message =
    `This client key is at its limit of ${max} ${LIMITS[limit]}.` +
    (atMs === null ? ' The request alone is above it.' : ' Try again after Retry-After.')
  return gatewayError('client_rate_limited', message, {
    retryAfterMs: atMs === null ? null : atMs - nowMs,
    metadata: { ...ofOwner(refusal), limit, max, remaining },
    headers: {
      'x-ratelimit-limit': String(max),
      'x-ratelimit-remaining': String(remaining),
      // Epoch milliseconds, as OpenRouter's own.
      ...(atMs === null ? {} : { 'x-ratelimit-reset': String(Math.ceil(atMs)) }),
    },
  })
}

function budgetError(
  refusal: Extract<QuotaRefusal, { kind: 'budget' }>,
  nowMs: number,
): GatewayError {
  const { period, limitNanos, spentNanos, reservedNanos, resetsAtMs, isPassing } = refusal
  const limit = usdOf(limitNanos)
  const message =
    `The budget of this client key, ${limit} USD ${PERIODS[period]}, does not pay for this request. ` +
    (isPassing
      ? 'What is left of it is reserved for requests that run now. Try again after Retry-After.'
      : 'Ask the operator of this gateway for more, or wait for the next period.')
  const resetsAt = resetsAtMs === null ? null : new Date(resetsAtMs).toISOString()
  return gatewayError('budget_exceeded', message, {
    retryAfterMs: isPassing ? SOON_MS : resetsAtMs === null ? null : resetsAtMs - nowMs,
    metadata: {
      ...ofOwner(refusal),
      period,
      limit,
      spent: usdOf(spentNanos),
      reserved: usdOf(reservedNanos),
      ...(resetsAt === null ? {} : { resets_at: resetsAt }),
    },
  })
}

const PERIODS = {
  day: 'a day',
  week: 'a week',
  month: 'a month',
  total: 'in all',
} as const

/** Whose limit it is: the client's own, or that of its group. */
function ofOwner({ owner }: Exclude<QuotaRefusal, { kind: 'revoked' }>): {
  readonly limited: string
} {
  return { limited: owner }
}

import type { ReasonCounts } from '../../balancing/reasons.ts'
import type { ApiShape, ErrorNotice } from '../../openrouter/shapes/api-shape.ts'

/** The gateway's own errors, with their usual status. The list is closed: apps branch on it. */
export const GATEWAY_ERRORS = {
  unauthorized: 401,
  budget_exceeded: 402,
  budget_unpriceable: 402,
  model_not_allowed: 403,
  not_found: 404,
  batches_off: 404,
  body_too_large: 413,
  request_timeout: 408,
  overloaded: 503,
  unsupported_encoding: 415,
  invalid_request: 400,
  client_rate_limited: 429,
  no_key_available: 503,
  pool_unavailable: 503,
  keys_exhausted: 502,
  upstream_unreachable: 502,
  upstream_timeout: 504,
  not_cached: 504,
  answer_gone: 404,
  gateway_misconfigured: 500,
  internal_error: 500,
} as const satisfies Record<string, number>

export type GatewayErrorReason = keyof typeof GATEWAY_ERRORS

/**
 * An error of the gateway itself. The message says what happened and what to do. Anyone may read
 * it, so it never holds a key, a token, a stack or an internal name.
 */
export interface GatewayError {
  readonly reason: GatewayErrorReason
  readonly status: number
  readonly message: string
  readonly retryAfterMs: number | null
  readonly metadata: Readonly<Record<string, string | number | ReasonCounts>>
  /** Further headers of the answer, by name. */
  readonly headers?: Readonly<Record<string, string>>
}

export function gatewayError(
  reason: GatewayErrorReason,
  message: string,
  details: Partial<Pick<GatewayError, 'status' | 'retryAfterMs' | 'metadata' | 'headers'>> = {},
): GatewayError {
  return {
    reason,
    message,
    status: details.status ?? GATEWAY_ERRORS[reason],
    retryAfterMs: details.retryAfterMs ?? null,
    metadata: details.metadata ?? {},
    ...(details.headers === undefined ? {} : { headers: details.headers }),
  }
}

/** An isolate asks a pool's object that does not answer again within this time. */
const ASK_AGAIN_MS = 5_000

/** The error of a request that cannot do without the pool's object. */
export function poolUnavailable(message: string): GatewayError {
  return gatewayError('pool_unavailable', message, { retryAfterMs: ASK_AGAIN_MS })
}

/** The error in the form that every API shape can write. */
export function noticeOf(error: GatewayError): ErrorNotice {
  return {
    code: error.status,
    message: error.message,
    metadata: { source: 'switchyard', reason: error.reason, ...error.metadata },
  }
}

/** The error as a whole answer. */
export interface ErrorAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** Writes an error as a whole answer in this API shape. */
export function answerOf(error: GatewayError, shape: Pick<ApiShape, 'errorBody'>): ErrorAnswer {
  const headers = new Headers({ ...error.headers, 'content-type': 'application/json' })
  if (error.retryAfterMs !== null) {
    // Whole seconds, rounded up. A client that obeys the header must not come too early.
    headers.set('retry-after', String(Math.max(1, Math.ceil(error.retryAfterMs / 1000))))
  }
  return { status: error.status, headers, body: JSON.stringify(shape.errorBody(noticeOf(error))) }
}

import type { GatewayError, GatewayErrorReason } from '../../gateway/answers/gateway-error.ts'
import { fullJitterBackoffMs } from '../../gateway/attempts/backoff.ts'

/** How a line's journey ended. */
export interface LineEnd {
  readonly status: number
  /** The gateway's own error; null if the answer is OpenRouter's. */
  readonly error: Pick<GatewayError, 'reason' | 'retryAfterMs'> | null
  /** How long OpenRouter wants to be left alone; null if it did not say. */
  readonly retryAfterMs: number | null
}

/** What follows for a line. */
export type Verdict =
  | { readonly kind: 'ended'; readonly outcome: 'completed' | 'failed' }
  /** An upstream fault. It costs a try. */
  | { readonly kind: 'again'; readonly afterMs: number }
  /** Nobody has room for it now. It costs nothing. */
  | { readonly kind: 'refused'; readonly afterMs: number }

/** A line is sent so often at most, and each time the gateway tries several keys. */
export const MAX_TRIES = 5
const MAX_BACKOFF_MS = 60_000

/** A pool without any key that could serve is looked at again after this time: an operator may act. */
const NO_CURE_MS = 60_000

/** A budget that is passed for longer does not come back in time to be waited for. */
const SOON_MS = 60_000

type Meaning = 'caller' | 'room' | 'upstream'

/** Whose fault each of the gateway's errors is, for a line. */
const MEANINGS: Readonly<Record<GatewayErrorReason, Meaning>> = {
  unauthorized: 'caller',
  budget_exceeded: 'caller',
  budget_unpriceable: 'caller',
  model_not_allowed: 'caller',
  not_found: 'caller',
  batches_off: 'caller',
  // No line asks for a kept answer.
  answer_gone: 'caller',
  not_cached: 'caller',
  body_too_large: 'caller',
  unsupported_encoding: 'caller',
  invalid_request: 'caller',
  client_rate_limited: 'room',
  no_key_available: 'room',
  overloaded: 'room',
  pool_unavailable: 'room',
  gateway_misconfigured: 'room',
  request_timeout: 'upstream',
  keys_exhausted: 'upstream',
  upstream_unreachable: 'upstream',
  upstream_timeout: 'upstream',
  internal_error: 'upstream',
}

/**
 * @param tries how often the line was sent before and failed by an upstream fault
 */
export function verdictOf(end: LineEnd, tries: number, random: () => number): Verdict {
  const { status, error } = end
  if (error === null && status < 400) return { kind: 'ended', outcome: 'completed' }
  if (error !== null && hasNoRoom(error)) {
    return { kind: 'refused', afterMs: error.retryAfterMs ?? NO_CURE_MS }
  }
  const isUpstream =
    error === null
      ? status >= 500 || status === 408 || status === 429
      : MEANINGS[error.reason] === 'upstream'
  if (!isUpstream || tries + 1 >= MAX_TRIES) return { kind: 'ended', outcome: 'failed' }
  // Grows faster than that of attempts: those were made already.
  const backoffMs = Math.min(MAX_BACKOFF_MS, fullJitterBackoffMs(tries, random) * 4 + 500)
  return { kind: 'again', afterMs: Math.max(backoffMs, end.retryAfterMs ?? 0) }
}

function hasNoRoom({ reason, retryAfterMs }: NonNullable<LineEnd['error']>): boolean {
  switch (reason) {
    // What is reserved for running requests comes back; what is spent does not.
    case 'budget_exceeded':
      return retryAfterMs !== null && retryAfterMs <= SOON_MS
    // A request that alone is above its client's limit never has room.
    case 'client_rate_limited':
      return retryAfterMs !== null
    default:
      return MEANINGS[reason] === 'room'
  }
}

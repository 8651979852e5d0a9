import type { Refusal } from '../balancing/lease-request.ts'
import { readError, type WireError } from '../openrouter/failures/upstream-failure.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import {
  type GatewayError,
  gatewayError,
  noticeOf,
  poolUnavailable,
} from './answers/gateway-error.ts'
import { quotaError } from './answers/quota-error.ts'
import type { SecretRedaction } from './answers/secret-redaction.ts'
import { isEventStream, type Replay } from './attempts/attempt.ts'
import { type FailedAttempt, tellingFailure } from './attempts/attempt-history.ts'
import { parseJson } from './attempts/body.ts'

/** What the caller gets when no attempt succeeded: upstream's error as it came, or our own. */
export type FinalAnswer =
  | { readonly kind: 'verbatim'; readonly replay: Replay }
  | { readonly kind: 'ours'; readonly error: GatewayError }

/**
 * Chooses the final answer. The last failure that is not a key's or an account's fault decides it,
 * and upstream's error is passed on as it came. A key's or an account's error is not passed on: the
 * app would read its 401 or 402 as a fault of *its own* key. A free-tier limit (row 10) is: its 429
 * says to any client that time will help, and its reset says when.
 *
 * @param refusal the pool's reason against a further attempt; null if the pool did not refuse one,
 *   or could not be reached
 */
export function finalAnswer(
  failures: readonly FailedAttempt[],
  refusal: Refusal | null,
  nowMs: number,
): FinalAnswer {
  const telling = tellingFailure(failures)
  if (telling !== null) return answerToFailure(telling)
  const error =
    failures.length > 0 ? keysExhausted(failures, refusal, nowMs) : noKey(refusal, nowMs)
  return { kind: 'ours', error }
}

function answerToFailure({ failure, blame, replay }: FailedAttempt): FinalAnswer {
  if (failure.kind === 'timeout') {
    const message = 'OpenRouter did not answer in time. Try again.'
    return { kind: 'ours', error: gatewayError('upstream_timeout', message) }
  }
  // A body that is not a JSON error is a page of OpenRouter's edge. API clients cannot read it. It
  // is still passed on where the caller is at fault: its status keeps the client from retrying.
  const isTelling = failure.kind === 'response' && failure.error !== null
  if (replay !== null && (isTelling || blame.fault === 'caller')) {
    return { kind: 'verbatim', replay }
  }
  const message = 'OpenRouter could not be reached, or it sent no usable answer. Try again.'
  return { kind: 'ours', error: gatewayError('upstream_unreachable', message) }
}

function waitMs(refusal: Refusal | null, nowMs: number): number | null {
  const retryAtMs = refusal?.retryAtMs ?? null
  return retryAtMs === null ? null : Math.max(0, retryAtMs - nowMs)
}

/**
 * Milliseconds until the first bench that the failures caused ends; null if no end is known. The end
 * of a spending cap or of a budget does not count: it may be weeks away, and a lookup may show room
 * within a minute.
 */
function namedResetMs(failures: readonly FailedAttempt[], nowMs: number): number | null {
  const resets = failures
    .flatMap(({ blame }) => blame.benches)
    .filter(({ reason, detail }) => reason !== 'key_spent' && detail !== 'budget_layer_spent')
    .flatMap(({ term }) => (term.kind === 'until' ? [term.untilMs - nowMs] : []))
  return resets.length === 0 ? null : Math.max(0, Math.min(...resets))
}

function keysExhausted(
  failures: readonly FailedAttempt[],
  refusal: Refusal | null,
  nowMs: number,
): GatewayError {
  return gatewayError(
    'keys_exhausted',
    'OpenRouter refused every key that this gateway tried, because of the key or its account. ' +
      'Try again later. If the error stays, ask the operator of this gateway.',
    {
      retryAfterMs: waitMs(refusal, nowMs) ?? namedResetMs(failures, nowMs),
      metadata: { attempts: failures.length, reasons: refusal?.reasons ?? {} },
    },
  )
}

/**
 * 429 if a key will be free at a known time. 503 if the operator must act, or if the gateway got no
 * usable key from its pool.
 */
function noKey(refusal: Refusal | null, nowMs: number): GatewayError {
  if (refusal === null) {
    const message = 'This gateway cannot get a key now. Try again.'
    return poolUnavailable(message)
  }
  if (refusal.quota !== undefined) return quotaError(refusal.quota, nowMs)
  const retryAfterMs = waitMs(refusal, nowMs)
  const message =
    retryAfterMs === null
      ? 'No key can serve this request. Ask the operator of this gateway to fix this.'
      : 'No key can serve this request now. Try again after the time in Retry-After.'
  return gatewayError('no_key_available', message, {
    status: retryAfterMs === null ? 503 : 429,
    retryAfterMs,
    metadata: { reasons: refusal.reasons },
  })
}

/** OpenRouter's error as it came, but with the ids of keys in the place of their secrets. */
export function withoutSecrets(answer: FinalAnswer, redaction: SecretRedaction): FinalAnswer {
  if (answer.kind === 'ours') return answer
  const { replay } = answer
  const headers = redaction.headers(replay.headers)
  return { kind: 'verbatim', replay: { ...replay, headers, body: redaction.bytes(replay.body) } }
}

const NO_STREAM = 'OpenRouter sent an answer that does not fit into this stream. Try again.'

/**
 * Turns an answer into an event of the client's stream. Needed when a keep-alive has already
 * begun the stream: the HTTP status can no longer change.
 */
export function asEvent({ headers, body, status }: Replay, shape: ApiShape): Uint8Array {
  if (isEventStream(headers)) return body
  const error = readError(parseJson(body), status < 400 ? null : status)
  const notice =
    error === null
      ? noticeOf(gatewayError('upstream_unreachable', NO_STREAM))
      : { code: error.status, message: error.message, metadata: withType(error) }
  return new TextEncoder().encode(shape.errorEvent(notice))
}

/** An error may say its type beside its metadata. */
function withType({ metadata, errorType }: WireError): Record<string, unknown> {
  return errorType === null ? { ...metadata } : { error_type: errorType, ...metadata }
}

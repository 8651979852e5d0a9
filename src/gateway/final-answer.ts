import type { Refusal } from '../balancing/lease-request.ts'
import type { Blame } from '../openrouter/failures/blame.ts'
import { readError } from '../openrouter/failures/upstream-failure.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import { type GatewayError, gatewayError, noticeOf } from './answers/gateway-error.ts'
import { isEventStream, type Replay } from './attempts/attempt.ts'
import type { FailedAttempt } from './attempts/attempt-history.ts'
import { parseJson } from './attempts/body.ts'

/** What the caller gets in the end: upstream's own words, or ours. */
export type FinalAnswer =
  | { readonly kind: 'verbatim'; readonly replay: Replay }
  | { readonly kind: 'ours'; readonly error: GatewayError }

/**
 * The final answer after attempts that all failed. An error that is about the
 * request, the model or the provider is passed on as it came. A key's or an
 * account's is not: its 401 or 402 would tell the app that *its* key is bad.
 *
 * @param refusal why there was no further attempt; null if the pool did not refuse one, or could
 *   not be asked
 */
export function finalAnswer(
  failures: readonly FailedAttempt[],
  refusal: Refusal | null,
  nowMs: number,
): FinalAnswer {
  const telling = failures.findLast(({ blame }) => !isKeysOrAccounts(blame))
  if (telling !== undefined) return answerToFailure(telling)
  const error =
    failures.length > 0 ? keysExhausted(failures, refusal, nowMs) : noKey(refusal, nowMs)
  return { kind: 'ours', error }
}

function isKeysOrAccounts(blame: Blame): boolean {
  return blame.fault === 'key' || blame.fault === 'account'
}

function answerToFailure({ failure, blame, replay }: FailedAttempt): FinalAnswer {
  if (failure.kind === 'timeout') {
    const message = 'OpenRouter did not answer in time. Try again.'
    return { kind: 'ours', error: gatewayError('upstream_timeout', message) }
  }
  // What is no JSON error is a page of the edge, and nothing that an API client could read. But
  // where the caller is at fault, its status alone keeps the client from trying again.
  const isTelling = failure.kind === 'response' && failure.error !== null
  if (replay !== null && (isTelling || blame.fault === 'caller')) {
    return { kind: 'verbatim', replay }
  }
  const message = 'OpenRouter could not be reached, or broke off. Try again.'
  return { kind: 'ours', error: gatewayError('upstream_unreachable', message) }
}

function waitMs(refusal: Refusal | null, nowMs: number): number | null {
  const retryAtMs = refusal?.retryAtMs ?? null
  return retryAtMs === null ? null : Math.max(0, retryAtMs - nowMs)
}

/** The earliest of the resets that OpenRouter named for what it refused. */
function namedResetMs(failures: readonly FailedAttempt[], nowMs: number): number | null {
  const resets = failures
    .flatMap(({ blame }) => blame.benches)
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
    'Every key that was tried was refused by OpenRouter for reasons of the key or its account. ' +
      'The operator of this gateway can see which.',
    {
      retryAfterMs: waitMs(refusal, nowMs) ?? namedResetMs(failures, nowMs),
      metadata: { attempts: failures.length, reasons: refusal?.reasons ?? {} },
    },
  )
}

/** 429 where waiting helps, 503 where somebody has to do something. */
function noKey(refusal: Refusal | null, nowMs: number): GatewayError {
  if (refusal === null) {
    return gatewayError('no_key_available', 'The pool of keys cannot be reached now. Try again.')
  }
  const retryAfterMs = waitMs(refusal, nowMs)
  const message =
    retryAfterMs === null
      ? 'No key can serve this request until the operator of this gateway acts.'
      : 'No key can serve this request now. Try again after the time in Retry-After.'
  return gatewayError('no_key_available', message, {
    status: retryAfterMs === null ? 503 : 429,
    retryAfterMs,
    metadata: { reasons: refusal.reasons },
  })
}

const NO_STREAM = 'OpenRouter went on with something else than a stream. Try again.'

/**
 * An answer as an event, for a client whose stream has begun already with a
 * keep-alive: its status can no longer be what it should.
 */
export function asEvent({ headers, body, status }: Replay, shape: ApiShape): Uint8Array {
  if (isEventStream(headers)) return body
  const error = readError(parseJson(body), status < 400 ? null : status)
  const notice =
    error === null
      ? noticeOf(gatewayError('upstream_unreachable', NO_STREAM))
      : { code: error.status, message: error.message, metadata: { ...error.metadata } }
  return new TextEncoder().encode(shape.errorEvent(notice))
}

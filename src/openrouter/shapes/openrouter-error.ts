import { type JsonObject, textOf } from '../json-value.ts'
import type { ErrorNotice } from './api-shape.ts'

/**
 * OpenRouter's stable name of an error with this status. The list of names is closed, and
 * `@openrouter/sdk` reads no error in a stream whose metadata has none of them.
 */
const TYPES: ReadonlyMap<number, string> = new Map([
  [401, 'authentication'],
  [402, 'payment_required'],
  [403, 'permission_denied'],
  [404, 'not_found'],
  [408, 'timeout'],
  [412, 'precondition_failed'],
  [413, 'payload_too_large'],
  [422, 'unprocessable'],
  [429, 'rate_limit_exceeded'],
  [502, 'provider_unavailable'],
  [503, 'provider_overloaded'],
  [504, 'timeout'],
  [524, 'timeout'],
  [529, 'provider_overloaded'],
])

/** Metadata with an `error_type`: its own, or that of the status. */
export function withErrorType(
  code: number,
  metadata: JsonObject | undefined,
): JsonObject & { readonly error_type: string } {
  const own = textOf(metadata?.error_type)
  return {
    ...metadata,
    error_type: own ?? TYPES.get(code) ?? (code < 500 ? 'invalid_request' : 'server'),
  }
}

/** The error body that all of OpenRouter's APIs have except Anthropic's messages. */
export function openRouterError({ code, message, metadata }: ErrorNotice): JsonObject {
  return { error: { code, message, metadata: withErrorType(code, metadata) } }
}

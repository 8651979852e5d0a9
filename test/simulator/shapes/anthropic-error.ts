import { generationId } from '../answer.ts'
import type { Reader } from '../api-shape.ts'
import type { ApiError, ErrorAnswer } from '../errors.ts'
import { isRecord, type Json } from '../json-schema-sample.ts'
import { asJson } from '../request-fields.ts'
import type { Settings } from '../world.ts'

const TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  408: 'timeout_error',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  504: 'timeout_error',
  524: 'timeout_error',
  529: 'overloaded_error',
}

function typeOf(status: number): string {
  return TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error')
}

/**
 * `{type: "error", error}` in Anthropic's form. OpenRouter's metadata was seen beside `error`; a
 * setting can put it inside. In both cases its `error_type` moves to the error.
 */
export function anthropicFailure(error: ApiError, settings: Settings) {
  const { error_type: errorType, ...metadata } = isRecord(error.metadata) ? error.metadata : {}
  const status = typeof error.code === 'number' ? error.code : 500
  const kept = Object.keys(metadata).length === 0 ? {} : { metadata: asJson(metadata) }
  const inner = settings.messagesMetadata === 'inner'
  return {
    type: 'error',
    error: {
      type: typeof error.code === 'string' ? error.code : typeOf(status),
      message: error.message,
      ...(typeof errorType === 'string' ? { error_type: errorType } : {}),
      ...(inner ? kept : {}),
    },
    ...(inner ? {} : kept),
  }
}

/** The body of an error with a status. Without a provider, the request has no id yet. */
export function anthropicError(answer: ErrorAnswer, { settings }: Reader): Json {
  const { metadata } = answer.error
  const routed = isRecord(metadata) && typeof metadata.provider_name === 'string'
  return {
    ...anthropicFailure(answer.error, settings),
    request_id: routed ? generationId(Date.now()) : null,
  }
}

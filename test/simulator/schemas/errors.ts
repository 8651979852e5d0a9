import {
  always,
  count,
  either,
  filled,
  generationId,
  number,
  object,
  oneOf,
  orNull,
  text,
} from './json-schema.ts'

/** The error types that have the same names in all of OpenRouter's APIs. */
export const errorType = oneOf(
  ...['context_length_exceeded', 'max_tokens_exceeded', 'token_limit_exceeded'],
  ...['string_too_long', 'authentication', 'permission_denied', 'payment_required'],
  ...['rate_limit_exceeded', 'provider_overloaded', 'provider_unavailable', 'invalid_request'],
  ...['invalid_prompt', 'not_found', 'precondition_failed', 'payload_too_large'],
  ...['unprocessable', 'content_policy_violation', 'refusal', 'invalid_image'],
  ...['image_too_large', 'image_too_small', 'unsupported_image_format', 'image_not_found'],
  ...['image_download_failed', 'server', 'timeout', 'unmapped'],
)

const metadata = orNull(object({}, { error_type: errorType, provider_name: orNull(text) }))

const platformError = object({ code: either(number, text), message: text }, { metadata })

/** An error with its own status, in all APIs except Anthropic's. */
export const statusError = object(
  { error: object({ code: count, message: filled }, { metadata }) },
  { user_id: orNull(text) },
)

/** A 200 that holds an error and no answer. */
export const errorInstead = object({ id: generationId, error: platformError })

/** An error within a stream or a choice. */
export const innerError = platformError

const anthropicTypes = oneOf(
  ...['invalid_request_error', 'authentication_error', 'permission_error', 'not_found_error'],
  ...['rate_limit_error', 'api_error', 'overloaded_error', 'billing_error', 'timeout_error'],
)

/** Anthropic's envelope, as in a stream. With a status it also has the request's id. */
export const anthropicEvent = object(
  {
    type: always('error'),
    error: object({ type: anthropicTypes, message: filled }, { error_type: errorType }),
  },
  { metadata: object({}) },
)

export const anthropicStatusError = {
  allOf: [anthropicEvent, object({ request_id: orNull(generationId) })],
}

import { isJsonObject, type JsonObject, objectOf, textOf } from '../json-value.ts'

/**
 * How an upstream call failed, before anybody is blamed for it. An error found
 * inside a 200 (in its body or in an event) is a `response` whose `status` is
 * the error's own; `error` is null where there was no JSON error at all, such as
 * a page of the edge or an empty body.
 */
export type UpstreamFailure =
  | { readonly kind: 'network' }
  | { readonly kind: 'timeout'; readonly clock: 'headers' | 'first_output' | 'idle' | 'total' }
  | { readonly kind: 'truncated' }
  | {
      readonly kind: 'response'
      readonly status: number
      readonly headers: Headers
      readonly error: WireError | null
    }

/** The failure that an error inside a 200 stands for. */
export function failureOf(error: WireError, headers: Headers): UpstreamFailure {
  return { kind: 'response', status: error.status, headers, error }
}

/** OpenRouter's error, whichever of its API shapes and years it came in. */
export interface WireError {
  /** 400 to 599. */
  readonly status: number
  /** Empty where none was given. */
  readonly message: string
  /** OpenRouter's stable name of the error. Many of its own errors carry none. */
  readonly errorType: string | null
  /** The provider that the error was relayed from. */
  readonly providerName: string | null
  /** Which limit was hit, without the `openrouter_` that only some endpoints put before it. */
  readonly limitSource: string | null
  /** True when the account's own provider key was used. */
  readonly isByok: boolean
  /** As sent; what lies in the error goes before what lies beside it. */
  readonly metadata: Readonly<JsonObject>
}

/** Where an error inside a 200 says nothing readable about its status, a provider broke off. */
const DEFAULT_STATUS = 502

/**
 * Names that stand for a status: `error_type` (the same in all API shapes), the
 * types of Anthropic's shape and the codes of /responses.
 * https://openrouter.ai/docs/api-reference/errors
 */
const STATUS_BY_NAME: ReadonlyMap<string, number> = new Map(
  Object.entries({
    400: [
      'context_length_exceeded',
      'max_tokens_exceeded',
      'token_limit_exceeded',
      'string_too_long',
      'invalid_request',
      'invalid_request_error',
      'invalid_prompt',
      'invalid_image',
      'image_too_large',
      'image_too_small',
      'unsupported_image_format',
      'image_download_failed',
      'invalid_image_format',
      'invalid_base64_image',
      'invalid_image_url',
      'invalid_image_mode',
      'image_parse_error',
      'image_file_too_large',
      'unsupported_image_media_type',
      'empty_image_file',
      'failed_to_download_image',
    ],
    401: ['authentication', 'authentication_error'],
    402: ['payment_required', 'billing_error'],
    403: [
      'permission_denied',
      'permission_error',
      'content_policy_violation',
      'image_content_policy_violation',
      'bio_policy',
      'data_residency_mismatch',
      'refusal',
    ],
    404: ['not_found', 'not_found_error', 'image_not_found', 'image_file_not_found'],
    412: ['precondition_failed'],
    413: ['payload_too_large', 'request_too_large'],
    422: ['unprocessable'],
    429: ['rate_limit_exceeded', 'rate_limit_error'],
    500: ['server', 'server_error', 'unmapped', 'api_error'],
    502: ['provider_unavailable'],
    503: ['provider_overloaded'],
    504: ['timeout', 'timeout_error', 'vector_store_timeout'],
    529: ['overloaded_error'],
  }).flatMap(([status, names]) => names.map((name) => [name, Number(status)] as const)),
)

/**
 * Finds the error in a JSON body, an event or a choice. Never throws, whatever
 * the value is.
 * @param httpStatus the status that the answer came with, or null inside a stream.
 *   An error status is believed over the body's own code.
 * @returns null where the value holds no error.
 */
export function readError(value: unknown, httpStatus: number | null): WireError | null {
  if (!isJsonObject(value)) return null
  const given = value.error
  const error = typeof given === 'string' && given !== '' ? { message: given } : given
  if (!isJsonObject(error)) return null
  const metadata = { ...metadataBeside(value), ...objectOf(error.metadata) }
  const errorType =
    textOf(metadata.error_type) ?? textOf(error.error_type) ?? textOf(value.error_type)
  return {
    status: statusOf(httpStatus, error.code, [errorType, error.code, error.type]),
    message: textOf(error.message) ?? '',
    errorType,
    providerName: textOf(metadata.provider_name),
    limitSource: textOf(metadata.limit_source)?.replace(/^openrouter_/, '') ?? null,
    isByok: metadata.is_byok === true,
    metadata,
  }
}

/**
 * A run of /responses, which has a `status`, repeats the `metadata` of its request. To take the
 * caller's for the error's would let a caller put the blame on our keys.
 */
function metadataBeside({ status, metadata }: JsonObject): JsonObject {
  return typeof status === 'string' ? {} : objectOf(metadata)
}

/** Numbers say it exactly and go before names; `error_type` is the most exact of the names. */
function statusOf(httpStatus: number | null, code: unknown, names: readonly unknown[]): number {
  return (
    [httpStatus, numberOf(code)].find(isErrorStatus) ??
    names.map(statusOfName).find((status) => status !== undefined) ??
    DEFAULT_STATUS
  )
}

function numberOf(code: unknown): number | null {
  if (typeof code === 'number') return code
  return typeof code === 'string' && /^\s*\d{3}\s*$/.test(code) ? Number(code) : null
}

function statusOfName(code: unknown): number | undefined {
  return typeof code === 'string' ? STATUS_BY_NAME.get(code) : undefined
}

function isErrorStatus(status: number | null): status is number {
  return status !== null && Number.isInteger(status) && status >= 400 && status <= 599
}

import { isJsonObject, type JsonObject, objectOf, textOf } from '../json-value.ts'

/**
 * How an upstream call failed; `blame` then finds whose fault it was. An error inside a 200 (in the
 * body or in an event) is a `response` with the status of the error. `error` is null if the answer
 * had no JSON error, for example a page of the CDN or an empty body.
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

/** Makes a failure from an error inside a 200. */
export function failureOf(error: WireError, headers: Headers): UpstreamFailure {
  return { kind: 'response', status: error.status, headers, error }
}

/** An error of OpenRouter, in the same form for all API shapes and for older and newer answers. */
export interface WireError {
  /** 400 to 599. */
  readonly status: number
  /** Empty if the error has none. */
  readonly message: string
  /** OpenRouter's stable name of the error. Many of its own errors have none. */
  readonly errorType: string | null
  /** The provider whose error OpenRouter relayed. */
  readonly providerName: string | null
  /** The limit that was reached, without the prefix `openrouter_` that some endpoints add. */
  readonly limitSource: string | null
  /** True if the account's own provider key was used. */
  readonly isByok: boolean
  /** As sent. A field inside the error wins over the same field beside the error. */
  readonly metadata: Readonly<JsonObject>
}

/** For an error inside a 200 without a readable status: the provider probably broke off. */
const DEFAULT_STATUS = 502

/** A code of /responses: a service tier has no capacity. */
export const NO_FLEX = 'flex_unavailable'

/**
 * The HTTP status by the error's name: `error_type` (the same in all API shapes), the
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
    503: ['provider_overloaded', NO_FLEX],
    504: ['timeout', 'timeout_error', 'vector_store_timeout'],
    529: ['overloaded_error'],
  }).flatMap(([status, names]) => names.map((name) => [name, Number(status)] as const)),
)

/**
 * Finds the error in a JSON body, an event or a choice. Never throws, for any value.
 * @param httpStatus the status of the answer, or null for content of a 200. If it is an error
 *   status, it wins over the code in the body.
 * @returns null if the value has no error
 */
export function readError(value: unknown, httpStatus: number | null): WireError | null {
  if (!isJsonObject(value)) return null
  const given = value.error
  const error = typeof given === 'string' && given !== '' ? { message: given } : given
  if (!isJsonObject(error)) return null
  const metadata = { ...metadataBeside(value), ...objectOf(error.metadata) }
  const errorType =
    textOf(metadata.error_type) ??
    textOf(error.error_type) ??
    textOf(value.error_type) ??
    (error.code === NO_FLEX ? NO_FLEX : null)
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
 * The metadata beside the error. A run of /responses repeats the `metadata` of its request, so this
 * is the caller's and does not count; the run has a `status`. Otherwise a caller could send
 * metadata that puts the blame on a key.
 */
function metadataBeside({ status, metadata }: JsonObject): JsonObject {
  return typeof status === 'string' ? {} : objectOf(metadata)
}

/** Numbers are exact, so they win over names. Of the names, `error_type` is the most exact. */
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

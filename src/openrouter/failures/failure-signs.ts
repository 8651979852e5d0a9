import { textOf } from '../json-value.ts'
import { resetAtMs } from './retry-after.ts'
import type { UpstreamFailure, WireError } from './upstream-failure.ts'

/** What the rows of the blame table look at. */
export interface FailureSigns {
  readonly failure: UpstreamFailure
  /** Null where there was no answer. Where the answer was a 200, the status of the error in it. */
  readonly status: number | null
  readonly error: WireError | null
  /** The error's text for people; empty where there is none. */
  readonly message: string
  /** See retry-after.ts. */
  readonly resetAtMs: number | null
  readonly nowMs: number
}

export function signsOf(failure: UpstreamFailure, nowMs: number): FailureSigns {
  const reset = resetAtMs(failure, nowMs)
  if (failure.kind !== 'response') {
    return { failure, status: null, error: null, message: '', resetAtMs: reset, nowMs }
  }
  const { error } = failure
  const status = failure.status < 400 && error !== null ? error.status : failure.status
  return { failure, status, error, message: error?.message ?? '', resetAtMs: reset, nowMs }
}

/** Statuses that judge the request itself. Those of 400 to 499 that mean something else are not here. */
const REQUEST_STATUSES: ReadonlySet<number | null> = new Set([
  400, 404, 405, 409, 410, 412, 413, 415, 422,
])
const CONTENT_ERROR_TYPES: ReadonlySet<string | null> = new Set([
  'content_policy_violation',
  'image_content_policy_violation',
  'refusal',
])

/**
 * Whether it was the request, not whoever served it, that was found wanting. A
 * provider's 400 comes with the provider's name on it; without this test one
 * client that sends nonsense could bench a model, or an account's own provider
 * key, for everybody.
 */
export function judgesRequest({ status, error }: FailureSigns): boolean {
  return REQUEST_STATUSES.has(status) || CONTENT_ERROR_TYPES.has(error?.errorType ?? null)
}

/** No usable answer, and no error of OpenRouter's that would say why. */
export function isWithoutAnswer({ failure, status }: FailureSigns): boolean {
  switch (failure.kind) {
    case 'network':
    case 'truncated':
      return true
    case 'timeout':
      // Our own limit on the whole request may run out a moment after an attempt began, or in
      // the middle of a long and healthy stream: it accuses nobody.
      return failure.clock !== 'total'
    case 'response':
      if (status === null || status < 400) return true
      return failure.error === null && (status === 403 || status === 429 || status >= 500)
  }
}

/** Relayed from a provider. A name beside `reasons` only says for whom OpenRouter moderated. */
export function isProviders({ error }: FailureSigns): boolean {
  return (error?.providerName ?? null) !== null && !isPresent(error?.metadata.reasons)
}

export function hasLimitSource({ error }: FailureSigns, source: string): boolean {
  return error?.limitSource === source
}

export function hasReason({ error }: FailureSigns, reason: string): boolean {
  return error?.metadata.reason === reason
}

export function isFreeTierLimit({ error, message }: FailureSigns): boolean {
  return /^free_tier_/.test(error?.limitSource ?? '') || /free-models-per-/i.test(message)
}

export function isDailyFreeTierLimit({ error, message }: FailureSigns): boolean {
  return error?.limitSource === 'free_tier_daily' || /free-models-per-day/i.test(message)
}

/** The request could be paid for if it were smaller. */
export function isTooLargeForBudget(signs: FailureSigns): boolean {
  return /can only afford/i.test(signs.message) || hasReason(signs, 'weight_exceeds_budget')
}

/** How many tokens "can only afford …" names. */
export function affordableTokens({ message }: FailureSigns): number | null {
  const tokens = Number(
    /can only afford (\d[\d,]*)/i.exec(message)?.[1]?.replaceAll(',', '') ?? Number.NaN,
  )
  return Number.isSafeInteger(tokens) ? tokens : null
}

/** A workspace's or guardrail's budget is spent, which is money and not policy. */
export function isBudgetExceeded(signs: FailureSigns): boolean {
  return (
    signs.status === 403 &&
    !isAboutContent(signs) &&
    /\bbudget\b/i.test(signs.message) &&
    /exceed|exhaust|reached/i.test(signs.message)
  )
}

const POLICY_STEP = /^Filter by (?:Guardrails|Data Policy)$|\bAttestations?$/i
const POLICY_TEXT = /data policy|\bguardrails?\b|\battestations?\b/i

/** The account's owner chose not to be served like this: by data policy, guardrail or attestation. */
export function isAccountPolicy(signs: FailureSigns): boolean {
  if ((signs.status !== 403 && signs.status !== 404) || isBudgetExceeded(signs)) return false
  return (
    POLICY_STEP.test(failedRoutingStep(signs) ?? '') ||
    isPresent(signs.error?.metadata.missing_attestation_types) ||
    (!isAboutContent(signs) && POLICY_TEXT.test(signs.message))
  )
}

/** The input or output was found unfit: by moderation, a guardrail's patterns or the model itself. */
export function isAboutContent({ error }: FailureSigns): boolean {
  return (
    isPresent(error?.metadata.reasons) ||
    isPresent(error?.metadata.patterns) ||
    CONTENT_ERROR_TYPES.has(error?.errorType ?? null)
  )
}

export function failedRoutingStep({ error }: FailureSigns): string | null {
  return textOf(error?.metadata.failed_routing_step)
}

function isPresent(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null
}

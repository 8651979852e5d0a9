import { textOf } from '../json-value.ts'
import { resetAtMs } from './retry-after.ts'
import { NO_FLEX, type UpstreamFailure, type WireError } from './upstream-failure.ts'

/** The properties of a failure that the rows of the blame table test. */
export interface FailureSigns {
  readonly failure: UpstreamFailure
  /** Null if there was no answer. For an error inside a 200, the status of the error. */
  readonly status: number | null
  readonly error: WireError | null
  /** The error's text; empty if it has none. */
  readonly message: string
  /** When a retry may work, in epoch milliseconds; see retry-after.ts. */
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

/** Statuses that reject the request itself. Other statuses from 400 to 499 mean something else. */
const REQUEST_STATUSES: ReadonlySet<number | null> = new Set([
  400, 404, 405, 409, 410, 412, 413, 415, 422,
])
const CONTENT_ERROR_TYPES: ReadonlySet<string | null> = new Set([
  'content_policy_violation',
  'image_content_policy_violation',
  'refusal',
])

/**
 * Whether the failure rejects the request, not its provider. A provider's 400 carries the
 * provider's name. Without this test, one client that sends invalid requests could bench a model,
 * or an account's own provider key, for all clients.
 */
export function judgesRequest(signs: FailureSigns): boolean {
  return REQUEST_STATUSES.has(signs.status) || isAboutContent(signs)
}

/**
 * Whether the account's own provider key (BYOK) failed. An error that judges the request says nothing
 * about that key: the same prompt is too long for the provider keys of all other accounts as well.
 */
export function isProviderKeys(signs: FailureSigns): boolean {
  return signs.error?.isByok === true && !judgesRequest(signs)
}

/** Any status from 400 to 499 except 408: that is about time, not about the request. */
export function isRequestError({ status }: FailureSigns): boolean {
  return status !== null && status >= 400 && status < 500 && status !== 408
}

/** Statuses by which OpenRouter says that no provider of the model answers, or none in time. */
const MODEL_STATUSES: ReadonlySet<number | null> = new Set([408, 502, 503, 524, 529])

export function isModelDown({ status }: FailureSigns): boolean {
  return MODEL_STATUSES.has(status)
}

const UNKNOWN_MODEL = new RegExp(
  [
    String.raw`\bnot an? (?:valid|known|supported|existing) model\b`,
    String.raw`\b(?:invalid|unknown|unsupported) model\b`,
    String.raw`\bmodel\b.{0,200}\b(?:not found|not exist)\b`,
    // Not of a parameter that the model does not know: that is the caller's mistake.
    String.raw`\bmodel\b[^.:;,]{0,100}\bis not (?:supported|available)\b`,
    String.raw`\bno such model\b`,
  ].join('|'),
  'i',
)

/**
 * Whether OpenRouter does not know the model: a 404, or on some endpoints a 400 with only a text. A
 * caller who gets such a text into an answer gains nothing by it: no key and no model is marked.
 */
export function isUnknownModel({ status, message }: FailureSigns): boolean {
  return status === 404 || (status === 400 && UNKNOWN_MODEL.test(message))
}

/** Whether there was no usable answer, and no error of OpenRouter that explains it. */
export function isWithoutAnswer({ failure, status }: FailureSigns): boolean {
  switch (failure.kind) {
    case 'network':
    case 'truncated':
      return true
    case 'timeout':
      // The gateway's timeout for the whole request is not a failure of the attempt: it may end
      // just after the attempt began, or in the middle of a long and healthy stream.
      return failure.clock !== 'total'
    case 'response':
      if (status === null || status < 400) return true
      return failure.error === null && (status === 403 || status === 429 || status >= 500)
  }
}

/**
 * Whether OpenRouter relayed the error from a provider of its own. If the error also has `reasons`,
 * the name only says for which provider OpenRouter moderated the input. A tier without capacity is the
 * providers' as well, and /responses names none.
 */
export function isProviders({ error }: FailureSigns): boolean {
  if (error === null || error.isByok) return false
  const isNamed = error.providerName !== null || error.errorType === NO_FLEX
  return isNamed && !isPresent(error.metadata.reasons)
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

/** The names of limits and of budget layers that are the key's own. */
const KEYS_LIMITS: ReadonlySet<string | null> = new Set([
  'key_limit',
  'api_key',
  'workspace_default_key',
])

/** The scope of the budget that was spent, without the prefix that some endpoints add. */
function budgetScope({ error }: FailureSigns): string | null {
  return textOf(error?.metadata.scope)?.replace(/^openrouter_/, '') ?? null
}

/** Whether the key has reached its spending cap, or a budget layer of its own. */
export function isKeySpent(signs: FailureSigns): boolean {
  if (signs.status !== 403) return false
  return (
    /^\s*key limit exceeded/i.test(signs.message) ||
    KEYS_LIMITS.has(signs.error?.limitSource ?? null) ||
    (KEYS_LIMITS.has(budgetScope(signs)) && !isAboutContent(signs))
  )
}

/**
 * Words of a 402 about the size of one request. There are many such texts, and new ones come. What
 * they share is that they speak of tokens, of "this request", or of what can be afforded; a text about
 * an empty account does not.
 */
const SIZE_TEXT = new RegExp(
  [
    String.raw`\b(?:max_?|max_completion_|max_output_)?tokens?\b`,
    String.raw`\bafford(?:s|ed|able)?\b`,
    String.raw`\d *> *\d`,
    String.raw`\b(?:this|your|the) (?:request|prompt|input|completion)\b[^.]{0,60}\b(?:costs?|requires?|needs?|exceeds?|large|long|expensive|more)\b`,
    String.raw`\b(?:fewer|smaller|shorter|cheaper) (?:request|prompt|input|completion|max_)`,
  ].join('|'),
  'i',
)
const KEYS_CAP_TEXT =
  /\/keys\b|\bkey(?:['’]s)?\b[^.]{0,40}\blimit|\b(?:limit|cap) (?:of|on|for) (?:this|the|your)(?: api)? key\b/i
const ACCOUNTS_TEXT = /\binsufficient (?:credits?|balance|funds)\b/i

/**
 * Whether a 402 is about the key's cap, not about the account's credit: the cap does not pay for a
 * request of this size. A text that names the cap and no size is the cap's as well, unless it says
 * that the account is empty.
 */
export function isTooLargeForKey(signs: FailureSigns): boolean {
  if (signs.status !== 402) return false
  const source = signs.error?.limitSource ?? null
  if (KEYS_LIMITS.has(source) || KEYS_LIMITS.has(budgetScope(signs))) return true
  if (!KEYS_CAP_TEXT.test(adviceOf(signs))) return false
  return isAboutSize(signs) || !(source === 'credits' || ACCOUNTS_TEXT.test(signs.message))
}

/** Whether a 402 says that the account could pay for a smaller request. */
export function isTooLargeForAccount(signs: FailureSigns): boolean {
  return signs.status === 402 && isAboutSize(signs)
}

function isAboutSize(signs: FailureSigns): boolean {
  return SIZE_TEXT.test(signs.message) || hasReason(signs, 'weight_exceeds_budget')
}

/** What OpenRouter advises to do: a part of the text, or a field of its own. */
function adviceOf({ error, message }: FailureSigns): string {
  return `${message} ${textOf(error?.metadata.remedy_hint) ?? ''}`
}

const AFFORDABLE = /(?:can only afford|tokens limit exceeded: *\d[\d,]* *>) *(\d[\d,]*)/i

/** The number of tokens that the text says can be paid for ("can only afford M", "N > M"), or null. */
export function affordableTokens({ message }: FailureSigns): number | null {
  const tokens = Number(AFFORDABLE.exec(message)?.[1]?.replaceAll(',', '') ?? Number.NaN)
  return Number.isSafeInteger(tokens) ? tokens : null
}

const BUDGET_SOURCE = /^(?:guardrail|workspace|member)_budget$/

/** Whose budget it is, where it is not the key's: all keys of the payer are covered by it. */
type BudgetPayer = 'creator' | 'workspace' | 'account'

/** Scopes of budgets, as metadata names them, and who pays from such a budget. */
const BUDGET_SCOPES: ReadonlyMap<string | null, BudgetPayer> = new Map([
  ['member', 'creator'],
  ['workspace_default_member', 'creator'],
  ['workspace', 'workspace'],
  ['account', 'account'],
  ['organization', 'account'],
])

/** Whether a budget that is not the key's is spent. That is about money, not policy. */
export function isBudgetExceeded(signs: FailureSigns): boolean {
  if (signs.status !== 403 || isAboutContent(signs)) return false
  return (
    BUDGET_SOURCE.test(signs.error?.limitSource ?? '') ||
    (BUDGET_SCOPES.has(budgetScope(signs)) && namesAmount(signs)) ||
    (/\bbudget\b/i.test(signs.message) && /exceed|exhaust|reached/i.test(signs.message))
  )
}

/** Whether the error says how much was spent, or of how much. A policy has a scope, but no amount. */
function namesAmount({ error }: FailureSigns): boolean {
  return [error?.metadata.limit_usd, error?.metadata.spend_usd].some(isPresent)
}

/** Whose budget is spent, by the scope that the error names, or else by its text. */
export function budgetPayer(signs: FailureSigns): BudgetPayer {
  const named = BUDGET_SCOPES.get(budgetScope(signs))
  if (named !== undefined) return named
  if (/\bmember\b/i.test(signs.message)) return 'creator'
  const isWorkspaces =
    signs.error?.limitSource === 'workspace_budget' || /\bworkspace\b/i.test(signs.message)
  return isWorkspaces ? 'workspace' : 'account'
}

const POLICY_STEP = /^Filter by (?:Guardrails|Data Policy)$|\bAttestations?$/i
const POLICY_TEXT = /data policy|\bguardrails?\b|\battestations?\b/i

/** Whether the account's own data policy, guardrail or attestation forbids the request. */
export function isAccountPolicy(signs: FailureSigns): boolean {
  if ((signs.status !== 403 && signs.status !== 404) || isBudgetExceeded(signs)) return false
  return (
    POLICY_STEP.test(failedRoutingStep(signs) ?? '') ||
    isPresent(signs.error?.metadata.missing_attestation_types) ||
    (!isAboutContent(signs) && POLICY_TEXT.test(signs.message))
  )
}

/** Whether moderation, a guardrail's patterns or the model itself rejected the content. */
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

/**
 * The kind of an error that no row with a sign of its own knows: its status, and its name if that is
 * one. Of any other text upstream could make any number of kinds, and put anything into the log.
 */
export function unknownError({ status, error }: FailureSigns): string {
  const name = error?.errorType ?? ''
  return /^[a-z_]{1,40}$/.test(name) ? `${status} ${name}` : `${status}`
}

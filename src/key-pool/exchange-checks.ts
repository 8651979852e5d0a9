import { type CacheNote, NO_CACHE_COUNTERS } from '../balancing/accounting/cache-counters.ts'
import type { GenerationReport } from '../balancing/accounting/reconciliation.ts'
import type { Visit } from '../balancing/clients/visits.ts'
import type { KeyReport } from '../balancing/health/key-report.ts'
import { type IsolateId, isolateId } from '../balancing/ids.ts'
import type { LeaseRequest, RequestAffinity } from '../balancing/lease-request.ts'
import type { LeaseBegin, LeaseOrder } from '../balancing/limits/lease-order.ts'
import type { Hold } from '../balancing/limits/quota-charge.ts'
import type {
  BenchDetail,
  BenchOrder,
  HeldOfBudgets,
  LeaseTerms,
  Settlement,
  Usage,
} from '../balancing/settlement.ts'

/**
 * Checks of what an exchange carries. Every request passes here several times, so the checks are
 * plain and not a schema. They look at the fields that the pool reads, and pass over all others: a
 * newer Worker may send more. A field that one release adds may be missing.
 */

type Fields<T> = { readonly [Name in keyof T]?: unknown }

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

const isText = (value: unknown): value is string => typeof value === 'string'
const isId = (value: unknown): value is string => isText(value) && value !== ''
const isAmount = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY
const isNumber = (value: unknown): value is number => Number.isFinite(value)
const isNumberOrNull = (value: unknown): boolean => value === null || isNumber(value)
const isWholeIfAny = (value: unknown): boolean =>
  value === undefined || (isAmount(value) && Number.isSafeInteger(value))
const isAmountIfAny = (value: unknown): boolean => value === undefined || isAmount(value)

/** The most that a request can cost; null if that is not known. */
const isBoundIfAny = (value: unknown): boolean => value === null || isAmountIfAny(value)

function isListOf(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem)
}

const isOneOf = (names: readonly string[]) => {
  const known: ReadonlySet<unknown> = new Set(names)
  return (value: unknown): boolean => known.has(value)
}

const isAttempt = isOneOf(['first', 'move', 'retry'] satisfies LeaseRequest['attempt'][])
const isAffinityKind = isOneOf(['conversation', 'cache'] satisfies RequestAffinity['kind'][])
const isOutcome = isOneOf(['success', 'failure', 'ignorable'] satisfies Settlement['outcome'][])
const isScope = isOneOf([
  'key',
  'account',
  'account_free',
  'account_model',
  'key_model',
  'model',
  'creator',
  'workspace',
] satisfies BenchOrder['scope'][])
const isReason = isOneOf([
  'key_rejected',
  'key_spent',
  'account_out_of_credit',
  'account_rate_limited',
] satisfies BenchOrder['reason'][])

const isDetail = isOneOf([
  'key_rate_limited',
  'budget_layer_spent',
  'free_tier_spent',
  'provider_key_failed',
] satisfies BenchDetail[])
const isTooLargeFor = isOneOf(['key', 'account'] satisfies Settlement['tooLargeFor'][])
const isTextIfAny = (value: unknown): boolean =>
  value === undefined || value === null || isText(value)

/** A list, or an empty one in the place of anything else. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/**
 * The class of a request is not looked at here: a word that this release does not know is an
 * interactive request (see `isOfBatch`), and must not cost the request.
 */
export function isLeaseRequest(value: unknown): value is LeaseRequest {
  if (!isObject(value)) return false
  const { leaseId, clientId, asked, models, ...rest }: Fields<LeaseRequest> = value
  return (
    isId(leaseId) &&
    isText(clientId) &&
    isText(asked) &&
    isListOf(models, isText) &&
    Array.isArray(models) &&
    models.length > 0 &&
    isListOf(rest.triedKeys, isText) &&
    isListOf(rest.excludedAccounts, isText) &&
    isAffinity(rest.affinity) &&
    isAmount(rest.tokens) &&
    isAmountIfAny(rest.size) &&
    isBoundIfAny(rest.costNanos) &&
    isAttempt(rest.attempt) &&
    isAmount(rest.leaseMs) &&
    isAmount(rest.waitMs) &&
    (rest.isolate === undefined || isId(rest.isolate))
  )
}

/** The isolate that an exchange is from; null from a Worker that does not name itself. */
export function readIsolate(value: unknown): IsolateId | null {
  return isId(value) ? isolateId(value) : null
}

export function isLeaseOrder(value: unknown): value is LeaseOrder {
  if (!isObject(value)) return false
  const { isolate, asked, models, account, count, tokens, ...names }: Fields<LeaseOrder> = value
  const { clientId, costNanos } = names
  return (
    isId(isolate) &&
    isId(names.idPrefix) &&
    isWholeIfAny(names.firstNumber) &&
    isText(asked) &&
    isListOf(models, isText) &&
    Array.isArray(models) &&
    models.length > 0 &&
    (account === null || isText(account)) &&
    isAmount(count) &&
    isAmount(tokens) &&
    (clientId === undefined || isText(clientId)) &&
    isBoundIfAny(costNanos)
  )
}

export function isVisit(value: unknown): value is Visit {
  return isObject(value) && isId(value.clientId)
}

export function isCacheNote(value: unknown): value is CacheNote {
  if (!isObject(value) || !isId(value.mark) || !isObject(value.counters)) return false
  const { counters } = value
  return CACHE_COUNTERS.every((name) => isAmount(counters[name]))
}

const CACHE_COUNTERS = Object.keys(NO_CACHE_COUNTERS)

export function isLeaseBegin(value: unknown): value is LeaseBegin {
  if (!isObject(value)) return false
  const { leaseId, keyId, isolate, clientId, model, ...rest }: Fields<LeaseBegin> = value
  return (
    isId(leaseId) &&
    isText(keyId) &&
    isId(isolate) &&
    isText(clientId) &&
    isText(model) &&
    isNumber(rest.grantedAtMs) &&
    isAmount(rest.tokens) &&
    isAmount(rest.leaseMs) &&
    (rest.conversation === null || isText(rest.conversation)) &&
    isBoundIfAny(rest.costNanos) &&
    (rest.held === undefined || isHeld(rest.held))
  )
}

function isAffinity(value: unknown): boolean {
  if (value === null) return true
  if (!isObject(value)) return false
  const { kind, id }: Fields<RequestAffinity> = value
  return isAffinityKind(kind) && isText(id)
}

/**
 * A settlement as far as this release understands it; null if it is malformed. A bench order, or
 * somebody who could not pay, of whom this release does not know, costs that word: the lease must be
 * given back all the same.
 */
export function readSettlement(value: unknown): Settlement | null {
  if (!isSettlement(value)) return null
  const { tooLargeFor, ...settlement } = value
  const { benches } = value
  const known = benches.filter(isBenchOrder)
  const isPayerKnown = tooLargeFor === undefined || isTooLargeFor(tooLargeFor)
  if (isPayerKnown && known.length === benches.length && known.every(hasKnownDetail)) return value
  return {
    ...(isPayerKnown ? value : settlement),
    benches: known.map(withKnownDetail),
  }
}

function hasKnownDetail({ detail }: BenchOrder): boolean {
  return detail === undefined || isDetail(detail)
}

/** A finer word that this release does not know costs the word: the reason says enough. */
function withKnownDetail(order: BenchOrder): BenchOrder {
  return hasKnownDetail(order) ? order : { ...order, detail: undefined }
}

function isSettlement(value: unknown): value is Settlement {
  if (!isObject(value)) return false
  const { leaseId, keyId, outcome, fault, benches, ...rest }: Fields<Settlement> = value
  return (
    isId(leaseId) &&
    isText(keyId) &&
    isOutcome(outcome) &&
    // The ledger counts faults by name, whatever the names are.
    (fault === undefined || isText(fault)) &&
    Array.isArray(benches) &&
    isAmountIfAny(rest.affordableTokens) &&
    isAmountIfAny(rest.firstOutputMs) &&
    isAmountIfAny(rest.tookMs) &&
    (rest.generationId === undefined || isText(rest.generationId)) &&
    (rest.unknownError === undefined || isText(rest.unknownError)) &&
    (rest.usage === undefined || isUsage(rest.usage)) &&
    (rest.lease === undefined || isLeaseTerms(rest.lease))
  )
}

function isBenchOrder(value: unknown): value is BenchOrder {
  if (!isObject(value)) return false
  const { scope, reason, term }: Fields<BenchOrder> = value
  return isScope(scope) && isReason(reason) && isTerm(term)
}

function isTerm(value: unknown): boolean {
  if (!isObject(value)) return false
  const { kind, untilMs, forMs, baseMs, maxMs, lapseMs } = value
  switch (kind) {
    case 'until':
      return isNumber(untilMs)
    case 'for':
      return isAmount(forMs)
    case 'backoff':
      return isAmount(baseMs) && isAmount(maxMs)
    case 'lookup':
      return lapseMs === null || isAmount(lapseMs)
    default:
      return false
  }
}

function isUsage(value: unknown): boolean {
  if (!isObject(value)) return false
  const usage: Fields<Usage> = value
  return (
    isAmount(usage.promptTokens) &&
    isAmount(usage.completionTokens) &&
    isAmount(usage.cachedTokens) &&
    isAmount(usage.reasoningTokens) &&
    isAmount(usage.costUsd) &&
    isAmountIfAny(usage.byokUsd)
  )
}

function isLeaseTerms(value: unknown): boolean {
  if (!isObject(value)) return false
  const { clientId, model, grantedAtMs, tokens, size, held }: Fields<LeaseTerms> = value
  return (
    isText(clientId) &&
    isText(model) &&
    isNumber(grantedAtMs) &&
    isAmount(tokens) &&
    isAmountIfAny(size) &&
    (held === undefined || isHeld(held))
  )
}

function isHeld(value: unknown): boolean {
  if (!isObject(value)) return false
  const { groupId, holds }: Fields<HeldOfBudgets> = value
  return (groupId === null || isText(groupId)) && isListOf(holds, isHold)
}

function isHold(value: unknown): boolean {
  if (!isObject(value)) return false
  const { owner, period, nanos }: Fields<Hold> = value
  return isText(owner) && isText(period) && isAmount(nanos)
}

export function isGenerationReport(value: unknown): value is GenerationReport {
  if (!(isObject(value) && isId(value.generationId))) return false
  switch (value.kind) {
    case 'found':
      return isUsage(value.usage)
    case 'not_found':
    case 'unknown':
      return true
    default:
      return false
  }
}

export function isKeyReport(value: unknown): value is KeyReport {
  if (!(isObject(value) && isText(value.keyId))) return false
  switch (value.kind) {
    case 'unknown':
      return true
    case 'rejected':
      return isNumber(value.askedAtMs)
    case 'valid':
      return isAnswer(value)
    default:
      return false
  }
}

function isAnswer(report: Fields<Extract<KeyReport, { kind: 'valid' }>>): boolean {
  return (
    isNumber(report.askedAtMs) &&
    isNumberOrNull(report.limitUsd) &&
    isNumberOrNull(report.remainingUsd) &&
    isNumberOrNull(report.resetsAtMs) &&
    isNumberOrNull(report.expiresAtMs) &&
    isNumberOrNull(report.balanceUsd) &&
    (report.freeRemaining === undefined || isNumberOrNull(report.freeRemaining)) &&
    (report.usageDailyUsd === undefined || isNumberOrNull(report.usageDailyUsd)) &&
    [report.layer, report.creator, report.workspace, report.fingerprint].every(isTextIfAny) &&
    (report.owner === null || isText(report.owner))
  )
}

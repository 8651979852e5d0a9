import { creditAsOf, spendableUsd } from './accounting/credit.ts'
import { batchWindowsAtMs, hasBatchRoom, leasesOfShare } from './batches/batch-share.ts'
import { type CostBound, payment } from './clients/budget.ts'
import { type Bench, isActive, mayEndByLookup, reportedReason } from './health/bench.ts'
import { asOf } from './health/circuit-breaker.ts'
import { haltReason } from './health/halt.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { roomAtMs } from './limits/meter.ts'
import { tooLargeUntilMs } from './limits/size-note.ts'
import type { KeyState, PoolState, Step } from './pool-state.ts'
import type { Reason } from './reasons.ts'
import { type KeysOfClient, selects } from './routes.ts'

/** What one request requires of a key. */
export interface Requirements {
  readonly model: ModelId
  readonly triedKeys: readonly KeyId[]
  /** Accounts whose fault an attempt of this request was. */
  readonly excludedAccounts: readonly AccountId[]
  /** Tokens that the request takes from the key's limit per minute. */
  readonly tokens: number
  /** As in the lease request. */
  readonly size?: number | undefined
  /** The most that the request can cost, as in the lease request: what it reserves of a `max_spend`. */
  readonly costNanos?: CostBound | undefined
  /** The part of the pool that the client may use: each list must select the key. Absent for all. */
  readonly clientKeys?: KeysOfClient
  /** Keys whose tokens an earlier request waits for. This request may not use them. */
  readonly claimedKeys: Claims
  /** Absent for an interactive request. */
  readonly batch?: BatchTerms | undefined
}

/** What a batch's request may have of a key. */
export interface BatchTerms {
  /** Of each limit of a key: 0 to 1. */
  readonly share: number
  /** Before this moment, in epoch milliseconds, it is no key's probe: interactive requests are. */
  readonly probesFromMs: number
}

/** Says of which keys an earlier request waits for the tokens. */
export interface Claims {
  readonly size: number
  readonly has: (key: KeyId) => boolean
}

/** No key is claimed by an earlier request. */
export const NO_CLAIMS: Claims = new Set()

/** One reason why a key may not serve, and when it ends. */
export interface Exclusion {
  readonly reason: Reason
  /** When it will probably end by itself, in epoch milliseconds; null if time does not end it. */
  readonly clearsAtMs: number | null
  /** Whether it may end before that moment, because a running request may end at any time. */
  readonly mayClearSooner: boolean
  /** Whether a lookup of the key may end it before that moment. */
  readonly byLookup?: true
}

/** How long a lease is expected to last on a key that has no settled lease yet. */
const UNKNOWN_HOLD_MS = 5_000

/** OpenRouter's own choice among the free models. */
const FREE_ROUTER = 'openrouter/free'

/** Bounds of the expected lease time. A retry outside them would come too soon or too late. */
const MIN_HOLD_MS = 1_000
const MAX_HOLD_MS = 60_000

/**
 * Whether a model is free at OpenRouter, so that the free tier's limits hold for it. `:free` may stand
 * before other suffixes.
 */
export function isFreeModel(model: ModelId): boolean {
  return model.includes(':free') || model === FREE_ROUTER
}

/**
 * One empty list for every key without exclusions. That is nearly every key of nearly every
 * request, so filtering a healthy pool allocates almost nothing.
 */
const NONE: readonly Exclusion[] = []

const until = (reason: Reason, clearsAtMs: number | null): Exclusion => ({
  reason,
  clearsAtMs,
  mayClearSooner: false,
})

const byLookup = (exclusion: Exclusion): Exclusion => ({ ...exclusion, byLookup: true })

/**
 * The benches that exclude this key for this model: the key's own, those of its account, and those of
 * the keys that share a budget with it.
 */
function benchExclusions(key: KeyState, model: ModelId, nowMs: number): readonly Exclusion[] {
  const { account } = key
  const creatorBench = key.creator?.bench ?? null
  const workspaceBench = key.workspace?.bench ?? null
  const freeBench = isFreeModel(model) ? account.freeBench : null
  const modelBench = account.modelBenches.get(model) ?? null
  const keyModelBench = key.modelBenches.get(model) ?? null
  const isBenched = key.bench || account.bench || freeBench || modelBench || keyModelBench
  if (!(isBenched || creatorBench || workspaceBench)) return NONE
  const ofModel = [freeBench, modelBench, keyModelBench]
  return [key.bench, account.bench, ...ofModel, creatorBench, workspaceBench]
    .filter((bench) => isActive(bench, nowMs))
    .map(benchExclusion)
}

function benchExclusion(bench: Bench): Exclusion {
  const exclusion = until(reportedReason(bench), bench.cure === 'time' ? bench.untilMs : null)
  return mayEndByLookup(bench) ? byLookup(exclusion) : exclusion
}

/** Unknown credit excludes no key. */
export function creditExclusions(key: KeyState, nowMs: number): readonly Exclusion[] {
  if (key.credit.kind === 'unknown' || key.credit.remainingUsd === null) return NONE
  const credit = creditAsOf(key.credit, nowMs)
  if (credit.kind === 'unknown' || credit.remainingUsd === null) return NONE
  if (credit.remainingUsd > key.config.minCreditUsd) return NONE
  const isLayerSpent = (credit.layer ?? null) !== null && credit.remainingUsd <= 0
  const reason = isLayerSpent ? 'budget_layer_spent' : 'below_min_credit'
  return [byLookup(until(reason, credit.resetsAtMs))]
}

/** By an operator's order. Time does not end it. */
export function haltExclusions(key: KeyState): readonly Exclusion[] {
  const reason = haltReason(key)
  return reason === null ? NONE : [until(reason, null)]
}

/** Nothing is left of the key's `max_spend`, whatever its running requests will cost. */
export function spendExclusions({ spend }: KeyState, nowMs: number): readonly Exclusion[] {
  if (spend === null) return NONE
  const paid = payment(spend, 0, nowMs)
  if (paid.kind === 'paid' || (paid.kind === 'exceeded' && paid.isPassing)) return NONE
  return [until('at_max_spend', spend.endsAtMs)]
}

/** What is left of the key's `max_spend` does not pay for this request, or not while others run. */
export function paymentExclusions(
  { spend }: KeyState,
  bound: CostBound,
  nowMs: number,
): readonly Exclusion[] {
  if (spend === null) return NONE
  const paid = payment(spend, bound, nowMs)
  if (paid.kind === 'paid') return NONE
  const mayClearSooner = paid.kind === 'exceeded' && paid.isPassing
  return [{ ...until('at_max_spend', spend.endsAtMs), mayClearSooner }]
}

/** Requests at least as large as one that the key, or its account, could not pay for. */
export function sizeExclusions(
  { tooLarge, account }: KeyState,
  size: number | undefined,
  nowMs: number,
): readonly Exclusion[] {
  if (tooLarge === null && account.tooLarge === null) return NONE
  const exclusions: Exclusion[] = []
  const ofKeyMs = tooLargeUntilMs(tooLarge, size, nowMs)
  if (ofKeyMs !== null) exclusions.push(byLookup(until('too_large_for_key', ofKeyMs)))
  const ofAccountMs = tooLargeUntilMs(account.tooLarge, size, nowMs)
  if (ofAccountMs !== null) {
    exclusions.push(byLookup(until('too_large_for_account', ofAccountMs)))
  }
  return exclusions
}

/**
 * The standing exclusions: those that come from the state of the key and its account, and not from
 * load, breakers or the request. Panic is measured over the keys that have none.
 */
export function standingExclusions(
  key: KeyState,
  model: ModelId,
  nowMs: number,
): readonly Exclusion[] {
  const benches = benchExclusions(key, model, nowMs)
  const credit = creditExclusions(key, nowMs)
  const spend = spendExclusions(key, nowMs)
  const isUsable = !key.config.disabled && key.halt === null
  if (isUsable && benches.length + credit.length + spend.length === 0) return NONE
  const disabled = key.config.disabled ? [until('disabled', null)] : NONE
  return [...disabled, ...haltExclusions(key), ...benches, ...credit, ...spend]
}

/** The exclusion by the key's circuit breaker, as a list of none or one. */
export function breakerExclusions(key: KeyState, nowMs: number): readonly Exclusion[] {
  const breaker = asOf(key.breaker, nowMs)
  switch (breaker.kind) {
    case 'closed':
      return NONE
    case 'open':
      return [until('breaker_open', breaker.untilMs)]
    case 'half_open':
      return breaker.probe === null ? NONE : [busy('half_open_busy', key, nowMs)]
  }
}

function busy(reason: Reason, key: KeyState, nowMs: number): Exclusion {
  return { reason, clearsAtMs: nowMs + holdMs(key), mayClearSooner: true }
}

/** The end of a running lease is unknown. The guess is the key's mean lease time, within bounds. */
export function holdMs({ meanHoldMs }: KeyState): number {
  return Math.min(MAX_HOLD_MS, Math.max(MIN_HOLD_MS, meanHoldMs ?? UNKNOWN_HOLD_MS))
}

/** What excludes a key that is full. */
export function fullExclusion(key: KeyState, nowMs: number): Exclusion {
  return busy('at_max_concurrent', key, nowMs)
}

export function loadExclusions(
  state: PoolState,
  key: KeyState,
  { tokens, costNanos }: Pick<Requirements, 'tokens' | 'costNanos'>,
  nowMs: number,
): readonly Exclusion[] {
  const { config, inFlight, rpm, tpm, credit } = key
  const exclusions: Exclusion[] = []
  if (config.maxConcurrent !== null && inFlight >= config.maxConcurrent) {
    exclusions.push(fullExclusion(key, nowMs))
  }
  const requestAtMs = rpm === null ? nowMs : roomAtMs(rpm, 1, nowMs)
  if (requestAtMs !== nowMs) exclusions.push(until('at_rpm', requestAtMs))
  const tokensAtMs = tpm === null ? nowMs : roomAtMs(tpm, tokens, nowMs)
  if (tokensAtMs !== nowMs) exclusions.push(until('at_tpm', tokensAtMs))
  if (credit.kind === 'known' && inFlight > 0) {
    // Running requests are paid from the same credit, so their expected cost is subtracted. If one
    // costs less than expected, the key may have credit again when that request ends.
    const left = spendableUsd(credit, inFlight * state.meanCostUsd, nowMs)
    if (left !== null && left <= config.minCreditUsd) {
      exclusions.push(busy('below_min_credit', key, nowMs))
    }
  }
  exclusions.push(...paymentExclusions(key, costNanos ?? null, nowMs))
  return exclusions.length === 0 ? NONE : exclusions
}

/** Whether a key is kept for interactive requests, so that a batch's request may not use it now. */
function isKept(
  key: KeyState,
  { batch, tokens }: Pick<Requirements, 'batch' | 'tokens'>,
  nowMs: number,
): boolean {
  if (batch === undefined) return false
  if (nowMs < key.batch.yieldsUntilMs || !hasBatchRoom(key, batch.share, tokens, nowMs)) return true
  return nowMs < batch.probesFromMs && key.breaker.kind !== 'closed'
}

/** Why a key is kept for interactive requests, and until when: as `isKept`, at length. */
function keptExclusions(
  key: KeyState,
  { batch, tokens }: Requirements,
  nowMs: number,
): readonly Exclusion[] {
  if (batch === undefined || !isKept(key, { batch, tokens }, nowMs)) return NONE
  const { share, probesFromMs } = batch
  const { inFlight, yieldsUntilMs } = key.batch
  const exclusions: Exclusion[] = []
  const kept = (untilMs: number) => exclusions.push(until('kept_for_interactive', untilMs))
  if (nowMs < yieldsUntilMs) kept(yieldsUntilMs)
  if (inFlight >= leasesOfShare(key.config.maxConcurrent, share)) {
    exclusions.push(busy('kept_for_interactive', key, nowMs))
  }
  const roomAtMs = batchWindowsAtMs(key, share, tokens, nowMs)
  if (roomAtMs !== nowMs) kept(roomAtMs)
  if (nowMs < probesFromMs && key.breaker.kind !== 'closed') kept(probesFromMs)
  return exclusions
}

function requestExclusions(
  key: KeyState,
  request: Requirements,
  nowMs: number,
): readonly Exclusion[] {
  const sizes = sizeExclusions(key, request.size, nowMs)
  const tried = isTried(key, request) ? [until('already_tried', null)] : NONE
  const foreign = isForClient(key, request.clientKeys) ? NONE : [until('not_for_client', null)]
  return tried.length + foreign.length === 0 ? sizes : [...tried, ...foreign, ...sizes]
}

/** Whether the request has been with the key, or is not to go to its account. */
export function isTried(
  key: KeyState,
  { triedKeys, excludedAccounts }: Pick<Requirements, 'triedKeys' | 'excludedAccounts'>,
): boolean {
  return triedKeys.includes(key.id) || excludedAccounts.includes(key.account.id)
}

/** Whether a client may use a key. */
function isForClient(
  { id, config: { tags }, account }: KeyState,
  clientKeys: KeysOfClient | undefined,
): boolean {
  if (clientKeys === undefined || clientKeys.length === 0) return true
  const key = { id, tags, account: account.id }
  return clientKeys.every((list) => list.some((selector) => selects(selector, key)))
}

/** Whether the request's own way, its class, or a claim of an earlier request excludes a key. */
export function isTaken(key: KeyState, request: Requirements, nowMs: number): boolean {
  return (
    isTried(key, request) ||
    request.claimedKeys.has(key.id) ||
    !isForClient(key, request.clientKeys) ||
    isKept(key, request, nowMs)
  )
}

/** Whether a request goes through the keys one by one, since some may be out for it alone. */
export function isPersonal(request: Requirements): boolean {
  const { triedKeys, excludedAccounts, claimedKeys, clientKeys } = request
  return (
    triedKeys.length + excludedAccounts.length + claimedKeys.size > 0 ||
    (clientKeys !== undefined && clientKeys.length > 0) ||
    request.batch !== undefined
  )
}

/** A key of the route, with its standing exclusions. */
export interface StandingKey {
  readonly key: KeyState
  readonly exclusions: readonly Exclusion[]
}

/** All that excludes one key for one request. */
export function exclusionsOf(
  { state, nowMs }: Omit<Step, 'random'>,
  { key, exclusions }: StandingKey,
  requirements: Requirements,
  ignoresBreakers: boolean,
): readonly Exclusion[] {
  const request = requestExclusions(key, requirements, nowMs)
  const breaker = ignoresBreakers ? NONE : breakerExclusions(key, nowMs)
  const load = loadExclusions(state, key, requirements, nowMs)
  const claim = requirements.claimedKeys.has(key.id) ? [busy('at_tpm', key, nowMs)] : NONE
  const kept = keptExclusions(key, requirements, nowMs)
  const count = exclusions.length + request.length + breaker.length + load.length
  return count + claim.length + kept.length === 0
    ? NONE
    : [...exclusions, ...request, ...breaker, ...load, ...claim, ...kept]
}

import { creditAsOf, spendableUsd } from './accounting/credit.ts'
import { periodEndMs, spentUsd } from './accounting/max-spend.ts'
import { type Bench, isActive, mayEndByLookup, reportedReason } from './health/bench.ts'
import { asOf } from './health/circuit-breaker.ts'
import { isPanic } from './health/panic.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { roomAtMs } from './limits/meter.ts'
import { lookAgain } from './limits/readiness.ts'
import { tooLargeUntilMs } from './limits/size-note.ts'
import {
  type KeyState,
  membersOf,
  type PoolState,
  type RouteState,
  type Step,
} from './pool-state.ts'
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
  /** The part of the pool that the client may use: each list must select the key. Absent for all. */
  readonly clientKeys?: KeysOfClient
  /** Keys whose tokens an earlier request waits for. This request may not use them. */
  readonly claimedKeys: Claims
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

/** What the key has spent of its `max_spend`, without what its running requests will cost. */
export function spendExclusions({ spend }: KeyState, nowMs: number): readonly Exclusion[] {
  if (spend === null || spentUsd(spend, nowMs) < spend.max.usd) return NONE
  return [until('at_max_spend', periodEndMs(spend, nowMs))]
}

/** Running requests will be paid from the same `max_spend`. One may cost less than expected. */
function runningSpendExclusions(
  { spend, inFlight }: KeyState,
  meanCostUsd: number,
  nowMs: number,
): readonly Exclusion[] {
  if (spend === null || inFlight === 0) return NONE
  const spent = spentUsd(spend, nowMs)
  if (spent >= spend.max.usd || spent + inFlight * meanCostUsd < spend.max.usd) return NONE
  return [{ ...until('at_max_spend', periodEndMs(spend, nowMs)), mayClearSooner: true }]
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
  if (!key.config.disabled && benches.length + credit.length + spend.length === 0) return NONE
  const disabled = key.config.disabled ? [until('disabled', null)] : NONE
  return [...disabled, ...benches, ...credit, ...spend]
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
function holdMs({ meanHoldMs }: KeyState): number {
  return Math.min(MAX_HOLD_MS, Math.max(MIN_HOLD_MS, meanHoldMs ?? UNKNOWN_HOLD_MS))
}

/** What excludes a key that is full. */
export function fullExclusion(key: KeyState, nowMs: number): Exclusion {
  return busy('at_max_concurrent', key, nowMs)
}

export function loadExclusions(
  state: PoolState,
  key: KeyState,
  tokens: number,
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
  exclusions.push(...runningSpendExclusions(key, state.meanCostUsd, nowMs))
  return exclusions.length === 0 ? NONE : exclusions
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

/** Whether the request's own way, or a claim of an earlier request, excludes a key. */
export function isTaken(key: KeyState, request: Requirements): boolean {
  return (
    isTried(key, request) ||
    request.claimedKeys.has(key.id) ||
    !isForClient(key, request.clientKeys)
  )
}

/** Whether a request goes through the keys one by one, since some may be out for it alone. */
export function isPersonal(request: Requirements): boolean {
  const { triedKeys, excludedAccounts, claimedKeys, clientKeys } = request
  return (
    triedKeys.length + excludedAccounts.length + claimedKeys.size > 0 ||
    (clientKeys !== undefined && clientKeys.length > 0)
  )
}

/** A key of the route, with its standing exclusions. */
export interface StandingKey {
  readonly key: KeyState
  readonly exclusions: readonly Exclusion[]
}

/** The keys of a route with their standing exclusions for one model. */
export interface StandingFilter {
  readonly keys: readonly StandingKey[]
  /** How many keys have no standing exclusion. */
  readonly standing: number
  /** Whether breakers are ignored; see panic.ts. */
  readonly panic: boolean
}

/** Keys were found to be ready at a time and at a mean cost: they are while neither goes astray. */
export function holdReadiness({ state, nowMs }: Omit<Step, 'random'>): void {
  const { readiness, meanCostUsd } = state
  if (nowMs < readiness.sinceMs || meanCostUsd > readiness.meanCostUsd) {
    for (const key of state.keys.values()) lookAgain(key)
    readiness.meanCostUsd = MEAN_COST_MARGIN * meanCostUsd
  }
  readiness.sinceMs = nowMs
}

/** The mean cost moves with every answer. It may grow so much before all keys are looked at again. */
const MEAN_COST_MARGIN = 2

/** The first half of the filter. Load plays no part in panic, so panic is measured here. */
export function filterStanding(
  { state, nowMs }: Omit<Step, 'random'>,
  route: RouteState,
  model: ModelId,
): StandingFilter {
  return standingAmong({ state, nowMs }, membersOf(state, route), 0, model)
}

/** @param sound how many more keys stand, with closed breakers */
function standingAmong(
  { state, nowMs }: Omit<Step, 'random'>,
  among: readonly KeyState[],
  sound: number,
  model: ModelId,
): StandingFilter {
  let standing = sound
  let closed = sound
  const keys = among.map((key) => {
    const exclusions = standingExclusions(key, model, nowMs)
    if (exclusions.length === 0) {
      standing += 1
      if (key.breaker.kind === 'closed') closed += 1
    }
    return { key, exclusions }
  })
  return { keys, standing, panic: isPanic(standing, closed, state.policy.panicRatio) }
}

/** A key that may not serve this request, with all its exclusions. */
export interface ExcludedKey {
  readonly key: KeyState
  readonly exclusions: readonly Exclusion[]
}

/**
 * Keys that only have as many leases as they may have at once. While requests wait that is nearly
 * every key, so they are counted and not listed. Each has one exclusion, `fullExclusion`.
 */
export interface FullKeys {
  readonly count: number
  /** When the first of their leases will probably end; null if there are no such keys. */
  readonly clearsAtMs: number | null
}

/** The keys of a route, filtered for one request. */
export interface FilterResult {
  readonly candidates: KeyState[]
  /** Only keys of the route. Keys outside the route are counted, not listed. */
  readonly excluded: ExcludedKey[]
  /** The other keys of the route: they are full, and nothing else is in the way. */
  readonly full: FullKeys
  /** How many keys the route does not select. */
  readonly outsideRoute: number
  readonly panic: boolean
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
  const load = loadExclusions(state, key, requirements.tokens, nowMs)
  const claim = requirements.claimedKeys.has(key.id) ? [busy('at_tpm', key, nowMs)] : NONE
  return exclusions.length + request.length + breaker.length + load.length + claim.length === 0
    ? NONE
    : [...exclusions, ...request, ...breaker, ...load, ...claim]
}

/** The whole filter: which keys may serve this request, and why the others may not. */
export function filterKeys(
  step: Omit<Step, 'random'>,
  route: RouteState,
  requirements: Requirements,
): FilterResult {
  const { state } = step
  const { full, others } = apartFromFull(step, route, requirements)
  const { keys, standing, panic } = standingAmong(step, others, full.count, requirements.model)
  // While every key has a standing exclusion, there is no panic. But the first key to come off its
  // bench will be alone. If its breaker is open then, that is panic, and panic ignores breakers.
  // So a breaker must not delay the moment that a refusal names.
  const ignoresBreakers = panic || (standing === 0 && state.policy.panicRatio > 0)
  const candidates: KeyState[] = []
  const excluded: ExcludedKey[] = []
  for (const standingKey of keys) {
    const { key } = standingKey
    const exclusions = exclusionsOf(step, standingKey, requirements, ignoresBreakers)
    if (exclusions.length === 0) candidates.push(key)
    else excluded.push({ key, exclusions })
  }
  const outsideRoute = state.keys.size - membersOf(state, route).length
  return { candidates, excluded, full, outsideRoute, panic }
}

/** Takes the keys apart that are known to be full and nothing else, as far as a request goes. */
function apartFromFull(
  step: Omit<Step, 'random'>,
  route: RouteState,
  request: Requirements,
): { readonly full: FullKeys; readonly others: readonly KeyState[] } {
  holdReadiness(step)
  const { tokens, model } = request
  const hasOwn = isPersonal(request)
  const isFree = isFreeModel(model)
  const others: KeyState[] = []
  let count = 0
  let clearsAtMs = Number.POSITIVE_INFINITY
  const members = membersOf(step.state, route)
  for (let i = 0; i < members.length; i++) {
    const key = members[i] as KeyState
    const isFull = tokens <= key.fullFor && !(isFree && key.account.freeBench !== null)
    if (isFull && !(hasOwn && isTaken(key, request))) {
      count += 1
      clearsAtMs = Math.min(clearsAtMs, step.nowMs + holdMs(key))
    } else others.push(key)
  }
  return { full: { count, clearsAtMs: count === 0 ? null : clearsAtMs }, others }
}

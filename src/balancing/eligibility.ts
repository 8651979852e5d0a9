import { creditAsOf, spendableUsd } from './accounting/credit.ts'
import { type Bench, isActive } from './health/bench.ts'
import { asOf, awaitsProbe } from './health/circuit-breaker.ts'
import { isPanic } from './health/panic.ts'
import { shareOf } from './health/slow-start.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { roomAtMs } from './limits/meter.ts'
import { fits } from './limits/sliding-window.ts'
import {
  type KeyState,
  membersOf,
  type PoolState,
  type RouteState,
  type Step,
} from './pool-state.ts'
import type { Reason } from './reasons.ts'

/** What one request requires of a key. */
export interface Requirements {
  readonly model: ModelId
  readonly triedKeys: readonly KeyId[]
  /** Accounts whose fault an attempt of this request was. */
  readonly excludedAccounts: readonly AccountId[]
  /** Tokens that the request takes from the key's limit per minute. */
  readonly tokens: number
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
}

/** How long a lease is expected to last on a key that has no settled lease yet. */
const UNKNOWN_HOLD_MS = 5_000

/** Bounds of the expected lease time. A retry outside them would come too soon or too late. */
const MIN_HOLD_MS = 1_000
const MAX_HOLD_MS = 60_000

/** Whether a model is one of OpenRouter's `:free` variants, which have rate limits of their own. */
export function isFreeModel(model: ModelId): boolean {
  return model.endsWith(':free')
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

/** The benches that exclude this key for this model: the key's own and those of its account. */
function benchExclusions(key: KeyState, model: ModelId, nowMs: number): readonly Exclusion[] {
  const { account } = key
  const freeBench = isFreeModel(model) ? account.freeBench : null
  const modelBench = account.modelBenches.get(model) ?? null
  if (!(key.bench || account.bench || freeBench || modelBench)) return NONE
  return [key.bench, account.bench, freeBench, modelBench]
    .filter((bench) => isActive(bench, nowMs))
    .map(benchExclusion)
}

function benchExclusion(bench: Bench): Exclusion {
  return until(bench.reason, bench.cure === 'time' ? bench.untilMs : null)
}

/** Unknown credit excludes no key. */
function creditExclusions(key: KeyState, nowMs: number): readonly Exclusion[] {
  if (key.credit.kind === 'unknown' || key.credit.remainingUsd === null) return NONE
  const credit = creditAsOf(key.credit, nowMs)
  if (credit.kind === 'unknown' || credit.remainingUsd === null) return NONE
  return credit.remainingUsd <= key.config.minCreditUsd
    ? [until('below_min_credit', credit.resetsAtMs)]
    : NONE
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
  if (!key.config.disabled && benches.length + credit.length === 0) return NONE
  return [...(key.config.disabled ? [until('disabled', null)] : NONE), ...benches, ...credit]
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

/** The end of a running lease is unknown. The guess is the key's mean lease time, within bounds. */
function busy(reason: Reason, { meanHoldMs }: KeyState, nowMs: number): Exclusion {
  const holdMs = Math.min(MAX_HOLD_MS, Math.max(MIN_HOLD_MS, meanHoldMs ?? UNKNOWN_HOLD_MS))
  return { reason, clearsAtMs: nowMs + holdMs, mayClearSooner: true }
}

function loadExclusions(
  state: PoolState,
  key: KeyState,
  tokens: number,
  nowMs: number,
): readonly Exclusion[] {
  const { config, inFlight, rpm, tpm, credit } = key
  const exclusions: Exclusion[] = []
  if (config.maxConcurrent !== null && inFlight >= config.maxConcurrent) {
    exclusions.push(busy('at_max_concurrent', key, nowMs))
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
  return exclusions.length === 0 ? NONE : exclusions
}

function requestExclusions(key: KeyState, request: Requirements): readonly Exclusion[] {
  return isTried(key, request) ? [until('already_tried', null)] : NONE
}

function isTried(
  key: KeyState,
  { triedKeys, excludedAccounts }: Pick<Requirements, 'triedKeys' | 'excludedAccounts'>,
): boolean {
  return triedKeys.includes(key.id) || excludedAccounts.includes(key.account.id)
}

/** The keys that may serve a request, found without a word about those that may not. */
export interface Candidates {
  /** Closed breakers, and those that await a probe. In panic: the best of what there is. */
  readonly keys: readonly KeyState[]
  readonly panic: boolean
  /** Whether some of them have recovered so lately that they get less than their share. */
  readonly hasRecovering: boolean
}

/**
 * The fast half of the filter: one pass that allocates nothing for a key that may not serve. Nearly
 * every request needs no more. `filterKeys` says the same at length, for refusals and for people.
 */
export function candidatesFor(
  { state, nowMs }: Omit<Step, 'random'>,
  route: RouteState,
  requirements: Requirements,
): Candidates {
  const { model, triedKeys, excludedAccounts, claimedKeys } = requirements
  const isFree = isFreeModel(model)
  const isPersonal = triedKeys.length + excludedAccounts.length + claimedKeys.size > 0
  const members = membersOf(state, route)
  const groups: CandidateGroups = { probes: [], closed: null, open: [] }
  let standing = 0
  let standingClosed = 0
  for (let i = 0; i < members.length; i++) {
    const key = members[i] as KeyState
    const isStanding = stands(key, model, isFree, nowMs)
    if (isStanding) standing += 1
    if (isStanding && key.breaker.kind === 'closed') standingClosed += 1
    const isExcluded =
      !isStanding ||
      !hasCapacity(state, key, requirements.tokens, nowMs) ||
      (isPersonal && isTaken(key, requirements))
    sortIn(groups, members, i, isExcluded ? null : groupOf(key, nowMs))
  }
  const panic = isPanic(standing, standingClosed, state.policy.panicRatio)
  const { probes, open } = groups
  const closed = groups.closed ?? members
  const keys = panic ? firstOfPanic(probes, closed, open) : admitted(probes, closed)
  return { keys, panic, hasRecovering: noteShares(keys, nowMs) }
}

function admitted(probes: readonly KeyState[], closed: readonly KeyState[]): readonly KeyState[] {
  return probes.length === 0 ? closed : [...closed, ...probes]
}

/** Notes how much of its load each key can be given. Returns whether one of them is recovering. */
function noteShares(keys: readonly KeyState[], nowMs: number): boolean {
  let hasRecovering = false
  for (const key of keys) {
    key.share = shareOf(key.breaker, nowMs)
    if (key.share < 1) hasRecovering = true
  }
  return hasRecovering
}

/** Keys with room, by what their breaker says. */
interface CandidateGroups {
  readonly probes: KeyState[]
  /** Null while every key so far is one of these: a healthy pool's own list serves, without a copy. */
  closed: KeyState[] | null
  /** Open, or half-open while the probe is out. */
  readonly open: KeyState[]
}

function groupOf({ breaker }: KeyState, nowMs: number): keyof CandidateGroups {
  if (breaker.kind === 'closed') return 'closed'
  return awaitsProbe(breaker, nowMs) ? 'probes' : 'open'
}

function sortIn(
  groups: CandidateGroups,
  members: readonly KeyState[],
  i: number,
  group: keyof CandidateGroups | null,
): void {
  if (group === 'closed') {
    groups.closed?.push(members[i] as KeyState)
    return
  }
  groups.closed ??= members.slice(0, i)
  if (group !== null) groups[group].push(members[i] as KeyState)
}

/**
 * Panic says that open breakers may be ignored, not that they should be. Keys that are closed go
 * before those that are open: else a few sick keys would cost the answers of the well ones. Probes go
 * before both. Panic ends when breakers close, and a breaker closes by its probe, which a strategy
 * that prefers one key would never send to the others.
 */
function firstOfPanic(
  probes: readonly KeyState[],
  closed: readonly KeyState[],
  open: readonly KeyState[],
): readonly KeyState[] {
  if (probes.length > 0) return probes
  return closed.length > 0 ? closed : open
}

/** Whether the request's own way, or a claim of an earlier request, excludes a key. */
function isTaken(key: KeyState, requirements: Requirements): boolean {
  return isTried(key, requirements) || requirements.claimedKeys.has(key.id)
}

/** Whether `standingExclusions` would be empty. */
function stands(key: KeyState, model: ModelId, isFree: boolean, nowMs: number): boolean {
  const { account, credit, config } = key
  if (config.disabled || isActive(key.bench, nowMs) || isActive(account.bench, nowMs)) return false
  if (isFree && isActive(account.freeBench, nowMs)) return false
  const { modelBenches } = account
  if (modelBenches.size > 0 && isActive(modelBenches.get(model) ?? null, nowMs)) return false
  const isUnlimited = credit.kind === 'unknown' || credit.remainingUsd === null
  return isUnlimited || creditExclusions(key, nowMs).length === 0
}

/** Whether `loadExclusions` would be empty. */
function hasCapacity(state: PoolState, key: KeyState, tokens: number, nowMs: number): boolean {
  const { config, inFlight, rpm, tpm, credit } = key
  if (config.maxConcurrent !== null && inFlight >= config.maxConcurrent) return false
  if (rpm !== null && !fits(rpm.window, rpm.limit, 1, nowMs)) return false
  if (tpm !== null && !fits(tpm.window, tpm.limit, tokens, nowMs)) return false
  if (credit.kind === 'unknown' || credit.remainingUsd === null || inFlight === 0) return true
  return loadExclusions(state, key, tokens, nowMs).length === 0
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

/** The first half of the filter. Load plays no part in panic, so panic is measured here. */
export function filterStanding(
  { state, nowMs }: Omit<Step, 'random'>,
  route: RouteState,
  model: ModelId,
): StandingFilter {
  let standing = 0
  let closed = 0
  const keys = membersOf(state, route).map((key) => {
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

/** The keys of a route, filtered for one request. */
export interface FilterResult {
  readonly candidates: KeyState[]
  /** Only keys of the route. Keys outside the route are counted, not listed. */
  readonly excluded: ExcludedKey[]
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
  const request = requestExclusions(key, requirements)
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
  const { keys, standing, panic } = filterStanding(step, route, requirements.model)
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
  return { candidates, excluded, outsideRoute: state.keys.size - keys.length, panic }
}

import { creditAsOf, spendableUsd } from './accounting/credit.ts'
import { type Bench, isActive } from './health/bench.ts'
import { asOf } from './health/circuit-breaker.ts'
import { isPanic } from './health/panic.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { roomAtMs } from './limits/meter.ts'
import { type KeyState, membersOf, type PoolState, type RouteState } from './pool-state.ts'
import type { Reason } from './reasons.ts'

/** What a request asks of a key, beyond being free. */
export interface Needs {
  readonly model: ModelId
  readonly triedKeys: readonly KeyId[]
  /** Accounts that were themselves at fault for an attempt of this request. */
  readonly excludedAccounts: readonly AccountId[]
  /** Tokens that it takes from a key's limit per minute. */
  readonly tokens: number
}

/** Something that keeps a key from serving. */
export interface Obstacle {
  readonly reason: Reason
  /** When it will have ended by itself, as well as can be known; null if it doesn't. */
  readonly clearsAtMs: number | null
  /** Whether it may end at any moment before that, as a running request may. */
  readonly maySoon: boolean
}

/** How long a lease of a key lasts whose leases have not been seen to end yet. */
const UNKNOWN_HOLD_MS = 5_000

/** No sooner is it worth coming back for a lease that may end at any moment, nor any later. */
const MIN_HOLD_MS = 1_000
const MAX_HOLD_MS = 60_000

export function isFreeModel(model: ModelId): boolean {
  return model.endsWith(':free')
}

/**
 * Shared by every key without obstacles, which is nearly every key of nearly
 * every request, so that the scan of a healthy pool stays cheap.
 */
const NONE: readonly Obstacle[] = []

const until = (reason: Reason, clearsAtMs: number | null): Obstacle => ({
  reason,
  clearsAtMs,
  maySoon: false,
})

/** Benches that stand in the way of this key for this model, whatever they bench. */
function benchObstacles(key: KeyState, model: ModelId, nowMs: number): readonly Obstacle[] {
  const { account } = key
  const freeBench = isFreeModel(model) ? account.freeBench : null
  const modelBench = account.modelBenches.get(model) ?? null
  if (!(key.bench || account.bench || freeBench || modelBench)) return NONE
  return [key.bench, account.bench, freeBench, modelBench]
    .filter((bench) => isActive(bench, nowMs))
    .map(benchObstacle)
}

function benchObstacle(bench: Bench): Obstacle {
  return until(bench.reason, bench.cure === 'time' ? bench.untilMs : null)
}

/** A credit that nobody knows keeps no key from serving. */
function creditObstacles(key: KeyState, nowMs: number): readonly Obstacle[] {
  if (key.credit.kind === 'unknown' || key.credit.remainingUsd === null) return NONE
  const credit = creditAsOf(key.credit, nowMs)
  if (credit.kind === 'unknown' || credit.remainingUsd === null) return NONE
  return credit.remainingUsd <= key.config.minCreditUsd
    ? [until('below_min_credit', credit.resetsAtMs)]
    : NONE
}

/**
 * What excludes a key whatever the load and the breakers: the state of the key
 * and its account. Panic is measured over the keys for which this is empty.
 */
function standingObstacles(key: KeyState, model: ModelId, nowMs: number): readonly Obstacle[] {
  const benches = benchObstacles(key, model, nowMs)
  const credit = creditObstacles(key, nowMs)
  if (!key.config.disabled && benches.length + credit.length === 0) return NONE
  return [...(key.config.disabled ? [until('disabled', null)] : NONE), ...benches, ...credit]
}

export function breakerObstacles(key: KeyState, nowMs: number): readonly Obstacle[] {
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

/** The end of a lease can't be known. By the key's experience it is over in so long. */
function busy(reason: Reason, { meanHoldMs }: KeyState, nowMs: number): Obstacle {
  const holdMs = Math.min(MAX_HOLD_MS, Math.max(MIN_HOLD_MS, meanHoldMs ?? UNKNOWN_HOLD_MS))
  return { reason, clearsAtMs: nowMs + holdMs, maySoon: true }
}

function loadObstacles(
  state: PoolState,
  key: KeyState,
  tokens: number,
  nowMs: number,
): readonly Obstacle[] {
  const { config, inFlight, rpm, tpm, credit } = key
  const obstacles: Obstacle[] = []
  if (config.maxConcurrent !== null && inFlight >= config.maxConcurrent) {
    obstacles.push(busy('at_max_concurrent', key, nowMs))
  }
  const requestAtMs = rpm === null ? nowMs : roomAtMs(rpm, 1, nowMs)
  if (requestAtMs !== nowMs) obstacles.push(until('at_rpm', requestAtMs))
  const tokensAtMs = tpm === null ? nowMs : roomAtMs(tpm, tokens, nowMs)
  if (tokensAtMs !== nowMs) obstacles.push(until('at_tpm', tokensAtMs))
  if (credit.kind === 'known' && inFlight > 0) {
    // What runs will be paid from the same credit. If it costs less than it is reckoned with,
    // there is room again as soon as it has ended.
    const left = spendableUsd(credit, inFlight * state.meanCostUsd, nowMs)
    if (left !== null && left <= config.minCreditUsd) {
      obstacles.push(busy('below_min_credit', key, nowMs))
    }
  }
  return obstacles.length === 0 ? NONE : obstacles
}

function requestObstacles(key: KeyState, needs: Needs): readonly Obstacle[] {
  const tried = needs.triedKeys.includes(key.id) || needs.excludedAccounts.includes(key.account.id)
  return tried ? [until('already_tried', null)] : NONE
}

/** The keys of a route as one model finds them, whatever the load and the request. */
export interface Survey {
  readonly seen: readonly { readonly key: KeyState; readonly lasting: readonly Obstacle[] }[]
  /** How many keys nothing but load or a breaker excludes. */
  readonly standing: number
  /** Whether breakers are to be ignored; see panic.ts. */
  readonly panic: boolean
}

export function survey(state: PoolState, route: RouteState, model: ModelId, nowMs: number): Survey {
  let standing = 0
  let closed = 0
  const seen = membersOf(state, route).map((key) => {
    const lasting = standingObstacles(key, model, nowMs)
    if (lasting.length === 0) {
      standing += 1
      if (key.breaker.kind === 'closed') closed += 1
    }
    return { key, lasting }
  })
  return { seen, standing, panic: isPanic(standing, closed, state.policy.panicRatio) }
}

/** A key that may not serve this request, with everything against it. */
export interface Assessment {
  readonly key: KeyState
  readonly obstacles: readonly Obstacle[]
}

/** The keys for one request: who may serve, why not the others, and whether breakers count. */
export interface Assessed {
  readonly eligible: KeyState[]
  /** Keys of the route. What is not in it is not listed one by one. */
  readonly excluded: Assessment[]
  /** How many keys the route does not select. */
  readonly outside: number
  readonly panic: boolean
}

/**
 * @param claimed keys whose tokens an earlier request waits for: this one may not take them
 */
export function assess(
  state: PoolState,
  route: RouteState,
  needs: Needs,
  nowMs: number,
  claimed: ReadonlySet<KeyId> = NOT_CLAIMED,
): Assessed {
  const { seen, standing, panic } = survey(state, route, needs.model, nowMs)
  // With every key benched there is no panic yet. But the first to come off its bench will be
  // alone, and in panic if its breaker is open: its breaker puts off nothing.
  const alone = standing === 0 && state.policy.panicRatio > 0
  const eligible: KeyState[] = []
  const excluded: Assessment[] = []
  for (const { key, lasting } of seen) {
    const request = requestObstacles(key, needs)
    const breaker = panic || alone ? NONE : breakerObstacles(key, nowMs)
    const load = loadObstacles(state, key, needs.tokens, nowMs)
    const queued = claimed.has(key.id) ? [busy('at_tpm', key, nowMs)] : NONE
    if (lasting.length + request.length + breaker.length + load.length + queued.length === 0) {
      eligible.push(key)
    } else {
      excluded.push({ key, obstacles: [...lasting, ...request, ...breaker, ...load, ...queued] })
    }
  }
  return { eligible, excluded, outside: state.keys.size - seen.length, panic }
}

const NOT_CLAIMED: ReadonlySet<KeyId> = new Set()

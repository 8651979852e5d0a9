import {
  type Exclusion,
  exclusionsOf,
  holdMs,
  isFreeModel,
  isPersonal,
  isTaken,
  type Requirements,
  type StandingKey,
  standingExclusions,
} from '../eligibility.ts'
import { isPanic } from '../health/panic.ts'
import type { ModelId } from '../ids.ts'
import { lookAgain } from '../limits/readiness.ts'
import { type KeyState, membersOf, type RouteState, type Step } from '../pool-state.ts'

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

/** The whole filter: which keys may serve this request, and why the others may not. */
export function filterKeys(
  step: Omit<Step, 'random'>,
  route: RouteState,
  requirements: Requirements,
): FilterResult {
  const { state } = step
  const { full, others } = apartFromFull(step, route, requirements)
  const among = standingAmong(step, others, full.count, requirements.model)
  const { keys, standing } = among
  const mayPanic = requirements.batch === undefined
  const panic = among.panic && mayPanic
  // A batch can wait for a breaker to close: its lines are no reason to try what is broken.
  // While every key has a standing exclusion, there is no panic. But the first key to come off its
  // bench will be alone. If its breaker is open then, that is panic, and panic ignores breakers.
  // So a breaker must not delay the moment that a refusal names.
  const ignoresBreakers = panic || (standing === 0 && state.policy.panicRatio > 0 && mayPanic)
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
    if (isFull && !(hasOwn && isTaken(key, request, step.nowMs))) {
      count += 1
      clearsAtMs = Math.min(clearsAtMs, step.nowMs + holdMs(key))
    } else others.push(key)
  }
  return { full: { count, clearsAtMs: count === 0 ? null : clearsAtMs }, others }
}

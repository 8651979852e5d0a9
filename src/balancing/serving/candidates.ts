import { paysForAny } from '../clients/budget.ts'
import {
  creditExclusions,
  isFreeModel,
  isPersonal,
  isTaken,
  loadExclusions,
  type Requirements,
  sizeExclusions,
  spendExclusions,
  standingExclusions,
} from '../eligibility.ts'
import { hasBenchedModel } from '../health/account.ts'
import { isActive } from '../health/bench.ts'
import { awaitsProbe } from '../health/circuit-breaker.ts'
import { isPanic } from '../health/panic.ts'
import { shareOf } from '../health/slow-start.ts'
import type { ModelId } from '../ids.ts'
import { leftOf } from '../limits/meter.ts'
import { NOT_READY, READY_FOR_ANY } from '../limits/readiness.ts'
import { fits } from '../limits/sliding-window.ts'
import {
  type KeyState,
  membersOf,
  type PoolState,
  type RouteState,
  type Step,
} from '../pool-state.ts'
import { holdReadiness } from './filter.ts'

/** The keys that may serve a request, found without a word about those that may not. */
export interface Candidates {
  /**
   * Closed breakers, and those that await a probe. In panic: the best of what there is. It is the
   * route's own list of members where all of them may serve.
   */
  readonly keys: readonly KeyState[]
  readonly panic: boolean
  /** Whether some of them have recovered so lately that they get less than their share. */
  readonly hasRecovering: boolean
}

/**
 * The fast half of the filter: one pass that looks at one number of nearly every key (see
 * readiness.ts), and allocates nothing for a key that may not serve. Nearly every request needs no
 * more. `filterKeys` says the same at length, for refusals and for people.
 *
 * Here, and wherever else a request goes through all keys, the loop counts: `for … of` makes an object
 * for each key until V8 has optimized it fully.
 */
export function candidatesFor(
  step: Omit<Step, 'random'>,
  route: RouteState,
  requirements: Requirements,
): Candidates {
  const { state } = step
  const { tokens } = requirements
  holdReadiness(step)
  const isFree = isFreeModel(requirements.model)
  const hasOwn = isPersonal(requirements)
  const members = membersOf(state, route)
  const look: Look = {
    step,
    requirements,
    isFree,
    isPersonal: hasOwn,
    standing: 0,
    standingClosed: 0,
  }
  const found: Found = { probes: [], closed: null, open: [], hasRecovering: false }
  let known = 0
  for (let i = 0; i < members.length; i++) {
    const key = members[i] as KeyState
    const isReady = tokens <= key.readyFor
    const isKnown = isReady || tokens <= key.fullFor
    if (isKnown && !(isFree && key.account.freeBench !== null)) {
      known += 1
      if (isReady && !(hasOwn && isTaken(key, requirements, step.nowMs))) found.closed?.push(key)
      else found.closed ??= members.slice(0, i)
    } else sortIn(found, members, i, lookAt(look, key))
  }
  const { policy } = state
  const standing = known + look.standing
  const panic = isPanicFor(requirements, standing, known + look.standingClosed, policy)
  const { probes, open, hasRecovering } = found
  const closed = found.closed ?? members
  const keys = panic ? firstOfPanic(probes, closed, open) : admitted(probes, closed)
  return { keys, panic, hasRecovering }
}

/** A batch can wait for a breaker to close: its lines are no reason to try what is broken. */
function isPanicFor(
  { batch }: Requirements,
  standing: number,
  closed: number,
  { panicRatio }: PoolState['policy'],
): boolean {
  return batch === undefined && isPanic(standing, closed, panicRatio)
}

function admitted(probes: readonly KeyState[], closed: readonly KeyState[]): readonly KeyState[] {
  return probes.length === 0 ? closed : [...closed, ...probes]
}

/** Whether breakers are ignored, as in `filterStanding` but without a list. */
export function isPanicIn(step: Omit<Step, 'random'>, route: RouteState, model: ModelId): boolean {
  holdReadiness(step)
  const isFree = isFreeModel(model)
  let standing = 0
  let closed = 0
  const members = membersOf(step.state, route)
  for (let i = 0; i < members.length; i++) {
    const key = members[i] as KeyState
    const isSound = Math.max(key.readyFor, key.fullFor) >= 0
    const isKnown = isSound && !(isFree && key.account.freeBench !== null)
    if (!isKnown && standingExclusions(key, model, step.nowMs).length > 0) continue
    standing += 1
    if (isKnown || key.breaker.kind === 'closed') closed += 1
  }
  return isPanic(standing, closed, step.state.policy.panicRatio)
}

/** Keys with room, by what their breaker says. */
interface Found {
  readonly probes: KeyState[]
  /** Null while every key so far is one of these: a healthy pool's own list serves, without a copy. */
  closed: KeyState[] | null
  /** Open, or half-open while the probe is out. */
  readonly open: KeyState[]
  hasRecovering: boolean
}

type Group = 'probes' | 'closed' | 'open'

function sortIn(found: Found, members: readonly KeyState[], i: number, group: Group | null): void {
  const key = members[i] as KeyState
  if (group === 'closed') {
    if (key.share < 1) found.hasRecovering = true
    found.closed?.push(key)
    return
  }
  found.closed ??= members.slice(0, i)
  if (group !== null) found[group].push(key)
}

/** A close look at those keys of which no number says enough. */
interface Look {
  readonly step: Omit<Step, 'random'>
  readonly requirements: Requirements
  readonly isFree: boolean
  readonly isPersonal: boolean
  /** How many keys stood so far, and how many of those have a closed breaker. */
  standing: number
  standingClosed: number
}

/**
 * Whether a key may serve, and with whom. Notes how much of its load it can be given, and whether it
 * has to be looked at again.
 */
function lookAt(look: Look, key: KeyState): Group | null {
  const { step, requirements } = look
  const { nowMs } = step
  if (!stands(key, requirements.model, look.isFree, nowMs)) return null
  look.standing += 1
  if (key.breaker.kind === 'closed') look.standingClosed += 1
  if (isFull(key)) {
    key.fullFor = tokensReadyFor(step, key)
    return null
  }
  if (!hasCapacity(step.state, key, requirements, nowMs)) return null
  if (isTooLarge(key, requirements, nowMs)) return null
  key.share = shareOf(key.breaker, nowMs)
  key.readyFor = tokensReadyFor(step, key)
  if (look.isPersonal && isTaken(key, requirements, nowMs)) return null
  if (key.breaker.kind === 'closed') return 'closed'
  return awaitsProbe(key.breaker, nowMs) ? 'probes' : 'open'
}

/**
 * For how many tokens a standing key stays ready until something happens to it, as far as other limits
 * than that of its leases are concerned.
 */
function tokensReadyFor({ state, nowMs }: Omit<Step, 'random'>, key: KeyState): number {
  const { account, breaker, rpm, tpm } = key
  const isSound = breaker.kind === 'closed' && shareOf(breaker, nowMs) === 1
  const isForAny = key.tooLarge === null && account.tooLarge === null
  if (!(isSound && isForAny) || hasBenchedModel(account, nowMs)) return NOT_READY
  if (hasBenchedModel(key, nowMs)) return NOT_READY
  if (!staysSolvent(key, state.readiness.meanCostUsd, nowMs)) return NOT_READY
  if (rpm !== null && !fits(rpm.window, rpm.limit, 1, nowMs)) return NOT_READY
  if (tpm === null) return READY_FOR_ANY
  return Math.min(READY_FOR_ANY, leftOf(tpm, nowMs))
}

/** Whether neither a dearer mean answer nor the reset of its cap takes a key's room away. */
function staysSolvent(
  { credit, spend, inFlight, config }: KeyState,
  meanCostUsd: number,
  nowMs: number,
): boolean {
  const expectedUsd = inFlight * meanCostUsd
  if (spend !== null && !paysForAny(spend, nowMs)) return false
  if (credit.kind === 'unknown' || credit.remainingUsd === null) return true
  const leastUsd = Math.min(credit.remainingUsd, credit.limitUsd ?? credit.remainingUsd)
  return leastUsd - expectedUsd > config.minCreditUsd
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

/** Whether the key, or its account, could not pay for a request of this size. */
function isTooLarge(key: KeyState, { size }: Requirements, nowMs: number): boolean {
  if (key.tooLarge === null && key.account.tooLarge === null) return false
  return sizeExclusions(key, size, nowMs).length > 0
}

/** Whether the configuration or an operator has put a key out of use. */
function isOff({ config, halt }: KeyState): boolean {
  return config.disabled || halt !== null
}

/** Whether `standingExclusions` would be empty. */
function stands(key: KeyState, model: ModelId, isFree: boolean, nowMs: number): boolean {
  const { account, credit, creator, workspace } = key
  if (isOff(key) || isActive(key.bench, nowMs) || isActive(account.bench, nowMs)) return false
  if (creator !== null && isActive(creator.bench, nowMs)) return false
  if (workspace !== null && isActive(workspace.bench, nowMs)) return false
  if (key.spend !== null && spendExclusions(key, nowMs).length > 0) return false
  if (isFree && isActive(account.freeBench, nowMs)) return false
  if (isModelOut(account, model, nowMs) || isModelOut(key, model, nowMs)) return false
  const isUnlimited = credit.kind === 'unknown' || credit.remainingUsd === null
  return isUnlimited || creditExclusions(key, nowMs).length === 0
}

/** Whether a key has as many leases as it may have at once. */
function isFull({ config: { maxConcurrent }, inFlight }: KeyState): boolean {
  return maxConcurrent !== null && inFlight >= maxConcurrent
}

/** Nearly no key and no account has such a bench, so the name is seldom looked up. */
function isModelOut(
  { modelBenches }: Pick<KeyState, 'modelBenches'>,
  model: ModelId,
  nowMs: number,
): boolean {
  return modelBenches.size > 0 && isActive(modelBenches.get(model) ?? null, nowMs)
}

/** Whether `loadExclusions` would be empty for a key that is not full. */
function hasCapacity(
  state: PoolState,
  key: KeyState,
  requirements: Requirements,
  nowMs: number,
): boolean {
  const { inFlight, rpm, tpm, credit } = key
  const { tokens } = requirements
  if (rpm !== null && !fits(rpm.window, rpm.limit, 1, nowMs)) return false
  if (tpm !== null && !fits(tpm.window, tpm.limit, tokens, nowMs)) return false
  const isUnlimited = credit.kind === 'unknown' || credit.remainingUsd === null
  if (key.spend === null && (inFlight === 0 || isUnlimited)) return true
  return loadExclusions(state, key, requirements, nowMs).length === 0
}

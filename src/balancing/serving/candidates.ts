import {
  creditExclusions,
  isFreeModel,
  isTried,
  loadExclusions,
  type Requirements,
  sizeExclusions,
  spendExclusions,
} from '../eligibility.ts'
import { isActive } from '../health/bench.ts'
import { awaitsProbe } from '../health/circuit-breaker.ts'
import { isPanic } from '../health/panic.ts'
import { shareOf } from '../health/slow-start.ts'
import type { ModelId } from '../ids.ts'
import { fits } from '../limits/sliding-window.ts'
import {
  type KeyState,
  membersOf,
  type PoolState,
  type RouteState,
  type Step,
} from '../pool-state.ts'

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
      (isPersonal && isTaken(key, requirements)) ||
      isTooLarge(key, requirements, nowMs)
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

/** Whether the key, or its account, could not pay for a request of this size. */
function isTooLarge(key: KeyState, { size }: Requirements, nowMs: number): boolean {
  if (key.tooLarge === null && key.account.tooLarge === null) return false
  return sizeExclusions(key, size, nowMs).length > 0
}

/** Whether `standingExclusions` would be empty. */
function stands(key: KeyState, model: ModelId, isFree: boolean, nowMs: number): boolean {
  const { account, credit, config, creator, workspace } = key
  if (config.disabled || isActive(key.bench, nowMs) || isActive(account.bench, nowMs)) return false
  if (creator !== null && isActive(creator.bench, nowMs)) return false
  if (workspace !== null && isActive(workspace.bench, nowMs)) return false
  if (key.spend !== null && spendExclusions(key, nowMs).length > 0) return false
  if (isFree && isActive(account.freeBench, nowMs)) return false
  if (isModelOut(account, model, nowMs) || isModelOut(key, model, nowMs)) return false
  const isUnlimited = credit.kind === 'unknown' || credit.remainingUsd === null
  return isUnlimited || creditExclusions(key, nowMs).length === 0
}

/** Nearly no key and no account has such a bench, so the name is seldom looked up. */
function isModelOut(
  { modelBenches }: Pick<KeyState, 'modelBenches'>,
  model: ModelId,
  nowMs: number,
): boolean {
  return modelBenches.size > 0 && isActive(modelBenches.get(model) ?? null, nowMs)
}

/** Whether `loadExclusions` would be empty. */
function hasCapacity(state: PoolState, key: KeyState, tokens: number, nowMs: number): boolean {
  const { config, inFlight, rpm, tpm, credit } = key
  if (config.maxConcurrent !== null && inFlight >= config.maxConcurrent) return false
  if (rpm !== null && !fits(rpm.window, rpm.limit, 1, nowMs)) return false
  if (tpm !== null && !fits(tpm.window, tpm.limit, tokens, nowMs)) return false
  if (inFlight === 0) return true
  if (key.spend === null && (credit.kind === 'unknown' || credit.remainingUsd === null)) return true
  return loadExclusions(state, key, tokens, nowMs).length === 0
}

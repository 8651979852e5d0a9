import { spentToday } from './accounting/ledger.ts'
import { accountFor, type Candidate } from './affinity/affinity.ts'
import { byRendezvous } from './affinity/rendezvous-hash.ts'
import { type Assessed, type Assessment, assess, type Obstacle } from './eligibility.ts'
import { isActive } from './health/bench.ts'
import { awaitsProbe } from './health/circuit-breaker.ts'
import { shareOf, takesPart } from './health/slow-start.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import type { Refusal, RequestAffinity, Want } from './lease-request.ts'
import { isNonEmpty, type NonEmpty } from './non-empty.ts'
import { type KeyState, membersOf, type PoolState, type RouteState } from './pool-state.ts'
import type { Random } from './random.ts'
import { REASONS, type Reason, type ReasonCounts } from './reasons.ts'
import { routeFor } from './routes.ts'
import type { Choice, Memory } from './strategies/strategy.ts'
import { STRATEGIES } from './strategies/strategy-registry.ts'

/**
 * How a key is chosen, always in this order: limits say which may serve,
 * modifiers narrow that set, the strategy picks one of what is left.
 */

/** A model with its keys as they stand. */
export interface Prospect {
  readonly model: ModelId
  readonly assessed: Assessed
}

/** What a request meets: a model that can be sent, or why none can. */
export type Outlook =
  | { readonly kind: 'served'; readonly prospect: Prospect; readonly among: NonEmpty<KeyState> }
  /** The model asked for comes first. */
  | { readonly kind: 'unserved'; readonly prospects: readonly Prospect[] }

export function routeOf(state: PoolState, want: Pick<Want, 'asked' | 'models'>): RouteState {
  return routeFor(state.routes, [want.asked, want.models[0]])
}

/**
 * The limits: the first of the request's models for which a key may serve. Models
 * that are benched come last, and are sent all the same when there is no other: a
 * bench only chooses between models.
 *
 * @param claimed keys that an earlier request waits for
 */
export function outlookFor(
  state: PoolState,
  route: RouteState,
  want: Want,
  nowMs: number,
  claimed?: ReadonlySet<KeyId>,
): Outlook {
  const [asked] = want.models
  const isPutOff = (model: ModelId) => {
    // The one more try that a provider's fault allows is of the model that was just benched.
    const insists = model === asked && want.attempt === 'retry'
    return !insists && isActive(state.modelBenches.get(model) ?? null, nowMs)
  }
  const ordered = want.models.toSorted((a, b) => Number(isPutOff(a)) - Number(isPutOff(b)))
  const prospects: Prospect[] = []
  for (const model of ordered) {
    const ruledOut = model === asked ? want : { triedKeys: [], excludedAccounts: [] }
    const { triedKeys, excludedAccounts } = ruledOut
    const needs = { model, triedKeys, excludedAccounts, tokens: want.tokens }
    const assessed = assess(state, route, needs, nowMs, claimed)
    const prospect = { model, assessed }
    const { eligible } = assessed
    if (isNonEmpty(eligible)) return { kind: 'served', prospect, among: eligible }
    prospects.push(prospect)
  }
  const place = ({ model }: Prospect) => want.models.indexOf(model)
  return { kind: 'unserved', prospects: prospects.toSorted((a, b) => place(a) - place(b)) }
}

/** The modifiers and the strategy. */
export function choose(
  state: PoolState,
  route: RouteState,
  { prospect, among }: Extract<Outlook, { kind: 'served' }>,
  affinity: RequestAffinity | null,
  choice: Choice,
): KeyState {
  const { nowMs, random } = choice
  const { panic } = prospect.assessed
  for (const key of among) key.share = panic ? 1 : shareOf(key.breaker, nowMs)
  // Panic ends when breakers close, and those close by probes: left to a strategy that prefers one
  // key, the others would never get theirs, and panic would last for ever.
  const ready = among.filter((key) =>
    panic ? awaitsProbe(key.breaker, nowMs) : takesPart(key.breaker, nowMs, random),
  )
  const candidates = isNonEmpty(ready) ? ready : among
  const together = kept(state, route, candidates, affinity, nowMs)
  return STRATEGIES[route.config.strategy].choose(together, choice)
}

/** @param memory what the strategy remembers, and changes by choosing */
export function choiceOf(
  state: PoolState,
  route: RouteState,
  memory: Memory,
  nowMs: number,
  random: Random,
): Choice {
  return {
    nowMs,
    random,
    memory,
    members: membersOf(state, route),
    thresholdUsd: state.policy.credit.thresholdUsd,
    meanCostUsd: state.meanCostUsd,
    spentTodayUsd: spentToday(state.ledger.all, nowMs),
  }
}

/** The candidates that affinity leaves: those of one account, one of them, or all. */
function kept(
  state: PoolState,
  route: RouteState,
  candidates: NonEmpty<KeyState>,
  affinity: RequestAffinity | null,
  nowMs: number,
): NonEmpty<KeyState> {
  if (affinity === null || candidates.length === 1) return candidates
  if (affinity.kind === 'cache') {
    const [key] = byRendezvous(affinity.id, candidates)
    return key === undefined ? candidates : [key]
  }
  const accounts = candidateAccounts(membersOf(state, route), candidates)
  const account = accountFor(state.affinities, affinity.id, accounts, nowMs)
  const ofAccount = candidates.filter((key) => key.account.id === account)
  return isNonEmpty(ofAccount) ? ofAccount : candidates
}

/**
 * The accounts of the candidates, with what all of their keys carry. A second key
 * does not make an account able to bear more, so it weighs what its keys weigh on
 * average.
 */
function candidateAccounts(
  members: readonly KeyState[],
  candidates: readonly KeyState[],
): Candidate[] {
  const accounts = new Map<AccountId, { weights: number; keys: number; inFlight: number }>()
  for (const { account, weight } of candidates) {
    const sum = accounts.get(account.id) ?? { weights: 0, keys: 0, inFlight: 0 }
    accounts.set(account.id, { ...sum, weights: sum.weights + weight, keys: sum.keys + 1 })
  }
  for (const { account, inFlight } of members) {
    const sum = accounts.get(account.id)
    if (sum !== undefined) sum.inFlight += inFlight
  }
  return [...accounts].map(([id, { weights, keys, inFlight }]) => ({
    id,
    weight: weights / keys,
    inFlight,
  }))
}

/** Why no key may serve, and when one may. */
export interface Blockage {
  readonly kind: 'blocked'
  readonly refusal: Refusal
  /** The earliest moment at which it is worth while to look again; null for never. */
  readonly mayEndAtMs: number | null
  /** Keys that will serve as soon as they have tokens left for so large a request. */
  readonly shortOfTokens: readonly KeyId[]
}

export function blockageOf(prospects: readonly Prospect[], nowMs: number): Blockage {
  const excluded = prospects.flatMap(({ assessed }) => assessed.excluded)
  return {
    kind: 'blocked',
    refusal: {
      kind: 'refusal',
      cause: 'no_key',
      reasons: countReasons(prospects[0]?.assessed),
      retryAtMs: earliest(excluded.map(clearsAtMs)),
    },
    mayEndAtMs: earliest(excluded.map((assessment) => mayClearAtMs(assessment, nowMs))),
    shortOfTokens: excluded
      .filter(({ obstacles }) =>
        obstacles.every(({ reason, clearsAtMs }) => reason === 'at_tpm' && clearsAtMs !== null),
      )
      .map(({ key }) => key.id),
  }
}

function countReasons(assessed: Assessed | undefined): ReasonCounts {
  const counts: ReasonCounts = {}
  if (assessed === undefined) return counts
  if (assessed.outside > 0) counts.not_in_route = assessed.outside
  for (const { obstacles } of assessed.excluded) {
    const reason = firstReason(obstacles)
    if (reason !== null) counts[reason] = (counts[reason] ?? 0) + 1
  }
  return counts
}

/** The reason that a key is reported under. */
function firstReason(obstacles: readonly Obstacle[]): Reason | null {
  return REASONS.find((reason) => obstacles.some((obstacle) => obstacle.reason === reason)) ?? null
}

/** A key is free when the last of its obstacles is gone; never, if one of them doesn't go. */
export function clearsAtMs({ obstacles }: Assessment): number | null {
  return latest(obstacles.map((obstacle) => obstacle.clearsAtMs))
}

function mayClearAtMs({ obstacles }: Assessment, nowMs: number): number | null {
  return latest(obstacles.map(({ clearsAtMs, maySoon }) => (maySoon ? nowMs : clearsAtMs)))
}

/** The last of some moments; null if one of them is. */
function latest(moments: readonly (number | null)[]): number | null {
  return moments.reduce(
    (last, moment) => (last === null || moment === null ? null : Math.max(last, moment)),
    0,
  )
}

/** The first of some moments; null if all of them are. */
function earliest(moments: readonly (number | null)[]): number | null {
  const known = moments.filter((moment) => moment !== null)
  return known.length === 0 ? null : Math.min(...known)
}

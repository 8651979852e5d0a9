import { spentToday } from './accounting/ledger.ts'
import type { AccountLoad } from './affinity/account-load.ts'
import { accountFor, homeOf } from './affinity/affinity.ts'
import { hash32, rendezvousWinner } from './affinity/rendezvous-hash.ts'
import { batchProbesFromMs } from './batches/batch-activity.ts'
import { keysFor } from './clients/clients.ts'
import {
  type BatchTerms,
  type Claims,
  type Exclusion,
  NO_CLAIMS,
  type Requirements,
} from './eligibility.ts'
import { keyOfOwnAccount } from './health/account.ts'
import { isActive } from './health/bench.ts'
import { reportDueMs } from './health/lookup-duty.ts'
import { takesPart } from './health/slow-start.ts'
import type { AccountId, ModelId } from './ids.ts'
import {
  isOfBatch,
  type LeaseRequest,
  type Refusal,
  type RequestAffinity,
} from './lease-request.ts'
import { isNonEmpty, type NonEmpty } from './non-empty.ts'
import {
  accountsAmong,
  type KeyState,
  membersOf,
  type PoolState,
  type RouteState,
  type Step,
} from './pool-state.ts'
import { REASONS, type Reason, type ReasonCounts } from './reasons.ts'
import { routeFor } from './routes.ts'
import { candidatesFor } from './serving/candidates.ts'
import { type ExcludedKey, type FilterResult, filterKeys } from './serving/filter.ts'
import type { Choice, Memory, Strategy } from './strategies/strategy.ts'
import { STRATEGIES } from './strategies/strategy-registry.ts'

/**
 * How a key is chosen, always in this order:
 * 1. The filter says which keys may serve: the candidates.
 * 2. The modifiers (probes, slow start, affinity) narrow the candidates.
 * 3. The strategy picks one of the candidates that are left.
 */

/** One of a request's models, with the route's keys filtered for it. */
export interface ModelCandidates {
  readonly model: ModelId
  readonly filtered: FilterResult
}

/** The first of a request's models that has a candidate, or why none of the models has one. */
export type ModelSelection =
  | {
      readonly kind: 'served'
      readonly model: ModelId
      readonly panic: boolean
      readonly hasRecovering: boolean
      readonly candidates: NonEmpty<KeyState>
    }
  /** In the order of the request: the requested model comes first. */
  | { readonly kind: 'unserved'; readonly models: readonly ModelCandidates[] }

/** The route of a request, by its model's name and its alias. */
export function routeOf(
  state: PoolState,
  request: Pick<LeaseRequest, 'asked' | 'models'>,
): RouteState {
  return routeFor(state.routes, [request.asked, request.models[0]])
}

/**
 * Filters the keys for each of the request's models until one has a candidate.
 * Benched models come last. A benched model is still sent if no other model has a candidate,
 * because a model's bench only orders models.
 *
 * @param claimedKeys keys that an earlier request waits for
 */
export function selectModel(
  step: Omit<Step, 'random'>,
  route: RouteState,
  request: LeaseRequest,
  claimedKeys: Claims = NO_CLAIMS,
): ModelSelection {
  const requirements = (model: ModelId) => requirementsOf(step, request, model, claimedKeys)
  for (const model of modelsInOrder(step, request)) {
    const { keys, panic, hasRecovering } = candidatesFor(step, route, requirements(model))
    if (isNonEmpty(keys)) return { kind: 'served', model, panic, hasRecovering, candidates: keys }
  }
  const models = request.models.map((model) => {
    return { model, filtered: filterKeys(step, route, requirements(model)) }
  })
  return { kind: 'unserved', models }
}

/** The models of a request in the order in which they are looked at: those that are benched last. */
export function modelsInOrder(
  { state, nowMs }: Omit<Step, 'random'>,
  { models, attempt }: Pick<LeaseRequest, 'models' | 'attempt'>,
): readonly ModelId[] {
  const [first] = models
  if (models.length === 1) return models
  const isBenched = (model: ModelId) => {
    // A provider's fault benches the model, and the retry that follows is for this same model.
    const insists = model === first && attempt === 'retry'
    return !insists && isActive(state.modelBenches.get(model) ?? null, nowMs)
  }
  return models.toSorted((a, b) => Number(isBenched(a)) - Number(isBenched(b)))
}

/** What a request requires of a key for one of its models. */
export function requirementsOf(
  { state }: Omit<Step, 'random'>,
  request: LeaseRequest,
  model: ModelId,
  claimedKeys: Claims,
): Requirements {
  const isFirst = model === request.models[0]
  return {
    model,
    triedKeys: isFirst ? request.triedKeys : [],
    excludedAccounts: isFirst ? accountsToday(state, request.excludedAccounts) : [],
    tokens: request.tokens,
    size: request.size,
    costNanos: request.costNanos,
    clientKeys: keysFor(state.clients, request.clientId),
    claimedKeys,
    batch: isOfBatch(request) ? batchTerms(state) : undefined,
  }
}

function batchTerms({ batches }: PoolState): BatchTerms {
  return { share: batches.share, probesFromMs: batchProbesFromMs(batches) }
}

/** What the strategy of a route remembers for requests of this class. */
export function memoryFor(route: RouteState, request: Pick<LeaseRequest, 'class'>): Memory {
  return isOfBatch(request) ? route.batchMemory : route.memory
}

/**
 * The accounts that a request rules out, by what is known now. The account of a key may be learned
 * while the request is on its way: then all keys of that account were at fault, not the one alone.
 */
function accountsToday({ keys }: PoolState, excluded: readonly AccountId[]): readonly AccountId[] {
  if (excluded.length === 0) return excluded
  return excluded.map((id) => {
    const own = keyOfOwnAccount(id)
    return (own === null ? undefined : keys.get(own)?.account.id) ?? id
  })
}

/** What the modifiers and the strategy need besides the candidates. */
export interface KeySelection {
  readonly route: RouteState
  readonly affinity: RequestAffinity | null
  /** What the route's strategy remembers. A selection changes it. */
  readonly memory: Memory
}

/** The modifiers and the strategy: picks one of the candidates. */
export function selectKey(
  step: Step,
  { candidates, hasRecovering }: Extract<ModelSelection, { kind: 'served' }>,
  { route, affinity, memory }: KeySelection,
): KeyState {
  const { nowMs, random } = step
  const ready = hasRecovering
    ? candidates.filter((key) => takesPart(key.breaker, nowMs, random))
    : candidates
  const narrowed = narrowByAffinity(step, route, isNonEmpty(ready) ? ready : candidates, affinity)
  return STRATEGIES[route.config.strategy].choose(narrowed, choiceOf(step, route, memory))
}

/**
 * What the strategy of a route may know at this moment.
 * @param memory what the strategy remembers, and changes when it chooses
 */
export function choiceOf(
  { state, nowMs, random }: Step,
  route: RouteState,
  memory: Memory,
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

/** The candidates that affinity leaves: one key, the keys of one account, or all. */
function narrowByAffinity(
  step: Step,
  route: RouteState,
  candidates: NonEmpty<KeyState>,
  affinity: RequestAffinity | null,
): NonEmpty<KeyState> {
  if (affinity === null || candidates.length === 1) return candidates
  const strategy: Strategy = STRATEGIES[route.config.strategy]
  if (strategy.isOrdered) return atHome(step, candidates, affinity)
  const { state, nowMs } = step
  if (affinity.kind === 'cache') {
    const winner = rendezvousWinner(hash32(affinity.id), candidates)
    return winner === null ? candidates : [winner]
  }
  const among = accountsAmong(state, route, candidates)
  return ofAccount(candidates, accountFor(state.affinities, affinity.id, among, nowMs))
}

function ofAccount(candidates: NonEmpty<KeyState>, load: AccountLoad): NonEmpty<KeyState> {
  const keys: KeyState[] = []
  for (let i = 0; i < candidates.length; i++) {
    const key = candidates[i] as KeyState
    if (key.account.load === load) keys.push(key)
  }
  return isNonEmpty(keys) ? keys : candidates
}

/**
 * Under a strategy with an order of its own: the account where a conversation is, while that may
 * serve. The strategy places everything else, and would else send half of all new conversations to
 * the standby.
 */
function atHome(
  { state, nowMs }: Step,
  candidates: NonEmpty<KeyState>,
  affinity: RequestAffinity,
): NonEmpty<KeyState> {
  if (affinity.kind === 'cache') return candidates
  const home = homeOf(state.affinities, affinity.id, nowMs)
  return home === null ? candidates : ofAccount(candidates, home)
}

/** No key may serve: why, and when a key may serve again. */
export interface NoCandidate {
  readonly kind: 'no_candidate'
  readonly refusal: Refusal
  /** The earliest moment at which the filter may find a candidate; null if waiting is no help. */
  readonly mayClearAtMs: number | null
  /** In the order of the request. */
  readonly models: readonly ModelCandidates[]
}

/** Sums up why no model has a candidate. The counts are those of the requested model. */
export function noCandidate(models: readonly ModelCandidates[], nowMs: number): NoCandidate {
  let retryAtMs: number | null = null
  let mayClearMs: number | null = null
  for (const { filtered } of models) {
    const { excluded, full } = filtered
    retryAtMs = earlier(retryAtMs, full.clearsAtMs)
    if (full.count > 0) mayClearMs = earlier(mayClearMs, nowMs)
    for (const key of excluded) {
      retryAtMs = earlier(retryAtMs, keyRetryAtMs(key, nowMs))
      mayClearMs = earlier(mayClearMs, mayClearAtMs(key, nowMs))
    }
  }
  const reasons = countReasons(models[0]?.filtered)
  return {
    kind: 'no_candidate',
    refusal: { kind: 'refusal', cause: 'no_key', reasons, retryAtMs },
    mayClearAtMs: mayClearMs,
    models,
  }
}

function countReasons(filtered: FilterResult | undefined): ReasonCounts {
  const counts: ReasonCounts = {}
  if (filtered === undefined) return counts
  const { outsideRoute, full, excluded } = filtered
  if (outsideRoute > 0) counts.not_in_route = outsideRoute
  if (full.count > 0) counts.at_max_concurrent = full.count
  for (const { exclusions } of excluded) {
    const reason = firstReason(exclusions)
    if (reason !== null) counts[reason] = (counts[reason] ?? 0) + 1
  }
  return counts
}

/** The reason under which a key is reported. */
function firstReason(exclusions: readonly Exclusion[]): Reason | null {
  return (
    REASONS.find((reason) => exclusions.some((exclusion) => exclusion.reason === reason)) ?? null
  )
}

/** When the last exclusion of a key ends; null if one of its exclusions does not end by itself. */
export function clearsAtMs({ exclusions }: ExcludedKey): number | null {
  return latest(exclusions.map((exclusion) => exclusion.clearsAtMs))
}

/** As `clearsAtMs`, but no later than the next lookup that may end it. */
function keyRetryAtMs({ key, exclusions }: ExcludedKey, nowMs: number): number | null {
  const reportMs = reportDueMs(key.lookup, nowMs)
  return latest(
    exclusions.map(({ clearsAtMs, byLookup }) =>
      clearsAtMs !== null && byLookup ? Math.min(clearsAtMs, reportMs) : clearsAtMs,
    ),
  )
}

function mayClearAtMs({ exclusions }: ExcludedKey, nowMs: number): number | null {
  return latest(
    exclusions.map(({ clearsAtMs, mayClearSooner }) => (mayClearSooner ? nowMs : clearsAtMs)),
  )
}

/** The last of some moments; null if any of them is null. */
export function latest(moments: readonly (number | null)[]): number | null {
  return moments.reduce(
    (last, moment) => (last === null || moment === null ? null : Math.max(last, moment)),
    0,
  )
}

/** The first of two moments; null if both are null. */
function earlier(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.min(a, b)
}

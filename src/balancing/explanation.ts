import { refusalFor } from './clients/clients.ts'
import { fullExclusion } from './eligibility.ts'
import {
  type AccountId,
  type ClientId,
  clientId,
  type KeyId,
  leaseId,
  type ModelId,
} from './ids.ts'
import type { LeaseRequest, Refusal } from './lease-request.ts'
import type { QuotaRefusal } from './limits/quota-refusal.ts'
import type { KeyState, PoolState } from './pool-state.ts'
import { mayWait, placeOf } from './queue/queue-place.ts'
import { admit } from './queue/queue-shares.ts'
import type { Random } from './random.ts'
import { REASONS, type Reason } from './reasons.ts'
import type { Affinity } from './routes.ts'
import {
  choiceOf,
  clearsAtMs,
  memoryFor,
  type NoCandidate,
  noCandidate,
  requirementsOf,
  routeOf,
  selectKey,
  selectModel,
} from './selection.ts'
import { type FilterResult, filterKeys } from './serving/filter.ts'
import type { Choice, Strategy } from './strategies/strategy.ts'
import { STRATEGIES, type StrategyName } from './strategies/strategy-registry.ts'

/** A request of which an operator asks how it would be decided. */
export type Question = Pick<
  LeaseRequest,
  'asked' | 'models' | 'affinity' | 'tokens' | 'size' | 'class'
> & {
  /** Whose request it is. Absent for anybody: then no client's limits and part of the pool count. */
  readonly clientId?: ClientId
}

/** Which key would be chosen, and why no other. */
export interface Explanation {
  /** The model patterns of the request's route. */
  readonly route: readonly string[]
  readonly strategy: StrategyName
  readonly affinity: Affinity
  /** Whether lower or higher scores are better under that strategy. */
  readonly best: Strategy['best']
  /** Null if no key may serve now. */
  readonly chosen: {
    readonly key: KeyId
    readonly account: AccountId
    readonly model: ModelId
  } | null
  /** Why no key may serve, and when a key may be free. Null if a key is chosen. */
  readonly refusal: Refusal | null
  /** Which limit of the client would refuse it before a key is chosen; absent or null for none. */
  readonly limit?: QuotaRefusal | null
  /** Whether breakers are ignored. */
  readonly panic: boolean
  /** The model of the scores and reasons below: the chosen one, or else the requested one. */
  readonly model: ModelId
  /** Every key of the pool: with a score if it may serve, otherwise with the reasons against it. */
  readonly keys: readonly KeyExplanation[]
  /** The number of requests in the queue. */
  readonly waiting: number
  /** True if the request would wait for a key, and for as long as the policy allows. */
  readonly waits?: true
}

/** Why a key may serve, or may not. */
export type KeyExplanation = {
  readonly key: KeyId
  readonly account: AccountId
} & (
  | { readonly eligible: true; readonly score: number | null }
  | {
      readonly eligible: false
      /** The first of them is the one under which the key is counted. */
      readonly reasons: readonly Reason[]
      readonly clearsAtMs: number | null
    }
)

/**
 * Goes through a decision as it would be made now, without making it: no lease is granted, no turn
 * is spent, nobody is put in the queue, and nothing is remembered.
 */
export function explain(
  state: PoolState,
  question: Question,
  nowMs: number,
  random: Random,
): Explanation {
  const step = { state, nowMs, random }
  const request = leaseRequestOf(question, state.policy.queue.maxWaitMs)
  const route = routeOf(state, request)
  const selected = selectModel(step, route, request, state.queue.claims)
  const isServed = selected.kind === 'served'
  // A strategy changes its memory when it chooses: this one changes a copy.
  const known = memoryFor(route, request)
  const memory = { ...known, smoothedWeights: [...known.smoothedWeights] }
  const model = isServed ? selected.model : request.models[0]
  const filtered = filterKeys(step, route, requirementsOf(step, request, model, state.queue.claims))
  const { strategy, affinity } = route.config
  const choice = choiceOf(step, route, memory)
  const keys = [...state.keys.values()].map((key) => explainKey(key, filtered, strategy, choice))
  const chosen = isServed
    ? selectKey(step, selected, { route, affinity: request.affinity, memory })
    : null
  const unserved = isServed ? null : noCandidate(selected.models, nowMs)
  const waits = unserved !== null && wouldWait(state, request, unserved, nowMs)
  return {
    route: route.models,
    strategy,
    affinity,
    best: STRATEGIES[strategy].best,
    chosen: chosen === null ? null : { key: chosen.id, account: chosen.account.id, model },
    refusal: unserved?.refusal ?? null,
    limit: limitFor(state, question, nowMs),
    panic: filtered.panic,
    model,
    keys,
    waiting: state.queue.size,
    ...(waits ? { waits } : {}),
  }
}

/** The costs of a request are not known here: a budget of which anything is left pays for it. */
function limitFor(
  { clients }: PoolState,
  { clientId: id, tokens }: Question,
  nowMs: number,
): QuotaRefusal | null {
  if (id === undefined) return null
  const demand = { clientId: id, attempt: 'first', tokens, bound: 0, isFallback: false } as const
  return refusalFor(clients, demand, nowMs)
}

/** Whether a request would wait: a key may come free in its time, and the queue has a place. */
function wouldWait(
  state: PoolState,
  request: LeaseRequest,
  unserved: NoCandidate,
  nowMs: number,
): boolean {
  const newcomer = { ...placeOf(state, request), ...request }
  return (
    mayWait(state, request, unserved, nowMs) &&
    admit(state.queue, newcomer, state.policy.queue.maxWaiting).kind === 'place'
  )
}

function explainKey(
  key: KeyState,
  { candidates, excluded }: FilterResult,
  strategy: StrategyName,
  choice: Choice,
): KeyExplanation {
  const name = { key: key.id, account: key.account.id }
  if (candidates.includes(key)) {
    return { ...name, eligible: true, score: STRATEGIES[strategy].score(key, choice) }
  }
  if (!choice.members.includes(key)) {
    return { ...name, eligible: false, reasons: ['not_in_route'], clearsAtMs: null }
  }
  const listed = excluded.find((other) => other.key === key)
  const against = listed ?? { key, exclusions: [fullExclusion(key, choice.nowMs)] }
  const { exclusions } = against
  return {
    ...name,
    eligible: false,
    reasons: REASONS.filter((reason) => exclusions.some((other) => other.reason === reason)),
    clearsAtMs: clearsAtMs(against),
  }
}

/** No client has this name: a public name has no blank. */
const NOBODY = clientId('explain anybody')

function leaseRequestOf(
  { asked, models, affinity, tokens, size, clientId: of, ...question }: Question,
  waitMs: number,
): LeaseRequest {
  return {
    leaseId: leaseId('explain'),
    clientId: of ?? NOBODY,
    asked,
    models,
    affinity,
    tokens,
    ...(size === undefined ? {} : { size }),
    ...(question.class === undefined ? {} : { class: question.class }),
    triedKeys: [],
    excludedAccounts: [],
    attempt: 'first',
    leaseMs: 0,
    waitMs,
  }
}

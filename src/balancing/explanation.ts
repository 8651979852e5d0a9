import { type FilterResult, filterKeys, NO_CLAIMS } from './eligibility.ts'
import { type AccountId, clientId, type KeyId, leaseId, type ModelId } from './ids.ts'
import type { LeaseRequest, Refusal } from './lease-request.ts'
import type { KeyState, PoolState } from './pool-state.ts'
import type { Random } from './random.ts'
import { REASONS, type Reason } from './reasons.ts'
import type { Affinity } from './routes.ts'
import { choiceOf, clearsAtMs, noCandidate, routeOf, selectKey, selectModel } from './selection.ts'
import type { Choice, Strategy } from './strategies/strategy.ts'
import { STRATEGIES, type StrategyName } from './strategies/strategy-registry.ts'

/** A request that is only asked about. */
export type Question = Pick<LeaseRequest, 'asked' | 'models' | 'affinity' | 'tokens'>

/** What would be chosen, and why nothing else. */
export interface Explanation {
  /** The patterns of the route that takes the model. */
  readonly route: readonly string[]
  readonly strategy: StrategyName
  readonly affinity: Affinity
  /** Which scores are better under that strategy. */
  readonly best: Strategy['best']
  /** Null when no key may serve now. */
  readonly chosen: {
    readonly key: KeyId
    readonly account: AccountId
    readonly model: ModelId
  } | null
  /** Why not, and when one may be free. Null when one is chosen. */
  readonly refusal: Refusal | null
  /** Whether breakers are ignored. */
  readonly panic: boolean
  /** What the scores and reasons below are about: the model chosen, or the one asked for. */
  readonly model: ModelId
  /** Every key of the pool: it has a score if it may serve, and else the reasons against it. */
  readonly keys: readonly KeyExplanation[]
  /** How many requests wait. */
  readonly waiting: number
}

export type KeyExplanation = {
  readonly key: KeyId
  readonly account: AccountId
} & (
  | { readonly eligible: true; readonly score: number | null }
  | {
      readonly eligible: false
      /** The one that it is counted under comes first. */
      readonly reasons: readonly Reason[]
      readonly clearsAtMs: number | null
    }
)

/**
 * Goes through a choice as it would be made now, without making it: no lease is
 * taken, no turn is spent, and nothing is remembered.
 */
export function explain(
  state: PoolState,
  question: Question,
  nowMs: number,
  random: Random,
): Explanation {
  const step = { state, nowMs, random }
  const request = leaseRequestOf(question)
  const route = routeOf(state, request)
  const selected = selectModel(step, route, request)
  const isServed = selected.kind === 'served'
  // A strategy changes its memory when it chooses: this one changes a copy.
  const memory = { ...route.memory, smoothedWeights: new Map(route.memory.smoothedWeights) }
  const model = isServed ? selected.model : request.models[0]
  const filtered = filterKeys(step, route, { ...request, model, claimedKeys: NO_CLAIMS })
  const { strategy, affinity } = route.config
  const choice = choiceOf(step, route, memory)
  const keys = [...state.keys.values()].map((key) => explainKey(key, filtered, strategy, choice))
  const chosen = isServed
    ? selectKey(step, selected, { route, affinity: request.affinity, memory })
    : null
  return {
    route: route.models,
    strategy,
    affinity,
    best: STRATEGIES[strategy].best,
    chosen: chosen === null ? null : { key: chosen.id, account: chosen.account.id, model },
    refusal: isServed ? null : noCandidate(selected.models, nowMs).refusal,
    panic: filtered.panic,
    model,
    keys,
    waiting: state.queue.size,
  }
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
  const against = excluded.find((other) => other.key === key)
  if (against === undefined) {
    return { ...name, eligible: false, reasons: ['not_in_route'], clearsAtMs: null }
  }
  const { exclusions } = against
  return {
    ...name,
    eligible: false,
    reasons: REASONS.filter((reason) => exclusions.some((other) => other.reason === reason)),
    clearsAtMs: clearsAtMs(against),
  }
}

function leaseRequestOf({ asked, models, affinity, tokens }: Question): LeaseRequest {
  return {
    leaseId: leaseId('explain'),
    clientId: clientId('explain'),
    asked,
    models,
    affinity,
    tokens,
    triedKeys: [],
    excludedAccounts: [],
    attempt: 'first',
    leaseMs: 0,
    waitMs: 0,
  }
}

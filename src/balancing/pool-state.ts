import { type Credit, UNKNOWN_CREDIT } from './accounting/credit.ts'
import type { Generations } from './accounting/generations.ts'
import { createLedger, type Ledger, tallyOf } from './accounting/ledger.ts'
import { type Affinities, createAffinities } from './affinity/affinity.ts'
import { type AccountState, accountOf, createAccount } from './health/account.ts'
import type { Bench } from './health/bench.ts'
import { type Breaker, type BreakerPolicy, CLOSED } from './health/circuit-breaker.ts'
import { type LookupState, NEVER_LOOKED_UP } from './health/lookup-duty.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { createLeases, type Leases } from './limits/leases.ts'
import { createMeter } from './limits/meter.ts'
import {
  createRetryBudget,
  type RetryBudget,
  type RetryBudgetPolicy,
} from './limits/retry-budget.ts'
import { createQueue, type WaitingQueue } from './limits/waiting-queue.ts'
import type { NonEmpty } from './non-empty.ts'
import type { Random } from './random.ts'
import { type RouteConfig, selects } from './routes.ts'
import type { PeakEwma } from './strategies/peak-ewma.ts'
import { type Candidate, createMemory, type Memory } from './strategies/strategy.ts'

export interface KeyConfig {
  readonly id: KeyId
  /** Who pays, as configured; null where it is to be learned. */
  readonly account: AccountId | null
  readonly tags: readonly string[]
  readonly weight: number
  /** Most leases at once, or null for no limit. */
  readonly maxConcurrent: number | null
  /** Requests, and tokens, that may be begun in any 60 s; null for no limit. */
  readonly rpm: number | null
  readonly tpm: number | null
  /** A key whose credit is at or below this, in USD, is left alone. */
  readonly minCreditUsd: number
  readonly disabled: boolean
}

export interface PoolPolicy {
  readonly breaker: BreakerPolicy
  readonly panicRatio: number
  readonly retryBudget: RetryBudgetPolicy
  readonly credit: { readonly refreshMs: number; readonly thresholdUsd: number }
  readonly queue: { readonly maxWaiting: number; readonly maxWaitMs: number }
}

export interface PoolConfig {
  readonly keys: readonly KeyConfig[]
  /** First match wins; the last takes every model. */
  readonly routes: NonEmpty<RouteConfig>
  readonly policy: PoolPolicy
}

export interface KeyState extends Candidate {
  readonly id: KeyId
  readonly config: KeyConfig
  account: AccountState
  /** Who pays, by OpenRouter's name for them; null until it is learned. */
  owner: AccountId | null
  inFlight: number
  lastTurn: number
  share: number
  breaker: Breaker
  bench: Bench | null
  /** Rate limits in a row that named no reset; doubles the guess. */
  strikes: number
  struckAtMs: number
  lookup: LookupState
  credit: Credit
  /** What it was seen to spend since the lookup that is on its way was handed out, in USD. */
  spentSinceAskedUsd: number
  /** When OpenRouter will stop to accept it; null for never, or not known. */
  expiresAtMs: number | null
  latency: PeakEwma | null
  /** How long its leases last, on average and of late; null until one has ended. */
  meanHoldMs: number | null
  /** The largest request, in tokens, that OpenRouter last said it could still pay for. */
  affordableTokens: number | null
}

export interface RouteState {
  readonly config: RouteConfig
  readonly models: RouteConfig['models']
  readonly memory: Memory
  /** The keys that it selects, found when first asked for; null after an account was learned. */
  members: readonly KeyState[] | null
}

/** What has to be written down before the step that changed it is answered. */
export interface Changes {
  readonly keys: Set<KeyId>
  readonly accounts: Set<AccountId>
  models: boolean
}

/** The whole pool. Plain data, changed only by this folder's reducer. */
export interface PoolState {
  readonly policy: PoolPolicy
  readonly keys: ReadonlyMap<KeyId, KeyState>
  readonly accounts: Map<AccountId, AccountState>
  readonly routes: NonEmpty<RouteState>
  /** A model benched everywhere. It only chooses between a route's models, never excludes a key. */
  readonly modelBenches: Map<ModelId, Bench>
  readonly leases: Leases
  readonly queue: WaitingQueue
  readonly affinities: Affinities
  readonly retryBudget: RetryBudget
  readonly ledger: Ledger
  readonly generations: Generations
  /** What an answer has cost of late, on average, in USD. */
  meanCostUsd: number
  /** Grants so far: the clock of "in turn". */
  turns: number
  readonly changes: Changes
}

/** What one decision is made of besides the request: the state that it may change, the time, and chance. */
export interface Step {
  readonly state: PoolState
  /** Epoch milliseconds. */
  readonly nowMs: number
  readonly random: Random
}

/** A pool in which nothing has happened yet. */
export function createPool(config: PoolConfig, nowMs: number): PoolState {
  const ledger = createLedger()
  const accounts = new Map<AccountId, AccountState>()
  const keys = new Map<KeyId, KeyState>()
  for (const [position, key] of config.keys.entries()) {
    const id = accountOf({ id: key.id, config: key, owner: null }, [])
    const account = accounts.get(id) ?? createAccount(id)
    accounts.set(id, account)
    const tally = tallyOf(ledger.byKey, key.id, nowMs)
    keys.set(key.id, createKey(key, { position, account, tally }))
  }
  const route = (route: RouteConfig) => ({
    config: route,
    models: route.models,
    memory: createMemory(),
    members: null,
  })
  const [first, ...others] = config.routes
  return {
    policy: config.policy,
    keys,
    accounts,
    routes: [route(first), ...others.map(route)],
    modelBenches: new Map(),
    leases: createLeases(),
    queue: createQueue(),
    affinities: createAffinities(),
    retryBudget: createRetryBudget(config.policy.retryBudget, nowMs),
    ledger,
    generations: new Map(),
    meanCostUsd: 0,
    turns: 0,
    changes: { keys: new Set(), accounts: new Set(), models: false },
  }
}

function createKey(
  config: KeyConfig,
  { position, account, tally }: Pick<KeyState, 'position' | 'account' | 'tally'>,
): KeyState {
  return {
    id: config.id,
    config,
    account,
    owner: null,
    position,
    weight: config.weight,
    inFlight: 0,
    lastTurn: 0,
    share: 1,
    breaker: CLOSED,
    bench: null,
    strikes: 0,
    struckAtMs: 0,
    lookup: NEVER_LOOKED_UP,
    credit: UNKNOWN_CREDIT,
    spentSinceAskedUsd: 0,
    expiresAtMs: null,
    latency: null,
    meanHoldMs: null,
    rpm: createMeter(config.rpm),
    tpm: createMeter(config.tpm),
    tally,
    affordableTokens: null,
  }
}

/** The keys that a route selects, in configured order. */
export function membersOf(state: PoolState, route: RouteState): readonly KeyState[] {
  const { keys } = route.config
  route.members ??= [...state.keys.values()].filter(
    ({ id, config: { tags }, account }) =>
      keys === null ||
      keys.some((selector) => selects(selector, { id, tags, account: account.id })),
  )
  return route.members
}

import { type CacheBook, createCacheBook } from './accounting/cache-counters.ts'
import { type Credit, UNKNOWN_CREDIT } from './accounting/credit.ts'
import { createDays, type Days } from './accounting/day-usage.ts'
import type { DayOfSpending } from './accounting/drift.ts'
import { createGenerations, type Generations } from './accounting/generations.ts'
import { createLedger, type Ledger, tallyOf } from './accounting/ledger.ts'
import { createRecentMinutes, type RecentMinutes } from './accounting/recent-minutes.ts'
import { createReconciliations, type Reconciliations } from './accounting/reconciliation.ts'
import type { SpendRate } from './accounting/spend-rate.ts'
import { createKeyTimes, type KeyTimes } from './accounting/time-histogram.ts'
import { type Affinities, createAffinities, loadOf } from './affinity/affinity.ts'
import { accountsOf, type CandidateAccounts } from './affinity/candidate-accounts.ts'
import { hash32, type RendezvousNode } from './affinity/rendezvous-hash.ts'
import type { AlertPolicy } from './alerts/alert-policy.ts'
import { type Alerts, createAlerts } from './alerts/alerts.ts'
import { type Batches, createBatches } from './batches/batch-activity.ts'
import { type BatchUse, createBatchUse } from './batches/batch-share.ts'
import type { Budget } from './clients/budget.ts'
import { type Clients, type ClientsConfig, createClients } from './clients/clients.ts'
import { createSpend, type MaxSpend } from './clients/max-spend.ts'
import { createPurges, type Purges } from './clients/purge-epochs.ts'
import { type AccountState, type BudgetGroup, createAccount, ownAccount } from './health/account.ts'
import type { Bench } from './health/bench.ts'
import { type Breaker, type BreakerPolicy, CLOSED } from './health/circuit-breaker.ts'
import { type Correlation, createCorrelation } from './health/correlation.ts'
import type { Halt } from './health/halt.ts'
import { dueAtMs, type LookupState, NEVER_LOOKED_UP } from './health/lookup-duty.ts'
import { createRejectionWave, type RejectionWave } from './health/rejection-wave.ts'
import type { Reset } from './health/reset.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { createIsolates, type Isolates } from './limits/isolates.ts'
import { createLeases, type Leases } from './limits/leases.ts'
import { createMeter } from './limits/meter.ts'
import { lookAgain, NOT_READY, type Readiness } from './limits/readiness.ts'
import {
  createRetryBudget,
  type RetryBudget,
  type RetryBudgetPolicy,
} from './limits/retry-budget.ts'
import type { SizeNote } from './limits/size-note.ts'
import type { NonEmpty } from './non-empty.ts'
import { type Audit, createAudit } from './operators/audit.ts'
import { createQueue, type WaitingQueue } from './queue/waiting-queue.ts'
import type { Random } from './random.ts'
import { type Changes, createChanges } from './records/changes.ts'
import type { LeaseGap } from './records/lease-gaps.ts'
import { type RouteConfig, selects } from './routes.ts'
import type { PeakEwma } from './strategies/peak-ewma.ts'
import { type Candidate, createMemory, type Memory } from './strategies/strategy.ts'

export interface KeyConfig {
  readonly id: KeyId
  /** The configured account; null if the pool has to learn it from a lookup. */
  readonly account: AccountId | null
  readonly tags: readonly string[]
  readonly weight: number
  /** The most leases at the same time; null for no limit. */
  readonly maxConcurrent: number | null
  /** The most requests, and the most tokens, that may start in any 60 s; null for no limit. */
  readonly rpm: number | null
  readonly tpm: number | null
  /** The key does not serve while its credit is at or below this. */
  readonly minCreditUsd: number
  /** The most that the key may spend in a period; null for no limit of our own. */
  readonly maxSpend: MaxSpend | null
  readonly disabled: boolean
  /** Tells one secret from another, and tells nothing else of it. What is known of a key is its secret's. */
  readonly fingerprint: string
}

/** The settings that apply to the whole pool. */
export interface PoolPolicy {
  readonly breaker: BreakerPolicy
  readonly panicRatio: number
  readonly retryBudget: RetryBudgetPolicy
  readonly credit: { readonly refreshMs: number; readonly thresholdUsd: number }
  readonly queue: { readonly maxWaiting: number; readonly maxWaitMs: number }
  readonly alerts: AlertPolicy
  /** How much of each key's limits batches may take: 0 to 1. */
  readonly batch: { readonly share: number }
}

export interface PoolConfig {
  readonly keys: readonly KeyConfig[]
  /** The first match wins. The last route takes every model. */
  readonly routes: NonEmpty<RouteConfig>
  readonly policy: PoolPolicy
  readonly clients: ClientsConfig
}

/** A key, with all that the pool knows of it. */
export interface KeyState extends Candidate, Readiness, RendezvousNode {
  readonly id: KeyId
  readonly config: KeyConfig
  account: AccountState
  /** Who pays, by OpenRouter's name; null until a lookup shows it. */
  owner: AccountId | null
  /** The keys of its creator, and those of its workspace; null until a lookup shows them. */
  creator: BudgetGroup | null
  workspace: BudgetGroup | null
  inFlight: number
  lastTurn: number
  batch: BatchUse
  share: number
  breaker: Breaker
  bench: Bench | null
  /** Models that the key does not serve for a while. Other keys of its account may. */
  readonly modelBenches: Map<ModelId, Bench>
  /**
   * Raised when the key recovers or is reset, and when its secret is another one. What a lease of an
   * earlier epoch shows, the key was before.
   */
  epoch: number
  /** Null if no operator has told it to take no new lease. */
  halt: Halt | null
  /** The last time that an operator had the pool forget what the key was judged for; null for never. */
  reset: Reset | null
  /** Consecutive rate limits without a named reset. Each of them doubles the next bench. */
  strikes: number
  struckAtMs: number
  lookup: LookupState
  credit: Credit
  /** Spending that was settled since the latest lookup duty was handed out. */
  spentSinceAskedUsd: number
  /** How fast it spends; null until it has. */
  spendRate: SpendRate | null
  /** When OpenRouter stops accepting the key; null for never, or if it is unknown. */
  expiresAtMs: number | null
  latency: PeakEwma | null
  readonly times: KeyTimes
  /** Moving average of how long its leases last; null until the first live lease is settled. */
  meanHoldMs: number | null
  /** The largest request, in tokens, that the key can still pay for, as OpenRouter last said. */
  affordableTokens: number | null
  tooLarge: SizeNote | null
  /** What is used of its `max_spend`; null for a key without. */
  readonly spend: Budget | null
  /** For the daily audit; null until OpenRouter has told what the key spent. */
  spentDay: DayOfSpending | null
}

/** A route, with what its strategy remembers. */
export interface RouteState {
  readonly config: RouteConfig
  readonly models: RouteConfig['models']
  readonly memory: Memory
  readonly batchMemory: Memory
  /** The keys that the route selects. Null until they are needed, and after accounts changed. */
  members: readonly KeyState[] | null
  /** The members by account. Null until they are needed, and after accounts changed. */
  accounts: CandidateAccounts | null
}

/** Who pays for some keys, by OpenRouter's name. */
export interface OwnerState {
  readonly keys: Set<KeyState>
  readonly configured: Set<AccountId>
}

/** The whole pool as plain data. Only the functions of this folder change it. */
export interface PoolState {
  readonly policy: PoolPolicy
  readonly keys: ReadonlyMap<KeyId, KeyState>
  readonly accounts: Map<AccountId, AccountState>
  /** Groups of keys that a budget covers. */
  readonly budgets: Map<AccountId, BudgetGroup>
  readonly routes: NonEmpty<RouteState>
  /** Models benched everywhere. Such a bench orders a request's models. It excludes no key. */
  readonly modelBenches: Map<ModelId, Bench>
  readonly correlation: Correlation
  readonly rejections: RejectionWave
  /** The keys that operators have told to take no new lease. */
  readonly halted: Set<KeyId>
  /** The keys of each owner that is known, and the accounts that are configured for some of them. */
  readonly owners: Map<AccountId, OwnerState>
  readonly clients: Clients
  /** What operators have changed at run time. */
  readonly audit: Audit
  readonly purges: Purges
  readonly leases: Leases
  readonly isolates: Isolates
  /** The different `tpm` of the keys, the least first. */
  readonly tokenLimits: readonly number[]
  readonly queue: WaitingQueue
  readonly affinities: Affinities
  readonly retryBudget: RetryBudget
  readonly batches: Batches
  readonly ledger: Ledger
  readonly minutes: RecentMinutes
  readonly days: Days
  readonly cache: CacheBook
  readonly generations: Generations
  readonly reconciliations: Reconciliations
  readonly alerts: Alerts
  /** Moving average of what an answer costs, and of what a token of it costs. */
  meanCostUsd: number
  meanTokenUsd: number
  /** No lookup is due before this moment. */
  lookupsDueAtMs: number
  /** When the restored checkpoint was made, and what was forgotten: see lease-gaps.ts. */
  restoredAtMs: number
  gaps: readonly LeaseGap[]
  /** For what every key that is noted as ready is so: from this moment on, at this mean cost. */
  readonly readiness: { sinceMs: number; meanCostUsd: number }
  /** The number of grants so far. It is the clock by which keys take turns. */
  turns: number
  readonly changes: Changes
}

/** What a decision needs besides the request: the state, which it may change, time and chance. */
export interface Step {
  readonly state: PoolState
  /** Epoch milliseconds. */
  readonly nowMs: number
  readonly random: Random
}

/** A pool in which nothing has happened yet. */
export function createPool(config: PoolConfig, nowMs: number): PoolState {
  const ledger = createLedger()
  const affinities = createAffinities(nowMs)
  const accounts = new Map<AccountId, AccountState>()
  const keys = new Map<KeyId, KeyState>()
  for (const [position, key] of config.keys.entries()) {
    const id = key.account ?? ownAccount(key.id)
    const account = accounts.get(id) ?? createAccount(loadOf(affinities, id))
    accounts.set(id, account)
    account.keyCount += 1
    const tally = tallyOf(ledger.byKey, key.id, nowMs)
    const spend = createSpend(key.maxSpend, nowMs)
    keys.set(key.id, createKey(key, { position, account, tally, spend }))
  }
  const route = (route: RouteConfig) => ({
    config: route,
    models: route.models,
    memory: createMemory(),
    batchMemory: createMemory(true),
    members: null,
    accounts: null,
  })
  const [first, ...others] = config.routes
  return {
    policy: config.policy,
    keys,
    accounts,
    budgets: new Map(),
    routes: [route(first), ...others.map(route)],
    modelBenches: new Map(),
    correlation: createCorrelation(),
    rejections: createRejectionWave(),
    halted: new Set(),
    owners: new Map(),
    clients: createClients(config.clients, nowMs),
    audit: createAudit(),
    purges: createPurges(),
    leases: createLeases(),
    isolates: createIsolates(),
    tokenLimits: tokenLimitsOf(config.keys),
    queue: createQueue(),
    affinities,
    retryBudget: createRetryBudget(config.policy.retryBudget, nowMs),
    batches: createBatches(config.policy, nowMs),
    ledger,
    minutes: createRecentMinutes(),
    days: createDays(),
    cache: createCacheBook(),
    generations: createGenerations(),
    reconciliations: createReconciliations(),
    alerts: createAlerts(),
    meanCostUsd: 0,
    meanTokenUsd: 0,
    lookupsDueAtMs: 0,
    restoredAtMs: Number.NEGATIVE_INFINITY,
    gaps: [],
    readiness: { sinceMs: nowMs, meanCostUsd: 0 },
    turns: 0,
    changes: createChanges(),
  }
}

function tokenLimitsOf(keys: readonly KeyConfig[]): readonly number[] {
  const limits = new Set(keys.flatMap(({ tpm }) => tpm ?? []))
  return [...limits].toSorted((a, b) => a - b)
}

function createKey(
  config: KeyConfig,
  own: Pick<KeyState, 'position' | 'account' | 'tally' | 'spend'>,
): KeyState {
  return {
    ...own,
    id: config.id,
    config,
    hash: hash32(config.id),
    readyFor: NOT_READY,
    fullFor: NOT_READY,
    owner: null,
    creator: null,
    workspace: null,
    weight: config.weight,
    inFlight: 0,
    lastTurn: 0,
    batch: createBatchUse(),
    share: 1,
    breaker: CLOSED,
    bench: null,
    modelBenches: new Map(),
    epoch: 0,
    halt: null,
    reset: null,
    strikes: 0,
    struckAtMs: 0,
    lookup: NEVER_LOOKED_UP,
    credit: UNKNOWN_CREDIT,
    spentSinceAskedUsd: 0,
    spendRate: null,
    expiresAtMs: null,
    latency: null,
    times: createKeyTimes(),
    meanHoldMs: null,
    rpm: createMeter(config.rpm),
    tpm: createMeter(config.tpm),
    affordableTokens: null,
    tooLarge: null,
    spentDay: null,
  }
}

/**
 * Counts leases that begin (1) or end (-1), for the key and for its account. A batch's count for the key
 * alone: by the load of an account conversations are moved, and a batch must move none.
 */
export function changeInFlight(key: KeyState, change: 1 | -1, isBatch: boolean): void {
  key.inFlight += change
  lookAgain(key)
  if (isBatch) key.batch.inFlight += change
  else key.account.load.inFlight += change
}

/** Has the filter look again at a key, and at those that share an account or a budget with it. */
export function lookAgainAtSisters({ keys }: PoolState, key: KeyState): void {
  const { account, creator, workspace } = key
  for (const other of keys.values()) {
    const isOfBudget =
      (creator !== null && other.creator === creator) ||
      (workspace !== null && other.workspace === workspace)
    if (other.account === account || isOfBudget) lookAgain(other)
  }
}

/** Sets what is known of a key's lookups. */
export function setLookup(state: PoolState, key: KeyState, lookup: LookupState): void {
  key.lookup = lookup
  state.lookupsDueAtMs = Math.min(state.lookupsDueAtMs, dueAtMs(lookup))
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

/** The accounts of some of a route's keys. They are known before if these are all of its keys. */
export function accountsAmong(
  { affinities }: PoolState,
  route: RouteState,
  keys: readonly KeyState[],
): CandidateAccounts {
  if (keys !== route.members) return accountsOf(affinities, keys)
  route.accounts ??= accountsOf(affinities, keys)
  return route.accounts
}

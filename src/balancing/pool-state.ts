import type { Bench } from './bench.ts'
import { type Breaker, type BreakerPolicy, CLOSED } from './circuit-breaker.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { type LookupDuty, NOTHING_TO_LOOK_UP } from './key-lookup.ts'
import { createLeases, type Leases } from './leases.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { createRetryBudget, type RetryBudget, type RetryBudgetPolicy } from './retry-budget.ts'
import type { Balanced } from './selection.ts'
import type { StrategyName } from './strategy.ts'

export interface KeyConfig {
  readonly id: KeyId
  /** Who pays. A key without a configured account is an account of its own. */
  readonly account: AccountId
  readonly weight: number
  /** Most leases at once, or null for no limit. */
  readonly maxConcurrent: number | null
  readonly disabled: boolean
}

export interface PoolPolicy {
  readonly strategy: StrategyName
  readonly breaker: BreakerPolicy
  readonly panicRatio: number
  readonly retryBudget: RetryBudgetPolicy
}

export interface PoolConfig {
  readonly keys: readonly KeyConfig[]
  readonly policy: PoolPolicy
}

export interface AccountState {
  readonly id: AccountId
  bench: Bench | null
  /** For `:free` models only. */
  freeBench: Bench | null
  readonly modelBenches: Map<ModelId, Bench>
}

export interface KeyState extends Balanced {
  readonly id: KeyId
  readonly config: KeyConfig
  readonly account: AccountState
  inFlight: number
  lastTurn: number
  share: number
  breaker: Breaker
  bench: Bench | null
  /** Rate limits in a row that named no reset; doubles the guess. */
  strikes: number
  struckAtMs: number
  lookup: LookupDuty
  /** When a lookup of it was last reported, whatever it found. */
  lookedUpAtMs: number | null
  /** The largest request, in tokens, that OpenRouter last said it could still pay for. */
  affordableTokens: number | null
}

/** What has to be written down before the step that changed it is answered. */
export interface Changes {
  readonly keys: Set<KeyId>
  readonly accounts: Set<AccountId>
  models: boolean
}

/** The whole pool. Plain data, changed only by pool.ts. */
export interface PoolState {
  readonly policy: PoolPolicy
  readonly keys: ReadonlyMap<KeyId, KeyState>
  readonly accounts: ReadonlyMap<AccountId, AccountState>
  /** A model benched everywhere. It only chooses between a route's models, never excludes a key. */
  readonly modelBenches: Map<ModelId, Bench>
  readonly leases: Leases
  readonly retryBudget: RetryBudget
  readonly ledger: Ledger
  /** Grants so far: the clock of "in turn". */
  turns: number
  readonly changes: Changes
}

/** A pool in which nothing has happened yet. */
export function createPool(config: PoolConfig, nowMs: number): PoolState {
  const accounts = new Map<AccountId, AccountState>()
  const keys = new Map<KeyId, KeyState>()
  for (const [position, key] of config.keys.entries()) {
    const account = accounts.get(key.account) ?? createAccount(key.account)
    accounts.set(key.account, account)
    keys.set(key.id, createKey(key, position, account))
  }
  return {
    policy: config.policy,
    keys,
    accounts,
    modelBenches: new Map(),
    leases: createLeases(),
    retryBudget: createRetryBudget(config.policy.retryBudget, nowMs),
    ledger: createLedger(),
    turns: 0,
    changes: { keys: new Set(), accounts: new Set(), models: false },
  }
}

function createAccount(id: AccountId): AccountState {
  return { id, bench: null, freeBench: null, modelBenches: new Map() }
}

function createKey(config: KeyConfig, position: number, account: AccountState): KeyState {
  return {
    id: config.id,
    config,
    account,
    position,
    weight: config.weight,
    inFlight: 0,
    lastTurn: 0,
    share: 1,
    smoothedWeight: 0,
    breaker: CLOSED,
    bench: null,
    strikes: 0,
    struckAtMs: 0,
    lookup: NOTHING_TO_LOOK_UP,
    lookedUpAtMs: null,
    affordableTokens: null,
  }
}

import type { KeyReport } from '../../src/balancing/health/key-report.ts'
import { accountId, clientId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type {
  Decision,
  Grant,
  LeaseRequest,
  Refusal,
  Waiting,
} from '../../src/balancing/lease-request.ts'
import { isNonEmpty, type NonEmpty } from '../../src/balancing/non-empty.ts'
import { acquire, claim, report, serveQueue, settle, tick } from '../../src/balancing/pool.ts'
import {
  createPool,
  type KeyConfig,
  type PoolPolicy,
  type PoolState,
} from '../../src/balancing/pool-state.ts'
import type { Random } from '../../src/balancing/random.ts'
import type { Affinity, KeySelector, RouteConfig } from '../../src/balancing/routes.ts'
import type { BenchOrder, Settlement, Usage } from '../../src/balancing/settlement.ts'
import type { StrategyName } from '../../src/balancing/strategies/strategy-registry.ts'
import { seededRandom } from './seeded-random.ts'

/** Noon of a day in UTC, so that no test starts on the edge of a day. */
export const START_MS = Date.UTC(2026, 0, 15, 12)

export interface KeySpec {
  readonly id: string
  /** An account of its own where none is given; null where it is to be learned. */
  readonly account?: string | null
  readonly tags?: readonly string[]
  readonly weight?: number
  readonly maxConcurrent?: number | null
  readonly rpm?: number | null
  readonly tpm?: number | null
  readonly minCredit?: number
  readonly disabled?: boolean
}

export interface RouteSpec {
  readonly models: NonEmpty<string>
  /** As an operator writes them: an id, `tag:x` or `account:x`. All keys where none are given. */
  readonly keys?: readonly string[] | null
  /** The pool's where none is given. */
  readonly strategy?: StrategyName
  readonly affinity?: Affinity
  readonly fallback?: readonly string[]
}

/** What is not given is the default; routes are followed by one that takes every model. */
export interface Setup extends Partial<Omit<PoolPolicy, 'credit' | 'queue'>> {
  readonly strategy?: StrategyName
  readonly routes?: readonly RouteSpec[]
  readonly credit?: Partial<PoolPolicy['credit']>
  readonly queue?: Partial<PoolPolicy['queue']>
}

/** The contract's defaults, but for panic: with few keys it would hide what breakers do. */
export const POLICY: PoolPolicy = {
  breaker: { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
  panicRatio: 0,
  retryBudget: { ratio: 0.2, minPerSecond: 2 },
  credit: { refreshMs: 60_000, thresholdUsd: 1 },
  queue: { maxWaiting: 100, maxWaitMs: 10_000 },
}

const DEFAULT_STRATEGY: StrategyName = 'least-busy'

export function keyConfig(spec: KeySpec): KeyConfig {
  const account = spec.account === undefined ? `account-of-${spec.id}` : spec.account
  return {
    id: keyId(spec.id),
    account: account === null ? null : accountId(account),
    tags: spec.tags ?? [],
    weight: spec.weight ?? 1,
    maxConcurrent: spec.maxConcurrent ?? null,
    rpm: spec.rpm ?? null,
    tpm: spec.tpm ?? null,
    minCreditUsd: spec.minCredit ?? 0,
    disabled: spec.disabled ?? false,
  }
}

export function routeConfig(
  spec: RouteSpec,
  strategy: StrategyName = DEFAULT_STRATEGY,
): RouteConfig {
  return {
    models: spec.models,
    keys: spec.keys?.map(selectorOf) ?? null,
    strategy: spec.strategy ?? strategy,
    affinity: spec.affinity ?? 'session',
    fallbackModels: (spec.fallback ?? []).map(modelId),
  }
}

function selectorOf(text: string): KeySelector {
  const [kind, name] = text.split(':')
  if (kind === 'tag' && name !== undefined) return { kind, tag: name }
  if (kind === 'account' && name !== undefined) return { kind, account: accountId(name) }
  return { kind: 'id', id: keyId(text) }
}

export interface Ask {
  readonly lease?: string
  readonly client?: string
  /** The model to send, by which its route is found too, unless the next two say otherwise. */
  readonly model?: string
  /** The model to send, and those that may take its place. */
  readonly models?: readonly string[]
  readonly asked?: string
  readonly attempt?: LeaseRequest['attempt']
  readonly tried?: readonly string[]
  readonly notAccounts?: readonly string[]
  readonly tokens?: number
  /** A text is the id of a conversation. */
  readonly affinity?: LeaseRequest['affinity'] | string
  readonly leaseMs?: number
  readonly waitMs?: number
}

/** @param lease its id where the wish has none */
export function leaseRequestOf(request: Ask, lease: string): LeaseRequest {
  const models = (request.models ?? [request.model ?? 'vendor/model']).map(modelId)
  if (!isNonEmpty(models)) throw new Error('a request names a model')
  const { affinity = null } = request
  return {
    leaseId: leaseId(request.lease ?? lease),
    clientId: clientId(request.client ?? 'client'),
    asked: modelId(request.asked ?? models[0]),
    models,
    attempt: request.attempt ?? 'first',
    triedKeys: (request.tried ?? []).map(keyId),
    excludedAccounts: (request.notAccounts ?? []).map(accountId),
    tokens: request.tokens ?? 0,
    affinity: typeof affinity === 'string' ? { kind: 'conversation', id: affinity } : affinity,
    leaseMs: request.leaseMs ?? 600_000,
    waitMs: request.waitMs ?? 0,
  }
}

type ValidLookup = Extract<KeyReport, { kind: 'valid' }>

/** What `/key` says of a key with so much left, and no more than that. */
export function validReport(
  id: string,
  remainingUsd: number | null,
  askedAtMs: number,
  more: Partial<ValidLookup> = {},
): ValidLookup {
  return {
    keyId: keyId(id),
    kind: 'valid',
    limitUsd: remainingUsd === null ? null : 100,
    remainingUsd,
    resetsAtMs: null,
    expiresAtMs: null,
    owner: null,
    balanceUsd: null,
    askedAtMs,
    ...more,
  }
}

function poolOf(specs: readonly KeySpec[], setup: Setup): PoolState {
  const { strategy = DEFAULT_STRATEGY, routes = [], credit, queue, ...policy } = setup
  const configs = [...routes, { models: ['*'] } as const].map((spec) => routeConfig(spec, strategy))
  if (!isNonEmpty(configs)) throw new Error('a pool has a route')
  return createPool(
    {
      keys: specs.map(keyConfig),
      routes: configs,
      policy: {
        ...POLICY,
        ...policy,
        credit: { ...POLICY.credit, ...credit },
        queue: { ...POLICY.queue, ...queue },
      },
    },
    START_MS,
  )
}

/** A pool on a clock that only the test moves. */
export function drivePool(
  keys: readonly (string | KeySpec)[],
  setup: Setup = {},
  random: Random = seededRandom(1),
) {
  const specs = keys.map((key) => (typeof key === 'string' ? { id: key } : key))
  const state = poolOf(specs, setup)
  let nowMs = START_MS
  let minted = 0

  function ask(request: Ask = {}): Decision {
    minted += 1
    return acquire(state, leaseRequestOf(request, `lease-${minted}`), nowMs, random)
  }

  function grant(request: Ask = {}): Grant {
    const answer = ask(request)
    if (answer.kind !== 'grant') throw new Error(`not granted: ${JSON.stringify(answer)}`)
    return answer
  }

  function refusal(request: Ask = {}): Refusal {
    const answer = ask(request)
    if (answer.kind !== 'refusal') throw new Error(`not refused: ${JSON.stringify(answer)}`)
    return answer
  }

  /** A place in the queue, for as long as the policy lets a request wait unless the wish says less. */
  function waiting(request: Ask = {}): Waiting {
    const answer = ask({ waitMs: state.policy.queue.maxWaitMs, ...request })
    if (answer.kind !== 'waiting') throw new Error(`not waiting: ${JSON.stringify(answer)}`)
    return answer
  }

  /** What happens when the pool's object wakes: time has passed, and free keys go to who waits. */
  function wake(): void {
    tick(state, nowMs)
    serveQueue(state, nowMs, random)
  }

  /** What has become of a request that waits; asking also shows that somebody still does. */
  function inquire(lease: string): Decision | null {
    wake()
    return claim(state, leaseId(lease), nowMs)
  }

  /** A lease on one key and no other. */
  function grantOf(id: string, request: Ask = {}): Grant {
    const others = [...state.keys.keys()].filter((other) => other !== id)
    return grant({ ...request, tried: others })
  }

  function give(lease: Grant, told: Partial<Settlement> = {}): void {
    const { leaseId: id, keyId: key } = lease
    const settlement: Settlement = {
      leaseId: id,
      keyId: key,
      outcome: 'success',
      benches: [],
      suspect: false,
      ...told,
    }
    settle(state, settlement, nowMs, random)
  }

  function fail(lease: Grant, ...benches: BenchOrder[]): void {
    give(lease, { outcome: 'failure', fault: 'upstream', benches })
  }

  /** What the caller did wrong, or anything else that says nothing of the key's health. */
  function shrug(lease: Grant, ...benches: BenchOrder[]): void {
    give(lease, { outcome: 'ignorable', fault: 'caller', benches })
  }

  /** Opens one key's breaker by failing it as often as the policy says. */
  function trip(id: string): void {
    for (let i = 0; i < state.policy.breaker.failures; i++) fail(grantOf(id))
  }

  /** A lookup made and reported now. */
  function lookUp(id: string, remainingUsd: number | null, more: Partial<ValidLookup> = {}): void {
    report(state, validReport(id, remainingUsd, nowMs, more), nowMs)
  }

  return {
    state,
    ask,
    grant,
    grantOf,
    refusal,
    waiting,
    wake,
    inquire,
    give,
    fail,
    shrug,
    trip,
    lookUp,
    now: () => nowMs,
    at: (ms: number) => {
      nowMs = ms
    },
    wait: (ms: number) => {
      nowMs += ms
    },
    key: (id: string) => {
      const key = state.keys.get(keyId(id))
      if (key === undefined) throw new Error(`no key ${id}`)
      return key
    },
  }
}

export type PoolDriver = ReturnType<typeof drivePool>

export function usageOf(promptTokens: number, completionTokens: number, costUsd: number): Usage {
  return {
    promptTokens,
    completionTokens,
    cachedTokens: 0,
    reasoningTokens: 0,
    costUsd,
    estimated: false,
  }
}

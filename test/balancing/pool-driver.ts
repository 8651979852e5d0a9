import { nanosOf } from '../../src/balancing/clients/budget.ts'
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
import { acquire, claim, report, tick } from '../../src/balancing/pool.ts'
import {
  createPool,
  type KeyConfig,
  type PoolPolicy,
  type PoolState,
} from '../../src/balancing/pool-state.ts'
import type { Random } from '../../src/balancing/random.ts'
import type { Affinity, KeySelector, RouteConfig } from '../../src/balancing/routes.ts'
import { settle } from '../../src/balancing/serving/lease-end.ts'
import type { BenchOrder, Settlement, Usage } from '../../src/balancing/settlement.ts'
import type { StrategyName } from '../../src/balancing/strategies/strategy-registry.ts'
import { alertPolicy } from '../../src/config/alerts/alert-fields.ts'
import { policySchema } from '../../src/config/policy.ts'
import { type ClientSpec, clientOf, type GroupSpec, groupOf } from './clients/client-terms.ts'
import { seededRandom } from './seeded-random.ts'

/** Noon in UTC, so that no test starts close to the end of a day. */
export const START_MS = Date.UTC(2026, 0, 15, 12)

export interface KeySpec {
  readonly id: string
  /** If it is not given, the key has an account of its own. Null if the pool has to learn it. */
  readonly account?: string | null
  readonly tags?: readonly string[]
  readonly weight?: number
  readonly maxConcurrent?: number | null
  readonly rpm?: number | null
  readonly tpm?: number | null
  readonly minCredit?: number
  readonly maxSpend?: KeyConfig['maxSpend']
  readonly disabled?: boolean
  readonly fingerprint?: string
}

export interface RouteSpec {
  readonly models: NonEmpty<string>
  /** As operators write them: an id, `tag:x` or `account:x`. If they are not given, all keys. */
  readonly keys?: readonly string[] | null
  /** If it is not given, the pool's strategy. */
  readonly strategy?: StrategyName
  readonly affinity?: Affinity
  readonly fallback?: readonly string[]
}

/** A setting that is not given has its default. A last route for every model is added. */
export interface Setup extends Partial<Omit<PoolPolicy, 'credit' | 'queue'>> {
  readonly strategy?: StrategyName
  readonly routes?: readonly RouteSpec[]
  readonly credit?: Partial<PoolPolicy['credit']>
  readonly queue?: Partial<PoolPolicy['queue']>
  /** Those of the configuration. */
  readonly clients?: readonly ClientSpec[]
  readonly groups?: readonly GroupSpec[]
}

/** The contract's defaults, except that panic is off: with few keys it would hide the breakers. */
export const POLICY: PoolPolicy = {
  breaker: { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
  panicRatio: 0,
  retryBudget: { ratio: 0.2, minPerSecond: 2 },
  credit: { refreshMs: 60_000, thresholdUsd: 1 },
  queue: { maxWaiting: 100, maxWaitMs: 10_000 },
  alerts: alertPolicy(policySchema.parse({}).alerts, []),
  batch: { share: 0.5 },
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
    maxSpend: spec.maxSpend ?? null,
    disabled: spec.disabled ?? false,
    fingerprint: spec.fingerprint ?? spec.id,
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
  /** The model to send, which also selects the route. `models` and `asked` override this. */
  readonly model?: string
  /** The model to send, and then its fallbacks. */
  readonly models?: readonly string[]
  readonly asked?: string
  readonly attempt?: LeaseRequest['attempt']
  readonly tried?: readonly string[]
  readonly notAccounts?: readonly string[]
  readonly tokens?: number
  readonly size?: number
  readonly costNanos?: number | null
  /** A string is the id of a conversation. */
  readonly affinity?: LeaseRequest['affinity'] | string
  readonly leaseMs?: number
  readonly waitMs?: number
  /** The bound of the cost in USD; null if it has none. */
  readonly boundUsd?: number | null
  readonly isFallback?: true
  readonly class?: LeaseRequest['class']
}

/** @param lease the lease id, if the request has none */
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
    ...(request.size === undefined ? {} : { size: request.size }),
    ...(request.costNanos === undefined ? {} : { costNanos: request.costNanos }),
    affinity: typeof affinity === 'string' ? { kind: 'conversation', id: affinity } : affinity,
    leaseMs: request.leaseMs ?? 600_000,
    waitMs: request.waitMs ?? 0,
    ...moneyOf(request),
  }
}

function moneyOf({
  boundUsd,
  isFallback,
  ...request
}: Ask): Pick<LeaseRequest, 'costNanos' | 'isFallback' | 'class'> {
  const ofClass = request.class === undefined ? {} : { class: request.class }
  const ofFallback = isFallback === undefined ? ofClass : { ...ofClass, isFallback }
  if (boundUsd === undefined) return ofFallback
  return { ...ofFallback, costNanos: boundUsd === null ? null : nanosOf(boundUsd) }
}

type ValidLookup = Extract<KeyReport, { kind: 'valid' }>

/** A valid key report of a key with this much left. Everything else is null unless it is given. */
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
  const { strategy = DEFAULT_STRATEGY, routes = [], credit, queue, ...others } = setup
  const { clients = [], groups = [], ...policy } = others
  const configs = [...routes, { models: ['*'] } as const].map((spec) => routeConfig(spec, strategy))
  if (!isNonEmpty(configs)) throw new Error('a pool has a route')
  return createPool(
    {
      clients: { clients: clients.map(clientOf), groups: groups.map(groupOf) },
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

/** A pool with a clock that only the test moves. */
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
    return acquire(state, leaseRequestOf(request, `isolate:${minted}`), nowMs, random)
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

  /** A place in the queue. The request waits as long as the policy allows, unless it says less. */
  function waiting(request: Ask = {}): Waiting {
    const answer = ask({ waitMs: state.policy.queue.maxWaitMs, ...request })
    if (answer.kind !== 'waiting') throw new Error(`not waiting: ${JSON.stringify(answer)}`)
    return answer
  }

  /** What the pool's object does when it wakes: leases expire, and free keys go to the waiters. */
  function wake(): void {
    tick(state, nowMs, random)
  }

  /** The decision for a waiter. The question also shows that its Worker is still there. */
  function inquire(lease: string): Decision | null {
    wake()
    return claim(state, leaseId(lease), nowMs)
  }

  /** A lease on this key, and on no other. */
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

  /** Settles a mistake of the caller, which says nothing about the key's health. */
  function shrug(lease: Grant, ...benches: BenchOrder[]): void {
    give(lease, { outcome: 'ignorable', fault: 'caller', benches })
  }

  /** Opens a key's breaker with as many failures as the policy requires. */
  function trip(id: string): void {
    // With a model of its own: one that fails with two keys is itself at fault.
    const models = [`only/${id}`] as const
    for (let i = 0; i < state.policy.breaker.failures; i++) fail(grantOf(id, { models }))
  }

  /** Reports a valid lookup that was made now. */
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

import { type Caller, callerOf, callerWithoutLimits } from '../../src/balancing/clients/caller.ts'
import { NEVER_LOOKED_UP } from '../../src/balancing/health/lookup-duty.ts'
import { clientId, modelId } from '../../src/balancing/ids.ts'
import type { RequestAffinity, RequestClass } from '../../src/balancing/lease-request.ts'
import { isNonEmpty } from '../../src/balancing/non-empty.ts'
import type { PoolConfig, PoolPolicy, PoolState } from '../../src/balancing/pool-state.ts'
import { routeFor } from '../../src/balancing/routes.ts'
import type { StrategyName } from '../../src/balancing/strategies/strategy-registry.ts'
import type { AlertAddress } from '../../src/config/alerts/alert-addresses.ts'
import type { Timeouts } from '../../src/config/timeouts.ts'
import type { UpstreamKey } from '../../src/config/upstream-keys.ts'
import { type AlertDelivery, createAlertDelivery } from '../../src/gateway/alerts/alert-delivery.ts'
import { createSecretRedaction } from '../../src/gateway/answers/secret-redaction.ts'
import { ByteBudget } from '../../src/gateway/byte-budget.ts'
import type {
  InferenceRequest,
  Journey,
  JourneyContext,
  JourneyReport,
} from '../../src/gateway/inference-request.ts'
import { startJourney } from '../../src/gateway/journey.ts'
import {
  createGenerationLookups,
  type GenerationLookups,
} from '../../src/gateway/leases/generation-lookups.ts'
import { createIsolateLeases, type IsolateLeases } from '../../src/gateway/leases/isolate-leases.ts'
import { createKeyLookups } from '../../src/gateway/leases/key-lookups.ts'
import { createKeyRing } from '../../src/gateway/leases/key-ring.ts'
import { createLeaseBroker } from '../../src/gateway/leases/lease-broker.ts'
import { OutgoingBody } from '../../src/gateway/outgoing-body.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import { createCreditCache } from '../../src/http/kv-credit-cache.ts'
import type { PoolClient } from '../../src/key-pool/pool-client.ts'
import { withOutage } from '../../src/key-pool/pool-outage.ts'
import type { SpillPolicy } from '../../src/openrouter/failures/blame.ts'
import { withModel } from '../../src/openrouter/requests/model-value.ts'
import type { ApiShape } from '../../src/openrouter/shapes/api-shape.ts'
import { chatCompletions } from '../../src/openrouter/shapes/chat-completions.ts'
import {
  type KeySpec,
  keyConfig,
  POLICY,
  type RouteSpec,
  routeConfig,
} from '../balancing/pool-driver.ts'
import { type ReadingClient, readAlong } from './client-reader.ts'
import { createInMemoryPool } from './in-memory-pool.ts'
import {
  bytesOf,
  createScriptedUpstream,
  type ScriptedUpstream,
  type UpstreamCallRecord,
} from './upstream-script.ts'
import { createVirtualKv } from './virtual-kv.ts'
import { createVirtualTime, type VirtualTime } from './virtual-time.ts'

export type { KeySpec }

/** Larger than anything that a test holds. */
const memory = new ByteBudget(1024 * 1024 * 1024)

/** Noon of a day in UTC. */
export const START_MS = Date.UTC(2026, 0, 15, 12)

export const UPSTREAM_URL = 'https://openrouter.test/api/v1'

export const TIMEOUTS: Timeouts = {
  headersMs: 30_000,
  firstOutputMs: 120_000,
  idleMs: 60_000,
  totalMs: 600_000,
}

export interface WorldOptions {
  /** Keys of the pool, in order of priority. Default: `a`, `b`, `c` and `d` of four accounts. */
  readonly keys?: readonly (string | KeySpec)[]
  readonly clients?: PoolConfig['clients']
  /** The Worker's keys, if they differ from the pool's, as during a deployment. */
  readonly ringKeys?: readonly (string | KeySpec)[]
  /** Default: `priority`, so that a test can predict the next key. */
  readonly strategy?: StrategyName
  readonly routes?: readonly RouteSpec[]
  readonly pool?: Partial<Omit<PoolPolicy, 'credit' | 'queue'>>
  readonly credit?: Partial<PoolPolicy['credit']>
  readonly queue?: Partial<PoolPolicy['queue']>
  /**
   * `routine`: every key is looked up regularly, as in production. `in_doubt`, the default: only
   * suspect keys are looked up, so a test of something else sees only its own calls.
   */
  readonly lookups?: 'routine' | 'in_doubt'
  readonly spill?: Partial<SpillPolicy>
  readonly timeouts?: Partial<Timeouts>
  readonly maxAttempts?: number
  readonly onPoolUnavailable?: 'open' | 'closed'
  readonly random?: () => number
  readonly shape?: ApiShape
  /** Where alerts go. `pool.alerts` says which. */
  readonly addresses?: readonly AlertAddress[]
  /** Who answers there. */
  readonly receiver?: Ports['fetch']
  /** How upstream calls get their turn, in a queue's consumer. */
  readonly inTurn?: Ports['inTurn']
}

export interface SendOptions {
  /** The model to send. */
  readonly model?: string
  /** The fallback models. */
  readonly fallbacks?: readonly string[]
  /** The model name that the caller sent, if it is another one. */
  readonly asked?: string
  readonly body?: string
  readonly affinity?: RequestAffinity
  readonly tokens?: number
  /** The estimate of its prompt. Default: 0. */
  readonly promptTokens?: number
  /** The most that it can cost, and what a model costs, as for a client with a budget. */
  readonly money?: Required<Pick<InferenceRequest, 'cost' | 'estimatePrice'>>
  /** Default: its tokens. */
  readonly size?: number
  /** Whose it is. Default: `client`, which has limits only if the world's clients say so. */
  readonly client?: string
  /** The most that it can cost, for a client with a budget. */
  readonly costNanos?: number | null
  readonly headers?: Readonly<Record<string, string>>
  readonly search?: string
  readonly requestId?: string
  /** Whose it is. Default: a client without limits. */
  readonly caller?: Caller
  /** How many choices it asks for. Default: one. */
  readonly parts?: number
  readonly class?: RequestClass
  readonly signal?: AbortSignal
  /** Which isolate the request reaches. Default: the first. */
  readonly isolate?: number
  /** `along`, the default: reads chunks as they come. `slow`: reads a chunk only on command. */
  readonly reads?: 'along' | 'slow'
}

/** One request from a client's side. */
export interface Sent extends ReadingClient {
  /** The journey's report, or null while the journey runs. */
  report(): JourneyReport | null
  /** The bug that ended the journey, or null. */
  bug(): unknown
}

/** A secret that looks like an OpenRouter key but is not one. */
export function secretOf(id: string): string {
  return `sk-or-virtual-${id}`
}

/** The id of the key that a call used. */
export function keyOf(call: UpstreamCallRecord): string {
  return (call.headers.get('authorization') ?? '').replace(`Bearer ${secretOf('')}`, '')
}

/** The model in the body of a call. */
export function modelOf({ body }: UpstreamCallRecord): unknown {
  return JSON.parse(new TextDecoder().decode(body)).model
}

export function upstreamKey(spec: string | KeySpec): UpstreamKey {
  const key = typeof spec === 'string' ? { id: spec } : spec
  return { secret: secretOf(key.id), config: keyConfig(key) }
}

export function poolConfig(keys: readonly UpstreamKey[], options: WorldOptions): PoolConfig {
  const routes = [...(options.routes ?? []), { models: ['*'] } as const].map((route) =>
    routeConfig(route, options.strategy ?? 'priority'),
  )
  if (!isNonEmpty(routes)) throw new Error('A pool has a route')
  const credit = { ...POLICY.credit, ...options.credit }
  const queue = { ...POLICY.queue, ...options.queue }
  return {
    keys: keys.map(({ config }) => config),
    clients: options.clients ?? { clients: [], groups: [] },
    routes,
    policy: { ...POLICY, ...options.pool, credit, queue },
  }
}

/** Makes routine lookups never due. */
function withoutRoutine({ keys }: PoolState): void {
  const never = { kind: 'due', atMs: Number.MAX_SAFE_INTEGER } as const
  for (const key of keys.values()) key.lookup = { ...NEVER_LOOKED_UP, duty: never }
}

export function requestOf(
  given: SendOptions,
  options: WorldOptions,
  routes: PoolConfig['routes'],
  nowMs: number,
): InferenceRequest {
  const model = given.model ?? 'vendor/model'
  const body = bytesOf(given.body ?? JSON.stringify({ model, stream: true }))
  const route = routeFor(routes, [given.asked ?? model, model])
  return {
    requestId: given.requestId ?? 'a-request',
    shape: options.shape ?? chatCompletions,
    asked: modelId(given.asked ?? model),
    models: [modelId(model), ...(given.fallbacks ?? []).map(modelId)],
    timeouts: { ...TIMEOUTS, ...options.timeouts },
    maxAttempts: options.maxAttempts ?? 4,
    affinity: given.affinity ?? null,
    routeKeys: route.keys,
    routeIndex: routes.indexOf(route),
    ...tokensOf(given),
    ...callerFields(given, options),
    ...given.money,
    ...(given.class === undefined ? {} : { class: given.class }),
    body: new OutgoingBody(body, modelId(model), memory.open(), withModel),
    held: memory.open(),
    headers: new Headers(given.headers),
    search: given.search ?? '',
    parts: given.parts ?? 1,
    signal: given.signal ?? new AbortController().signal,
    startedAtMs: nowMs,
    authMs: 0,
  }
}

function tokensOf({ tokens = 0, size = tokens, promptTokens = 0 }: SendOptions) {
  return { tokens, size, promptTokens }
}

function callerFields(
  { client: id = 'client', costNanos, caller: known }: SendOptions,
  options: WorldOptions,
) {
  const terms = options.clients?.clients.find((client) => client.id === id)
  const group = options.clients?.groups.find((one) => one.id === terms?.groupId)
  const caller: Caller =
    known ??
    (terms === undefined ? callerWithoutLimits(clientId(id)) : callerOf(terms, group ?? null))
  return { caller, ...costOf(costNanos) }
}

function costOf(nanos: number | null | undefined): Pick<InferenceRequest, 'cost'> {
  return nanos === undefined ? {} : { cost: () => ({ nanos, isPending: false }) }
}

/** Watches for the end of a journey. */
function endOf({ finished }: Journey): Pick<Sent, 'report' | 'bug'> {
  let report: JourneyReport | null = null
  void finished.then((value) => {
    report = value
  })
  return { report: () => report, bug: () => report?.bug ?? null }
}

function chatCallsOf({ calls }: Pick<ScriptedUpstream, 'calls'>): UpstreamCallRecord[] {
  return calls.filter(({ path }) => path === chatCompletions.path)
}

/** The isolates that share a pool, each with leases of its own. */
function createIsolates(pool: PoolClient) {
  const leases = new Map<number, IsolateLeases>()
  const silent = new Set<number>()
  return {
    leasesOf(isolate: number): IsolateLeases {
      const known = leases.get(isolate) ?? createIsolateLeases(`isolate-${isolate}`)
      leases.set(isolate, known)
      return known
    },
    poolOf: (isolate: number): PoolClient => ({
      ...pool,
      exchange: async (request) =>
        silent.has(isolate) ? { kind: 'unavailable' } : await pool.exchange(request),
    }),
    silence: (isolate: number) => void silent.add(isolate),
  }
}

function deliveryOf(ports: Ports, { addresses = [], receiver }: WorldOptions): AlertDelivery {
  return createAlertDelivery({ ...ports, fetch: receiver ?? ports.fetch }, addresses)
}

async function askAtRest(pool: PoolClient, ask: GenerationLookups): Promise<void> {
  const answer = await pool.duties({ max: 0, maxGenerations: 60 })
  const duties = answer.kind === 'answer' ? (answer.value.generations ?? []) : []
  if (duties.length === 0) return
  const reconciled = await ask(duties)
  const nothing = { version: 1, wants: [], settlements: [], lookups: [] } as const
  await pool.exchange({ ...nothing, reconciled, takesNoDuties: true })
}

function createVirtualPorts(
  time: VirtualTime,
  upstream: Pick<ScriptedUpstream, 'fetch'>,
  random: () => number,
): Ports {
  let names = 0
  return {
    fetch: (url, init) => upstream.fetch(url, init),
    nowMs: time.nowMs,
    random,
    timer: time.timer,
    uniqueId: () => {
      names += 1
      return `lease-${names}`
    },
  }
}

export type VirtualWorld = ReturnType<typeof createVirtualWorld>

/** The shipped journey with the real pool functions, on virtual time and a scripted network. */
export function createVirtualWorld(options: WorldOptions = {}) {
  const time = createVirtualTime(START_MS)
  const upstream = createScriptedUpstream(time, UPSTREAM_URL)
  const random = options.random ?? (() => 0.5)
  const { inTurn } = options
  const ports = { ...createVirtualPorts(time, upstream, random), ...(inTurn && { inTurn }) }
  const keys = (options.keys ?? ['a', 'b', 'c', 'd']).map(upstreamKey)
  const config = poolConfig(keys, options)
  const prepare = options.lookups === 'routine' ? () => undefined : withoutRoutine
  const pool = createInMemoryPool(config, time, random, prepare)
  const ring = createKeyRing(options.ringKeys?.map(upstreamKey) ?? keys)
  const redaction = createSecretRedaction(
    keys.map(({ secret, config: { id } }) => ({ secret, keyId: id })),
  )
  const kv = createVirtualKv(time)
  const background: Promise<unknown>[] = []
  const lookups = createKeyLookups({
    ports,
    upstreamUrl: UPSTREAM_URL,
    ring,
    cache: createCreditCache(kv.namespace, ports),
  })

  const generations = createGenerationLookups({ ports, upstreamUrl: UPSTREAM_URL, ring })

  const isolates = createIsolates(withOutage(pool, time.nowMs))

  /** As in production, every request has its own lease broker. */
  const context = (isolate = 0): JourneyContext => ({
    ports,
    ring,
    redaction,
    upstreamUrl: UPSTREAM_URL,
    spill: { freeTier: false, policy: false, ...options.spill },
    maxWaitMs: config.policy.queue.maxWaitMs,
    leases: createLeaseBroker({
      ports,
      pool: isolates.poolOf(isolate),
      ...{ ring, lookups },
      generations,
      deliver: deliveryOf(ports, options).deliver,
      leases: isolates.leasesOf(isolate),
      onPoolUnavailable: options.onPoolUnavailable ?? 'open',
      background: (work) => void background.push(work),
    }),
  })

  const send = (given: SendOptions = {}): Sent => {
    const journey = startJourney(
      context(given.isolate),
      requestOf(given, options, config.routes, time.nowMs()),
    )
    return { ...readAlong(journey.response, time, given.reads ?? 'along'), ...endOf(journey) }
  }

  return {
    time,
    upstream,
    pool,
    ring,
    kv,
    lookups,
    /** The reports of valid keys that came from OpenRouter itself, not from the cache. */
    ports,
    send,
    /** Asks about the answers whose usage was estimated, as the scheduled handler does. */
    atRest: () => askAtRest(pool, generations),
    /** From now on nothing that an isolate sends arrives, as if it had been killed. */
    silence: isolates.silence,
    /** Lets time pass until the journey is over and its background work is done too. */
    async finish(sent: Sent): Promise<JourneyReport> {
      await time.runUntil(() => sent.report() !== null, 3_600_000)
      const report = sent.report()
      if (report?.bug !== null) throw report?.bug ?? new Error('The journey never ended')
      await time.runUntil(() => false, 10_000)
      return report
    },
    /** The keys of the chat calls so far, in order. */
    keysCalled: () => chatCallsOf(upstream).map(keyOf),
    modelsCalled: () => chatCallsOf(upstream).map(modelOf),
  }
}

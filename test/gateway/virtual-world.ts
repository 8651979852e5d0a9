import { accountId, clientId, keyId, modelId } from '../../src/balancing/ids.ts'
import type { PoolPolicy } from '../../src/balancing/pool-state.ts'
import type { Timeouts } from '../../src/config/policy.ts'
import type { UpstreamKey } from '../../src/config/upstream-keys.ts'
import { type Dispatcher, dispatch, type JourneyReport } from '../../src/gateway/dispatch.ts'
import { createKeyLookups } from '../../src/gateway/key-lookups.ts'
import { createKeyRing } from '../../src/gateway/key-ring.ts'
import { createLeaseBroker } from '../../src/gateway/lease-broker.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import type { ApiShape } from '../../src/openrouter/api-shape.ts'
import { chatCompletions } from '../../src/openrouter/chat-completions.ts'
import { createInMemoryPool } from './in-memory-pool.ts'
import { type ReadingClient, readAlong } from './reading-client.ts'
import { bytesOf, createScriptedUpstream, type UpstreamCallRecord } from './scripted-upstream.ts'
import { createVirtualTime } from './virtual-time.ts'

/** Noon of a day in UTC. */
export const START_MS = Date.UTC(2026, 0, 15, 12)

export const UPSTREAM_URL = 'https://openrouter.test/api/v1'

export const TIMEOUTS: Timeouts = {
  headersMs: 30_000,
  firstOutputMs: 120_000,
  idleMs: 60_000,
  totalMs: 600_000,
}

/** The contract's defaults, but for panic: with few keys it would hide what breakers do. */
const POOL_POLICY: PoolPolicy = {
  strategy: 'priority',
  breaker: { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
  panicRatio: 0,
  retryBudget: { ratio: 0.2, minPerSecond: 2 },
}

export interface KeySpec {
  readonly id: string
  readonly account?: string
  readonly maxConcurrent?: number
  readonly disabled?: boolean
}

export interface WorldOptions {
  /** Keys of the pool, in order of priority: `a`, `b`, `c` and `d` of four accounts unless told. */
  readonly keys?: readonly (string | KeySpec)[]
  /** Keys that this Worker knows, where they are not those of the pool (a deployment under way). */
  readonly ringKeys?: readonly (string | KeySpec)[]
  readonly pool?: Partial<PoolPolicy>
  readonly timeouts?: Partial<Timeouts>
  readonly maxAttempts?: number
  readonly onPoolUnavailable?: 'open' | 'closed'
  readonly random?: () => number
  readonly shape?: ApiShape
}

export interface SendOptions {
  readonly model?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly search?: string
  readonly signal?: AbortSignal
  /** `slow`: reads only what it is told to. */
  readonly reads?: 'along' | 'slow'
}

/** One request from a client's side. */
export interface Sent extends ReadingClient {
  /** What the journey reported in the end, or null while it is under way. */
  report(): JourneyReport | null
  /** The bug that ended it, or null. */
  bug(): unknown
}

/** Looks like a key of OpenRouter and is none. */
export function secretOf(id: string): string {
  return `sk-or-virtual-${id}`
}

/** The id of the key that a call was made with. */
export function keyOf(call: UpstreamCallRecord): string {
  return (call.headers.get('authorization') ?? '').replace(`Bearer ${secretOf('')}`, '')
}

function upstreamKey(spec: string | KeySpec): UpstreamKey {
  const { id, account, maxConcurrent, disabled } = typeof spec === 'string' ? { id: spec } : spec
  return {
    secret: secretOf(id),
    config: {
      id: keyId(id),
      account: accountId(account ?? `account-of-${id}`),
      weight: 1,
      maxConcurrent: maxConcurrent ?? null,
      disabled: disabled ?? false,
    },
  }
}

export type VirtualWorld = ReturnType<typeof createVirtualWorld>

/** The shipped dispatch loop on virtual time, a scripted network and the real pool reducer. */
export function createVirtualWorld(options: WorldOptions = {}) {
  const time = createVirtualTime(START_MS)
  const upstream = createScriptedUpstream(time, UPSTREAM_URL)
  let names = 0
  const random = options.random ?? (() => 0.5)
  const ports: Ports = {
    fetch: (url, init) => upstream.fetch(url, init),
    nowMs: time.nowMs,
    random,
    timer: time.timer,
    uniqueId: () => {
      names += 1
      return `lease-${names}`
    },
  }
  const keys = (options.keys ?? ['a', 'b', 'c', 'd']).map(upstreamKey)
  const poolPolicy = { ...POOL_POLICY, ...options.pool }
  const poolConfig = { keys: keys.map(({ config }) => config), policy: poolPolicy }
  const pool = createInMemoryPool(poolConfig, time, random)
  const ring = createKeyRing(options.ringKeys?.map(upstreamKey) ?? keys)
  const background: Promise<unknown>[] = []

  /** As in production, every request has a lease broker of its own. */
  const dispatcher = (): Dispatcher => ({
    ports,
    ring,
    upstreamUrl: UPSTREAM_URL,
    policy: {
      maxAttempts: options.maxAttempts ?? 4,
      timeouts: { ...TIMEOUTS, ...options.timeouts },
    },
    leases: createLeaseBroker(
      ports,
      pool,
      ring,
      createKeyLookups(ports, UPSTREAM_URL, ring),
      options.onPoolUnavailable ?? 'open',
      (work) => void background.push(work),
    ),
  })

  const send = (given: SendOptions = {}): Sent => {
    const journey = dispatch(dispatcher(), {
      shape: options.shape ?? chatCompletions,
      model: modelId(given.model ?? 'vendor/model'),
      clientId: clientId('client'),
      body: bytesOf(given.body ?? '{"model":"vendor/model","stream":true}'),
      headers: new Headers(given.headers),
      search: given.search ?? '',
      signal: given.signal ?? new AbortController().signal,
      startedAtMs: time.nowMs(),
      authMs: 0,
    })
    let report: JourneyReport | null = null
    let bug: unknown = null
    journey.finished.then(
      (value) => {
        report = value
      },
      (error: unknown) => {
        bug = error
      },
    )
    const client = readAlong(journey.response, time, given.reads ?? 'along')
    return { ...client, report: () => report, bug: () => bug }
  }

  return {
    time,
    upstream,
    pool,
    ring,
    ports,
    send,
    /** Lets time pass until the journey is over and what it left for later is done, too. */
    async finish(sent: Sent): Promise<JourneyReport> {
      await time.runUntil(() => sent.report() !== null || sent.bug() !== null, 3_600_000)
      const report = sent.report()
      if (report === null) throw sent.bug() ?? new Error('The journey never ended')
      await time.runUntil(() => false, 10_000)
      return report
    },
    /** Keys of the chat calls so far, in order. */
    keysCalled: () => upstream.calls.filter(({ path }) => path === chatCompletions.path).map(keyOf),
  }
}

import type { PoolConfig } from '../../src/balancing/pool-state.ts'
import type { UpstreamKey } from '../../src/config/upstream-keys.ts'
import { createSecretRedaction } from '../../src/gateway/answers/secret-redaction.ts'
import type { JourneyContext } from '../../src/gateway/inference-request.ts'
import { createGenerationLookups } from '../../src/gateway/leases/generation-lookups.ts'
import { createIsolateLeases, type IsolateLeases } from '../../src/gateway/leases/isolate-leases.ts'
import { createKeyLookups, type KeyLookups } from '../../src/gateway/leases/key-lookups.ts'
import { createKeyRing } from '../../src/gateway/leases/key-ring.ts'
import { createLeaseBroker, type Leased } from '../../src/gateway/leases/lease-broker.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import { createClientDirectory, findClient, type Lookup } from '../../src/http/client-directory.ts'
import { createCreditCache } from '../../src/http/kv-credit-cache.ts'
import type { PoolClient } from '../../src/key-pool/pool-client.ts'
import { withOutage } from '../../src/key-pool/pool-outage.ts'
import type { ExchangeReply, ExchangeRequest } from '../../src/key-pool/protocol.ts'
import type { VirtualKv } from '../gateway/virtual-kv.ts'
import type { VirtualTime } from '../gateway/virtual-time.ts'
import { UPSTREAM_URL } from '../gateway/virtual-world.ts'
import type { DeliverAlerts } from './alert-receiver.ts'
import type { Release } from './history.ts'
import type { PoolObject } from './pool-object.ts'

/** What runs on all isolates that came up with one deployment. */
export interface Deployed {
  readonly config: PoolConfig
  readonly keys: readonly UpstreamKey[]
  readonly release: Release
}

export interface IsolateParts {
  readonly time: VirtualTime
  readonly random: () => number
  readonly fetch: Ports['fetch']
  readonly object: PoolObject
  readonly kv: VirtualKv
  /** How the object is asked about leases ahead: one of the first release has none to give. */
  readonly objectRelease: () => Release
  readonly deliver: DeliverAlerts
}

/** One running copy of the Worker: the shipped parts, put together as in production. */
export interface Isolate {
  readonly name: string
  readonly leases: IsolateLeases
  readonly deployed: Deployed
  isAlive: boolean
  silentUntilMs: number
  /** When a call of it to the object failed last, and how many have failed. */
  failedAtMs: number
  failures: number
  /** Timers that are set and have not fired. */
  openTimers(): number
  /** @param onLeased sees each lease that the request gets, at the moment it gets it */
  context(onLeased: (leased: Leased) => void): JourneyContext
  /** Finds a client that was made at run time, as for its client key. */
  findClient(hash: string): Promise<Lookup>
  /** What the scheduled handler does once a minute. */
  carryOutDuties(): Promise<void>
}

export function createIsolate(name: string, deployed: Deployed, parts: IsolateParts): Isolate {
  const { time, object, kv } = parts
  const directory = createClientDirectory()
  const isolate: Isolate = {
    name,
    leases: createIsolateLeases(name),
    deployed,
    isAlive: true,
    silentUntilMs: 0,
    failedAtMs: Number.NEGATIVE_INFINITY,
    failures: 0,
    openTimers: () => openTimers(),
    context,
    carryOutDuties,
    findClient: (hash) =>
      findClient(directory, hash, '', {
        pool,
        newestVersion: isolate.leases.clientsVersion,
        nowMs: time.nowMs,
        wait: (ms) => new Promise((resolve) => void ports.timer(ms, resolve)),
        background: (work) => void work,
      }),
  }
  const { ports, openTimers } = createIsolatePorts(isolate, parts)
  const isConnected = () => isolate.isAlive && time.nowMs() >= isolate.silentUntilMs
  const line = object.client(ports.timer, isConnected)
  const pool = withOutage(createNotedClient(line, isolate, parts), time.nowMs)
  const ring = createKeyRing(deployed.keys)
  const redaction = createSecretRedaction(
    deployed.keys.map(({ secret, config: { id } }) => ({ secret, keyId: id })),
  )
  const lookups: KeyLookups = createKeyLookups({
    ports,
    upstreamUrl: UPSTREAM_URL,
    ring,
    cache: createCreditCache(kv.namespace, ports),
  })

  const generations = createGenerationLookups({ ports, upstreamUrl: UPSTREAM_URL, ring })

  function context(onLeased: (leased: Leased) => void): JourneyContext {
    const broker = createLeaseBroker({
      ports,
      pool,
      ring,
      lookups,
      generations,
      deliver: parts.deliver,
      leases: isolate.leases,
      onPoolUnavailable: 'open',
      background: (work) => void work,
    })
    return {
      ports,
      ring,
      redaction,
      upstreamUrl: UPSTREAM_URL,
      spill: { freeTier: false, policy: false },
      maxWaitMs: deployed.config.policy.queue.maxWaitMs,
      leases: {
        ...broker,
        async acquire(...given) {
          const acquired = await broker.acquire(...given)
          if (acquired.kind === 'leased') onLeased(acquired)
          return acquired
        },
      },
    }
  }

  async function carryOutDuties(): Promise<void> {
    const answer = await pool.duties({ max: 30, maxGenerations: 60, maxAlerts: 20 })
    if (answer.kind === 'unavailable') return
    const { lookups: keyDuties, generations: generationDuties = [], alerts = [] } = answer.value
    if (keyDuties.length + generationDuties.length + alerts.length === 0) return
    const reports = await lookups(keyDuties)
    const reconciled = await generations(generationDuties)
    const delivered = await parts.deliver(alerts)
    const nothing = { version: 1, wants: [], settlements: [] } as const
    const told = { lookups: reports, reconciled, delivered, takesNoDuties: true } as const
    await pool.exchange({ ...nothing, ...told })
  }
  return isolate
}

/** The ports of an isolate. What is timed there does not happen once it has died. */
function createIsolatePorts(
  isolate: Pick<Isolate, 'name' | 'isAlive'>,
  { time, random, fetch }: IsolateParts,
): { readonly ports: Ports; readonly openTimers: () => number } {
  const timers = new Set<object>()
  let names = 0
  const timer: Ports['timer'] = (ms, callback) => {
    const mark = {}
    timers.add(mark)
    const cancel = time.timer(ms, () => {
      timers.delete(mark)
      if (isolate.isAlive) callback()
    })
    return () => {
      timers.delete(mark)
      cancel()
    }
  }
  const uniqueId = () => {
    names += 1
    return `${isolate.name}/${names}`
  }
  const ports = { fetch, nowMs: time.nowMs, random, timer, uniqueId }
  return { ports, openTimers: () => timers.size }
}

/** Speaks as the isolate's release does, and notes on the isolate which of its calls have failed. */
function createNotedClient(
  line: PoolClient,
  isolate: Pick<Isolate, 'deployed' | 'failures' | 'failedAtMs'>,
  { time, objectRelease }: IsolateParts,
): PoolClient {
  const { release } = isolate.deployed
  return {
    ...line,
    async exchange(request) {
      const answer = await line.exchange(spoken(request, release, objectRelease()))
      if (answer.kind === 'unavailable') {
        isolate.failures += 1
        isolate.failedAtMs = time.nowMs()
        return answer
      }
      return { ...answer, value: heard(answer.value, release, objectRelease()) }
    },
  }
}

/** What an isolate of one release says to an object of another. */
function spoken(request: ExchangeRequest, worker: Release, object: Release): ExchangeRequest {
  const { version, wants, settlements, lookups } = request
  if (worker === 'first') {
    return {
      version,
      lookups,
      wants: wants.map(({ size: _size, class: _class, ...want }) => want),
      settlements: settlements.map(({ lease: _lease, ...settlement }) => settlement),
    }
  }
  if (object === 'first') {
    const { orders: _orders, ...rest } = request
    return rest
  }
  if (worker !== 'next') return request
  // Fields that this release does not know.
  const next = {
    ...request,
    mood: 'fine',
    wants: wants.map((want) => ({ ...want, urgency: 3 })),
    settlements: settlements.map((settlement) => ({ ...settlement, colour: { red: 1 } })),
  }
  return next
}

/** What an isolate of one release understands of the answer of an object of another. */
function heard(reply: ExchangeReply, worker: Release, object: Release): ExchangeReply {
  const { version, decisions, lookups } = reply
  if (worker === 'first' || object === 'first') return { version, decisions, lookups }
  return reply
}

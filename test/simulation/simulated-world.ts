import type { AlertPolicy } from '../../src/balancing/alerts/alert-policy.ts'
import { nanosOf } from '../../src/balancing/clients/budget.ts'
import { type Caller, callerOf, callerWithoutLimits } from '../../src/balancing/clients/caller.ts'
import type { ClientsOrder } from '../../src/balancing/clients/registry.ts'
import { clientId, type KeyId } from '../../src/balancing/ids.ts'
import type { SteeringOrder } from '../../src/balancing/operators/steering.ts'
import type { PoolConfig } from '../../src/balancing/pool-state.ts'
import type { UpstreamKey } from '../../src/config/upstream-keys.ts'
import type { InferenceRequest, JourneyReport } from '../../src/gateway/inference-request.ts'
import { startJourney } from '../../src/gateway/journey.ts'
import type { Leased } from '../../src/gateway/leases/lease-broker.ts'
import { seededRandom } from '../balancing/seeded-random.ts'
import { readAlong } from '../gateway/client-reader.ts'
import { createVirtualKv } from '../gateway/virtual-kv.ts'
import { createVirtualTime, type VirtualTime } from '../gateway/virtual-time.ts'
import {
  poolConfig,
  requestOf,
  START_MS,
  secretOf,
  upstreamKey,
  type WorldOptions,
} from '../gateway/virtual-world.ts'
import { alertPolicyOf, createAlertReceiver, type DeliverAlerts } from './alert-receiver.ts'
import { tokenHashOf } from './clients/clients-of-seed.ts'
import { boundNanos } from './clients/priced-requests.ts'
import { type Draw, drawFrom } from './draw.ts'
import type { Change, Happening, History, PoolPlan, Release, RequestPlan } from './history.ts'
import type { SimulatedRequest, SimulatedWorld, WorldWitness } from './invariants/observed-world.ts'
import { createIsolate, type Deployed, type Isolate } from './isolate.ts'
import { type ChatCall, COST_USD, OpenRouterModel } from './openrouter-model.ts'
import { PoolObject } from './pool-object.ts'
import type { UpstreamKeyRecord } from './upstream-accounts.ts'

const countOf = <T>(items: readonly T[], item: T) => items.filter((one) => one === item).length

/** Lets all promises settle: they do before the next turn of the event loop. */
const drain = () => new Promise<void>((resolve) => void setImmediate(resolve))

/** For so long after a deployment old isolates still get requests. */
const OLD_ISOLATES_MS = 60_000

export function createSimulatedWorld(history: History, witness: WorldWitness): SimulatedWorld {
  return new World(history, witness)
}

class World implements SimulatedWorld {
  readonly time: VirtualTime
  readonly object: PoolObject
  readonly openRouter: OpenRouterModel
  readonly plan: PoolPlan
  readonly counts: Record<string, number> = {}
  /** Keys that are halted for sure. */
  readonly halted = new Set<KeyId>()
  readonly #alerts: AlertPolicy
  readonly #deliver: DeliverAlerts
  readonly #resuming: KeyId[] = []
  readonly #resumed: KeyId[] = []
  readonly #witness: WorldWitness
  readonly #draw: Draw
  readonly #kv: ReturnType<typeof createVirtualKv>
  readonly #requests = new Map<string, SimulatedRequest>()
  #deployed: Deployed
  #objectRelease: Release = 'today'
  /** By number; what stands behind a number changes with deployments and deaths. */
  #isolates = new Map<number, Isolate>()
  #old: { readonly isolates: Map<number, Isolate>; readonly untilMs: number } | null = null
  readonly #all: Isolate[] = []
  readonly #removed = new Set<string>()
  #keys: PoolPlan['keys']
  #secrets = 0
  #sent = 0

  constructor({ seed, pool }: History, witness: WorldWitness) {
    this.plan = pool
    this.#keys = pool.keys
    this.#witness = witness
    this.#draw = drawFrom(seededRandom(seed * 104_729 + 3))
    this.time = createVirtualTime(START_MS, { drain, afterEach: () => witness.afterEach() })
    this.#kv = createVirtualKv(this.time)
    const records = pool.keys.map(({ id, account }, i): [string, UpstreamKeyRecord] => {
      const payer = pool.accounts[i % pool.accounts.length]?.name ?? account ?? ''
      return [id, { id, account: payer, secret: secretOf(id) }]
    })
    const upstream = { accounts: pool.accounts, keys: new Map(records) }
    this.openRouter = new OpenRouterModel(upstream, this.time, this.#draw, (call) =>
      this.#noteCall(call),
    )
    this.#alerts = alertPolicyOf(seed)
    this.#deliver = createAlertReceiver(this.time, this.#draw, (message) => {
      this.#count(`told: ${message.phase}`)
      witness.told(message)
    })
    this.#deployed = this.#deployedNow('today')
    this.object = new PoolObject(this.#deployed.config, this.time, this.#draw, witness)
  }

  isolates = (): readonly Isolate[] => this.#all

  get isTold(): boolean {
    return [...this.#alerts.to.values()].some((names) => names.length > 0)
  }

  carryOut(what: Happening): void {
    if (what.kind !== 'request') this.#count(what.kind)
    switch (what.kind) {
      case 'request':
        this.#sendAs(what, what.again)
        break
      case 'operator':
        void this.#order(what.order)
        break
      case 'steering':
        void this.#steer(what.order)
        break
      case 'upstream':
        this.openRouter.begin(what.trouble)
        this.time.objectTimer(what.forMs, () => this.openRouter.end(what.trouble))
        break
      case 'crash':
        this.object.crash(what.when)
        break
      case 'eviction':
        this.object.evict()
        break
      case 'deployment':
        this.#deploy(what.change, what.release)
        break
      case 'death':
        this.#kill(what.isolate)
        break
      case 'silence':
        this.#isolateAt(what.isolate).silentUntilMs = this.time.nowMs() + what.forMs
        break
      case 'line':
        Object.assign(this.object.line, {
          slow: what.slow,
          lost: what.lost,
          repeated: what.repeated,
        })
        this.time.objectTimer(what.forMs, () =>
          Object.assign(this.object.line, { slow: 0, lost: 0, repeated: 0 }),
        )
        break
      case 'cron':
        this.#isolateAt(0)
          .carryOutDuties()
          .catch((error: unknown) => this.#witness.bug(error))
    }
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }

  #options(): WorldOptions {
    const clients = this.plan.clients === null ? {} : { clients: this.plan.clients }
    return {
      ...this.plan.options,
      maxAttempts: this.plan.maxAttempts,
      lookups: 'routine',
      pool: { ...this.plan.options.pool, alerts: this.#alerts },
      ...clients,
    }
  }

  #deployedNow(release: Release): Deployed {
    const keys: UpstreamKey[] = this.#keys
      .filter(({ id }) => !this.#removed.has(id))
      .map((spec) => {
        const secret = this.openRouter.keys.get(spec.id)?.secret ?? secretOf(spec.id)
        return { ...upstreamKey({ ...spec, fingerprint: secret }), secret }
      })
    const config: PoolConfig = poolConfig(keys, this.#options())
    return { config, keys, release }
  }

  #deploy(change: Change, release: Release): void {
    this.#change(change)
    this.#deployed = this.#deployedNow(release)
    this.#objectRelease = this.#draw.of<Release>(['today', release])
    this.#old = { isolates: this.#isolates, untilMs: this.time.nowMs() + OLD_ISOLATES_MS }
    this.#isolates = new Map()
    this.object.deploy(this.#deployed.config)
  }

  #change(change: Change): void {
    switch (change.kind) {
      case 'none':
        return
      case 'secret': {
        const record = this.openRouter.keys.get(change.key)
        this.#secrets += 1
        if (record !== undefined) record.secret = secretOf(`${change.key}-${this.#secrets}`)
        return
      }
      case 'removed':
        if (change.removed && this.#removed.size + 1 < this.#keys.length) {
          this.#removed.add(change.key)
        } else this.#removed.delete(change.key)
        return
      case 'disabled':
      case 'limit': {
        const { kind: _kind, key, ...fields } = change
        this.#keys = this.#keys.map((spec) => (spec.id === key ? { ...spec, ...fields } : spec))
      }
    }
  }

  #isolateAt(number: number): Isolate {
    const old = this.#old
    const isOld = old !== null && this.time.nowMs() < old.untilMs && this.#draw.chance(0.3)
    const before = isOld ? old.isolates.get(number) : undefined
    if (before?.isAlive) return before
    const known = this.#isolates.get(number)
    if (known !== undefined) return known
    const name = `i${number}-${this.#all.length}`
    const isolate = createIsolate(name, this.#deployed, {
      time: this.time,
      random: this.#draw.unit,
      fetch: (url, init) => this.openRouter.fetch(url, init),
      object: this.object,
      kv: this.#kv,
      objectRelease: () => this.#objectRelease,
      deliver: this.#deliver,
    })
    this.#all.push(isolate)
    this.#isolates.set(number, isolate)
    return isolate
  }

  #kill(number: number): void {
    const isolate = this.#isolates.get(number)
    if (isolate === undefined) return
    isolate.isAlive = false
    this.#isolates.delete(number)
    for (const request of this.#requests.values()) {
      if (request.isolate !== isolate) continue
      for (const { record } of request.calls) record.isOpen = false
      this.#requests.delete(request.id)
    }
  }

  /**
   * An operator tries until it is done. From the answer on a key is known to be halted, whatever happens
   * to the object, until somebody tries to resume it: calls may overtake each other.
   */
  async #steer(order: SteeringOrder): Promise<void> {
    const { kind, keyId } = order
    if (kind === 'resume') {
      this.halted.delete(keyId)
      this.#resuming.push(keyId)
    }
    const before = this.#resuming.length
    const line = this.object.client(this.time.objectTimer, () => true)
    let answer = await line.control({ order, by: 'operator' })
    while (answer.kind === 'unavailable') {
      await new Promise<void>((resolve) => void this.time.objectTimer(1_000, resolve))
      answer = await line.control({ order, by: 'operator' })
    }
    this.#count(`order: ${kind}`)
    if (kind === 'resume') this.#resumed.push(keyId)
    const isResumed = this.#resuming.slice(before).includes(keyId)
    const isAlone = countOf(this.#resuming, keyId) === countOf(this.#resumed, keyId)
    // A key that is not configured now cannot be halted.
    if (answer.value?.kind !== 'steered' || kind === 'resume' || kind === 'reset') return
    if (isAlone && !isResumed) this.halted.add(keyId)
  }

  /** An operator tries until it is done. */
  async #order(order: ClientsOrder): Promise<void> {
    const line = this.object.client(this.time.objectTimer, () => true)
    const answer = await line.manageClients({ order, by: 'operator' })
    if (answer.kind === 'unavailable') {
      this.time.objectTimer(1_000, () => void this.#order(order))
      return
    }
    this.#count(`order: ${order.kind}`)
    this.#witness.ordered(order, answer.value)
  }

  /** Lets a client in that the isolate knows, or learns of. */
  #sendAs(plan: RequestPlan, again: number): void {
    const { clients } = this.plan
    const isolate = this.#isolateAt(plan.isolate)
    const id = clientId(plan.client)
    const terms = clients?.clients.find((client) => client.id === id)
    if (clients === null) this.#send(plan, again, isolate, callerWithoutLimits(id))
    else if (terms !== undefined) {
      const group = clients.groups.find((one) => one.id === terms.groupId) ?? null
      this.#send(plan, again, isolate, callerOf(terms, group))
    } else {
      isolate.findClient(tokenHashOf(id)).then(
        (found) => {
          if (!isolate.isAlive) return
          if (found.kind === 'known') this.#send(plan, again, isolate, found.caller)
          else this.#count(`client key: ${found.kind}`)
        },
        (error: unknown) => this.#witness.bug(error),
      )
    }
  }

  #send(plan: RequestPlan, again: number, isolate: Isolate, caller: Caller): void {
    this.#sent += 1
    this.#count(plan.isOfBatch ? 'lines of batches' : 'requests')
    const id = `r${this.#sent}`
    const leaving = new AbortController()
    const { model, tokens, fallbacks, conversation } = plan
    const talk =
      conversation === null ? {} : { affinity: { kind: 'conversation', id: conversation } as const }
    const units = plan.units ?? undefined
    const { priced } = plan
    const body = JSON.stringify({ model, user: id, stream: true, bad: plan.isBad, units, priced })
    const given = {
      model,
      fallbacks,
      body,
      ...talk,
      tokens,
      promptTokens: tokens,
      ...(plan.isOfBatch ? { class: 'batch' as const } : {}),
      signal: leaving.signal,
    }
    const asked = requestOf(
      given,
      this.#options(),
      isolate.deployed.config.routes,
      this.time.nowMs(),
    )
    const context = isolate.context((leased) => this.#noteLease(id, leased))
    const journey = startJourney(context, {
      ...asked,
      caller,
      ...(caller.budget === null && !hasSpendLimits(isolate.deployed) ? {} : costOf(plan, asked)),
    })
    const request: SimulatedRequest = {
      ...{ id, plan, isolate, sentAtMs: this.time.nowMs() },
      client: readAlong(journey.response, this.time, 'along'),
      ...{ leased: [], calls: [], report: null, endedAtMs: null },
    }
    this.#requests.set(id, request)
    journey.finished.then(
      (report) => this.#end(request, report, again),
      (error: unknown) => isolate.isAlive && this.#witness.bug(error),
    )
    if (plan.leavesAfterMs === null) return
    this.time.objectTimer(plan.leavesAfterMs, () => {
      leaving.abort()
      request.client.cancel().catch(() => undefined)
    })
  }

  #end(request: SimulatedRequest, report: JourneyReport, again: number): void {
    if (!request.isolate.isAlive) return
    request.report = report
    request.endedAtMs = this.time.nowMs()
    this.#count(report.outcome)
    const refusal = report.error?.reason
    if (refusal !== undefined && this.plan.clients !== null) this.#count(`error: ${refusal}`)
    if (report.degraded) this.#count('degraded')
    for (const { row } of report.attempts) if (row !== null) this.#count(`row ${row}`)
    this.#witness.ended(request)
    this.#requests.delete(request.id)
    if (report.outcome !== 'failed' || again === 0) return
    this.time.objectTimer(this.#draw.int(200, 4_000), () => this.#sendAs(request.plan, again - 1))
  }

  #noteLease(id: string, leased: Leased): void {
    const request = this.#requests.get(id)
    if (request === undefined || !request.isolate.isAlive) return
    this.#count(leased.leaseId === null ? 'leases without the pool' : 'leases')
    if (leased.leaseId?.includes(':')) this.#count('leases from stock')
    request.leased.push({ leased, atMs: this.time.nowMs(), life: this.object.life })
    this.#witness.leased(request, leased)
  }

  #noteCall(call: ChatCall): void {
    const request = this.#requests.get(call.request)
    if (request === undefined) return
    request.calls.push(call)
    this.#witness.called(request, call)
  }
}

function hasSpendLimits({ config }: Deployed): boolean {
  return config.keys.some(({ maxSpend }) => maxSpend !== null)
}

/** The most that a request can cost, as prices and its own limits tell; null if they do not. */
function costOf(
  { units = null, priced }: RequestPlan,
  { models, timeouts, startedAtMs }: InferenceRequest,
): Pick<InferenceRequest, 'cost'> {
  if (priced !== undefined) {
    const bound = boundNanos(priced, models, timeouts.totalMs, startedAtMs)
    return { cost: () => ({ nanos: bound, isPending: false }) }
  }
  const nanos = units === null ? null : nanosOf(COST_USD * units)
  return { cost: () => ({ nanos, isPending: false }) }
}

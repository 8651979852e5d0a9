import type { Counters, Tally } from '../../src/balancing/accounting/ledger.ts'
import { isActive } from '../../src/balancing/health/bench.ts'
import { asOf, type Breaker } from '../../src/balancing/health/circuit-breaker.ts'
import { leaseId } from '../../src/balancing/ids.ts'
import type { Refusal } from '../../src/balancing/lease-request.ts'
import type { Lease } from '../../src/balancing/limits/leases.ts'
import { type Meter, roomAtMs, shareUsed } from '../../src/balancing/limits/meter.ts'
import { WINDOW_MS } from '../../src/balancing/limits/sliding-window.ts'
import type { KeyState } from '../../src/balancing/pool-state.ts'
import { createQueue } from '../../src/balancing/queue/waiting-queue.ts'
import { routeOf, selectModel } from '../../src/balancing/selection.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import { ExactMinute } from './exact-minute.ts'
import { disagreements } from './filter-agreement.ts'
import { isTooLarge, keysFor } from './grant-rules.ts'
import { idleKeys } from './idle-keys.ts'
import type { Issued } from './issued-lease.ts'
import type { AnyPool } from './pool-arbitraries.ts'
import {
  type Ask,
  drivePool,
  type KeySpec,
  leaseRequestOf,
  type PoolDriver,
  START_MS,
} from './pool-driver.ts'
import type { Waiter } from './queue/queue-model.ts'

/** How much too long the pool's meters may count an amount. They may never count it too short. */
const METER_ERROR_MS = 100

interface Booked {
  attempts: number
  tokens: number
  costUsd: number
}

/** Keeps its own books about a pool from outside, and finds where the pool disagrees with them. */
export class PoolAudit {
  readonly #config: AnyPool
  readonly #pool: PoolDriver
  readonly #minutes: ReadonlyMap<string, ExactMinute>
  readonly #booked: ReadonlyMap<string, Booked>
  readonly #initialRetryTokens: number
  readonly #askedAtMs = new Map<string, number[]>()
  readonly #doubtedAtMs = new Map<string, number>()
  #found: string[] = []
  #requests = 0
  #retries = 0
  #forgotten = 0

  constructor(config: AnyPool, pool: PoolDriver) {
    this.#config = config
    this.#pool = pool
    this.#minutes = new Map(config.keys.map(({ id }) => [id, new ExactMinute()]))
    this.#booked = new Map(
      config.keys.map(({ id }) => [id, { attempts: 0, tokens: 0, costUsd: 0 }]),
    )
    this.#initialRetryTokens = pool.state.retryBudget.ceiling.tokens
  }

  granted(lease: Lease, request: Ask): void {
    const nowMs = this.#pool.now()
    // A batch's retries are paid from a budget of its own.
    const isOfBatch = request.class === 'batch'
    if (request.attempt === 'first' && !isOfBatch) this.#requests += 1
    // A lease for another model is not a retry of the failed one.
    const isRetry = request.attempt === 'retry' && lease.model === request.models?.[0]
    if (isRetry && !isOfBatch) this.#retries += 1
    const minute = this.#minutes.get(lease.keyId)
    minute?.grant(lease.id, request.tokens ?? 0, nowMs)
    const taken = minute?.since(nowMs - WINDOW_MS)
    const { rpm, tpm } = this.#specOf(lease.keyId)
    this.#expect((taken?.requests ?? 0) <= (rpm ?? Infinity), `${lease.keyId} is over its rpm`)
    this.#expect((taken?.tokens ?? 0) <= (tpm ?? Infinity), `${lease.keyId} is over its tpm`)
  }

  /** @param isKnown whether the pool still knows the lease */
  settled(issued: Issued, told: Partial<Settlement>, isKnown: boolean): void {
    const nowMs = this.#pool.now()
    const { usage, outcome, fault } = told
    const tokens = usage === undefined ? 0 : usage.promptTokens + usage.completionTokens
    const booked = this.#booked.get(issued.keyId)
    if (booked === undefined) return
    booked.attempts += 1
    booked.tokens += tokens
    booked.costUsd += usage?.costUsd ?? 0
    if (told.suspect) this.#doubtedAtMs.set(issued.keyId, nowMs)
    if (!isKnown) this.#forgotten += 1
    // Without a usage the reserved tokens count as used, unless the attempt failed.
    const isTold = usage !== undefined || !(outcome === 'success' || fault === 'nobody')
    if (isKnown && isTold) this.#minutes.get(issued.keyId)?.correct(issued.lease, tokens, nowMs)
  }

  /** Notes that OpenRouter was asked about a key. */
  asked(id: string): void {
    const nowMs = this.#pool.now()
    const { refreshMs } = this.#pool.state.policy.credit
    const before = this.#askedAtMs.get(id) ?? []
    const recent = before.filter((atMs) => atMs > nowMs - refreshMs)
    const [last = Number.NEGATIVE_INFINITY] = before.slice(-1)
    const doubted = this.#doubtedAtMs.get(id) ?? Number.NEGATIVE_INFINITY
    // A reset has the key verified, as a 401 does.
    const isDoubted = Math.max(doubted, this.#pool.key(id).reset?.atMs ?? 0) >= last
    this.#expect(recent.length === 0 || isDoubted, `${id} was looked up too soon`)
    this.#expect(recent.length <= 1, `${id} was looked up too often`)
    this.#askedAtMs.set(id, [...before, nowMs])
  }

  breakerOf(key: KeyState): Breaker {
    return asOf(key.breaker, this.#pool.now())
  }

  /**
   * The faults that exist now, and those that were found since the last call.
   * @param isServed whether the waiters have already got the free keys
   */
  faults(
    live: readonly Issued[],
    waiting: readonly Waiter[],
    isServed: boolean,
  ): readonly string[] {
    for (const key of this.#pool.state.keys.values()) {
      this.#checkLoad(key, live)
      this.#checkMeter(key, key.rpm, 'requests')
      this.#checkMeter(key, key.tpm, 'tokens')
      this.#checkCredit(key)
    }
    this.#checkRetryBudget()
    this.#checkBooks()
    this.#checkAffinities()
    this.#checkQueue(waiting)
    this.#found.push(...disagreements(this.#pool.state, this.#pool.now()))
    if (isServed) this.#checkIdle(waiting)
    const found = this.#found
    this.#found = []
    return found
  }

  #expect(holds: boolean, otherwise: string): void {
    if (!holds) this.#found.push(otherwise)
  }

  #specOf(id: string): KeySpec {
    return this.#config.keys.find((spec) => spec.id === id) ?? { id }
  }

  #checkLoad(key: KeyState, live: readonly Issued[]): void {
    const out = live.filter(({ keyId }) => keyId === key.id)
    this.#expect(
      key.inFlight === out.length,
      `${key.id}: ${key.inFlight} of ${out.length} in flight`,
    )
    const limit = this.#specOf(key.id).maxConcurrent ?? Number.POSITIVE_INFINITY
    this.#expect(out.length <= limit, `${key.id} is over its limit`)
    if (key.breaker.kind !== 'half_open' || key.breaker.probe === null) return
    const { probe } = key.breaker
    this.#expect(
      out.some(({ lease }) => lease === probe),
      'a probe is out that nobody holds',
    )
  }

  /** A meter counts all of the last minute, and nothing that is a tenth of a second older. */
  #checkMeter({ id }: KeyState, meter: Meter | null, what: 'requests' | 'tokens'): void {
    if (meter === null) return
    const nowMs = this.#pool.now()
    const minute = this.#minutes.get(id)
    const counted = Math.round(shareUsed(meter, nowMs) * meter.limit)
    const least = minute?.since(nowMs - WINDOW_MS)[what] ?? 0
    const most = minute?.since(nowMs - WINDOW_MS - METER_ERROR_MS)[what] ?? 0
    const { slots, total } = meter.window
    this.#expect(counted >= least, `${id} forgets ${what}: ${counted} of ${least}`)
    this.#expect(counted <= most, `${id} invents ${what}: ${counted} for ${most}`)
    this.#expect(
      slots.every(({ amount }) => amount >= 0),
      `${id} counts below zero`,
    )
    const sum = slots.reduce((all, { amount }) => all + amount, 0)
    this.#expect(sum === total, `${id} has a total that is no sum`)
  }

  #checkCredit({ id, credit }: KeyState): void {
    if (credit.kind === 'unknown' || credit.remainingUsd === null) return
    this.#expect(credit.remainingUsd >= 0, `${id} owes money`)
    this.#expect(
      credit.limitUsd === null || credit.remainingUsd <= credit.limitUsd,
      `${id} has more left than its cap`,
    )
  }

  #checkRetryBudget(): void {
    const { retryBudget, policy } = this.#pool.state
    const { ratio, minPerSecond } = policy.retryBudget
    const dripped = ((this.#pool.now() - START_MS) / 1000) * minPerSecond
    // The ceiling over all models is twice what one model has.
    const paid = this.#initialRetryTokens + 2 * (ratio * this.#requests + dripped) + 1e-6
    this.#expect(this.#retries <= paid, 'retries passed their budget')
    this.#expect(retryBudget.ceiling.tokens >= 0, 'the retry budget is overdrawn')
  }

  #checkBooks(): void {
    const { all, byKey, byModel, byClient } = this.#pool.state.ledger
    for (const [id, tally] of byKey) {
      const same = JSON.stringify(bookedIn([tally])) === JSON.stringify(this.#booked.get(id))
      this.#expect(same, `the books of ${id} are not what was settled`)
    }
    const [keys, models, clients] = [byKey, byModel, byClient].map((tallies) =>
      JSON.stringify(bookedIn(tallies.values())),
    )
    this.#expect(keys === JSON.stringify(bookedIn([all])), 'the books by key and in all disagree')
    this.#expect(models === clients, 'the books by model and by client disagree')
    this.#expect(this.#forgotten > 0 || keys === models, 'the books by key and by model disagree')
  }

  #checkAffinities(): void {
    const { young, old, loads } = this.#pool.state.affinities
    const homes = [...young.values(), ...old.values()]
    for (const [account, load] of loads) {
      const at = homes.filter((home) => home.account === account).length
      this.#expect(
        load.youngHomes + load.oldHomes === at,
        `${account} is home to ${at} by its homes`,
      )
      this.#expect(load.recent >= 0, `${account} has had less than no requests`)
    }
  }

  #checkQueue(waiting: readonly Waiter[]): void {
    const { state } = this.#pool
    this.#expect(state.queue.size <= state.policy.queue.maxWaiting, 'the queue is over its bound')
    for (const { lease } of waiting) {
      this.#expect(state.queue.waiters.has(leaseId(lease)), `${lease} lost its place`)
    }
    for (const [key, { request }] of state.queue.claims) {
      const { leaseId: id } = request
      this.#expect(
        waiting.some(({ lease }) => lease === id),
        `${key} is kept for ${id}, who does not wait`,
      )
    }
  }

  #checkIdle(waiting: readonly Waiter[]): void {
    const step = { state: this.#pool.state, nowMs: this.#pool.now() }
    const waiters = waiting.map(({ lease, request, deadlineMs }) => ({
      request: { ...leaseRequestOf(request, lease), leaseId: leaseId(lease) },
      deadlineMs,
    }))
    this.#found.push(...idleKeys(step, waiters))
  }

  /** What is wrong with a refusal that the pool just gave. */
  faultsOfRefusal(refusal: Refusal, request: Ask): string[] {
    const nowMs = this.#pool.now()
    const { retryAtMs, reasons, cause } = refusal
    if (cause !== 'no_key') return []
    const faults: string[] = []
    const expect = (holds: boolean, otherwise: string) => {
      if (!holds) faults.push(otherwise)
    }
    expect(retryAtMs === null || retryAtMs > nowMs, 'a refusal named a moment that is past')
    const counted = Object.values(reasons).reduce((sum, count) => sum + count, 0)
    expect(counted === this.#config.keys.length, 'a refusal did not account for every key')
    const { state } = this.#pool
    const route = keysFor(request, [...state.keys.values()], this.#config.setup)
    const outside = state.keys.size - route.length
    expect((reasons.not_in_route ?? 0) === outside, 'a refusal is of another route')
    if (retryAtMs === null || !this.#isForeseeable(request, retryAtMs)) return faults
    expect(!this.#wouldGrantAt(retryAtMs - 1, request), 'a key was free before the moment named')
    expect(this.#wouldGrantAt(retryAtMs, request), 'no key was free at the moment named')
    return faults
  }

  /** Whether `retryAtMs` is exact. If it depends on running requests or lookups, it is a guess. */
  #isForeseeable(request: Ask, retryAtMs: number): boolean {
    const { state } = this.#pool
    const nowMs = this.#pool.now()
    const isPersonal = (request.tried?.length ?? 0) + (request.notAccounts?.length ?? 0) > 0
    if (isPersonal || request.attempt === 'retry' || state.queue.size > 0) return false
    const keys = keysFor(request, [...state.keys.values()], this.#config.setup)
    // A key at a limit still counts for panic. So panic may begin or end before a key is free.
    const isBroken = keys.some(({ breaker }) => breaker.kind !== 'closed')
    const isLimited = keys.some(
      ({ rpm, tpm, ...key }) =>
        isTooLarge(key, request, nowMs) ||
        (rpm !== null && roomAtMs(rpm, 1, nowMs) !== nowMs) ||
        (tpm !== null && roomAtMs(tpm, request.tokens ?? 0, nowMs) !== nowMs),
    )
    if (state.policy.panicRatio > 0 && isBroken && isLimited) return false
    if (this.#mayEndByLookup(request, retryAtMs)) return false
    return keys.every((key) => {
      const { inFlight, config, breaker, credit, account } = key
      const isOfBatch = request.class === 'batch' && key.batch.inFlight > 0
      const isFull =
        isOfBatch || (config.maxConcurrent !== null && inFlight >= config.maxConcurrent)
      const isProbed = breaker.kind === 'half_open' && breaker.probe !== null
      const runsOnCredit = inFlight > 0 && credit.kind === 'known' && credit.remainingUsd !== null
      const ofGroups = [key.creator?.bench ?? null, key.workspace?.bench ?? null]
      const ofModels = [...account.modelBenches.values()]
      const lapses = [key.bench, account.bench, account.freeBench, ...ofGroups, ...ofModels]
        .filter((bench) => isActive(bench, nowMs))
        .some(({ cure, untilMs }) => cure === 'lookup' && untilMs !== null && untilMs < retryAtMs)
      const runsOnSpend = inFlight > 0 && key.spend !== null
      return !(isFull || isProbed || runsOnCredit || runsOnSpend || lapses)
    })
  }

  /** Whether a key may be free at that moment only because of what a lookup shows until then. */
  #mayEndByLookup(request: Ask, retryAtMs: number): boolean {
    const { state } = this.#pool
    const asked = leaseRequestOf(request, 'imagined')
    const step = { state, nowMs: this.#pool.now() }
    const selected = selectModel(step, routeOf(state, asked), asked)
    if (selected.kind === 'served') return false
    return selected.models
      .flatMap(({ filtered }) => filtered.excluded)
      .flatMap(({ exclusions }) => exclusions)
      .some(({ byLookup, clearsAtMs }) => byLookup && (clearsAtMs ?? 0) > retryAtMs)
  }

  #wouldGrantAt(atMs: number, request: Ask): boolean {
    const twin = drivePool([])
    Object.assign(twin.state, structuredClone(this.#pool.state), { queue: createQueue() })
    twin.at(atMs)
    return twin.ask({ ...request, lease: 'imagined', waitMs: 0 }).kind === 'grant'
  }
}

function bookedIn(tallies: Iterable<Tally>): Booked {
  const totals: readonly Counters[] = [...tallies].map(({ total }) => total)
  return {
    attempts: totals.reduce((sum, { attempts }) => sum + attempts, 0),
    tokens: totals.reduce((sum, total) => sum + total.promptTokens + total.completionTokens, 0),
    costUsd: totals.reduce((sum, { costUsd }) => sum + costUsd, 0),
  }
}

/** A state in the form of plain JSON, so that two states can be compared by value. */
export function plain(value: unknown): unknown {
  if (value instanceof Map) return [...value].map(([name, entry]) => [name, plain(entry)])
  if (value instanceof Set) return [...value]
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, plain(entry)]))
}

import { accountId, keyId, leaseId, modelId } from '../../src/balancing/ids.ts'
import type { Decision, Grant, Refusal } from '../../src/balancing/lease-request.ts'
import { hasEnded, type Lease } from '../../src/balancing/limits/leases.ts'
import { roomAtMs } from '../../src/balancing/limits/meter.ts'
import { giveBack } from '../../src/balancing/limits/sliding-window.ts'
import { STEERING } from '../../src/balancing/operators/steering.ts'
import { report, wakeAtMs } from '../../src/balancing/pool.ts'
import type { KeyState } from '../../src/balancing/pool-state.ts'
import { takeLookupDuties } from '../../src/balancing/serving/duty-hand-out.ts'
import { letTimePass } from '../../src/balancing/serving/lease-end.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import { faultsOf, type Granted } from './grant-rules.ts'
import { type Issued, isLive, sized } from './issued-lease.ts'
import { orderOnly } from './operators/operator-order.ts'
import {
  type AnyPool,
  at,
  type Hint,
  keyReportOf,
  requestOf,
  settlementOf,
} from './pool-arbitraries.ts'
import { PoolAudit, plain } from './pool-audit.ts'
import { type Ask, drivePool, type PoolDriver } from './pool-driver.ts'
import { lostPlaces, sharesOfQueue } from './queue/place-rules.ts'
import { type Waiter, Waiters } from './queue/queue-model.ts'
import { seededRandom } from './seeded-random.ts'
import { BatchAudit, isOfBatch } from './serving/batch-audit.ts'

/** How long the pool must remember that a lease has ended. */
const REMEMBERED_MS = 120_000

/** How long the pool keeps a lease for its waiter. */
const PICK_UP_MS = 5_000

/** How often a waiter's Worker asks for the decision. */
const ASK_AGAIN_MS = 1_000

/** How often the pool may wake by itself while time passes. Twelve times is the most that it needs. */
const MAX_WAKES = 100

/** One history of one pool, next to a much simpler model of what the pool may do. */
export class PoolWalk {
  static on(pool: AnyPool, seed: number): PoolWalk {
    return new PoolWalk(pool, drivePool(pool.keys, pool.setup, seededRandom(seed)))
  }

  readonly pool: PoolDriver
  readonly transcript: unknown[] = []
  /** What this history has reached: the reasons of its refusals, and some rare events. */
  readonly met = new Set<string>()
  readonly #config: AnyPool
  readonly #audit: PoolAudit
  readonly #batch: BatchAudit
  readonly #waiters = new Waiters()
  readonly #issued = new Map<string, Issued>()
  readonly #faults: string[] = []
  #isServed = true

  constructor(config: AnyPool, pool: PoolDriver) {
    this.#config = config
    this.pool = pool
    this.#audit = new PoolAudit(config, pool)
    this.#batch = new BatchAudit(config, pool)
  }

  /** Everything that the pool did and must not do. */
  faults(): readonly string[] {
    return this.#faults
  }

  step(hint: Hint): void {
    this.#carryOut(hint)
    // The pool's object serves its queue at the end of each exchange. One exchange may hold several
    // things, for example a settlement and a lease request.
    this.#isServed = hint.what !== 'settle' || hint.pick % 2 === 0
    if (this.#isServed) this.#watch(null, () => this.pool.wake())
  }

  #carryOut(hint: Hint): void {
    switch (hint.what) {
      case 'ask':
        this.#ask(requestOf(hint, `asked:${this.transcript.length}`), hint.detail % 6 === 0)
        break
      case 'ask-again':
        this.#askAgain(hint)
        break
      case 'settle':
        this.#settle(hint)
        break
      case 'settle-twice':
        this.#settleTwice(hint)
        break
      case 'wait':
        this.#pass(hint.detail % 8 === 0 ? 400_000 : hint.detail % 20_000)
        break
      case 'pause':
        this.#pass(hint.detail % 1_500)
        break
      case 'look-up':
        this.#lookUp(hint)
        break
      case 'leave':
        this.#leave(hint)
        break
      case 'order':
        this.#order(hint)
        break
    }
  }

  /** All Workers go away: no lease is settled, and no waiter asks again. */
  stopTraffic(): void {
    this.pool.wait(10 ** 6)
    this.pool.wake()
  }

  check(): void {
    letTimePass(this.pool.state, this.pool.now())
    const nowMs = this.pool.now()
    const live = [...this.#issued.values()].filter((issued) => isLive(issued, nowMs))
    for (const what of this.#audit.faults(live, this.#waiters.alive(nowMs), this.#isServed))
      this.#blame(what)
    for (const what of this.#batch.countFaults(live)) this.#blame(what)
  }

  #blame(what: string): void {
    this.#faults.push(`step ${this.transcript.length}: ${what}`)
  }

  #fault(holds: boolean, what: string): void {
    if (!holds) this.#blame(what)
  }

  /** Does something that may grant leases, and checks each lease that it granted. */
  #watch<T>(request: Ask | null, act: () => T): T {
    const { state } = this.pool
    const nowMs = this.pool.now()
    letTimePass(state, nowMs)
    const before = [...structuredClone(state.keys).values()]
    const done = act()
    const granted = [...state.leases.live.values()].filter(
      (lease) => this.#issued.get(lease.id)?.grantedAtMs !== lease.grantedAtMs,
    )
    const probed = new Set<string>()
    for (const lease of granted) {
      const waited = this.#waiters.of(lease.id)
      const asked = waited?.request ?? request
      if (asked === null) this.#blame('a lease was granted that nobody asked for')
      else this.#checkGrant(lease, asked, before, probed)
      this.#fault(
        waited === undefined || nowMs < waited.deadlineMs,
        'a key came after the deadline',
      )
      if (waited !== undefined) this.met.add('waited')
      this.#waiters.remove(lease.id)
    }
    return done
  }

  #checkGrant(lease: Lease, request: Ask, keys: readonly KeyState[], probed: Set<string>): void {
    const nowMs = this.pool.now()
    const { model, panic } = lease
    const granted = { keyId: lease.keyId, model, panic, request, keys, nowMs }
    for (const fault of faultsOf(granted, this.#config)) this.#blame(fault)
    const { breaker } = this.pool.key(lease.keyId)
    if (breaker.kind === 'half_open' && !panic) {
      this.#fault(!probed.has(lease.keyId), 'two probes were let through at once')
      probed.add(lease.keyId)
    }
    for (const older of this.#waiters.before(lease.id, nowMs)) {
      this.#fault(
        !this.#couldUse(older, lease, granted),
        `${lease.id} has what ${older.lease} waits for`,
      )
    }
    const waited = this.#waiters.of(lease.id)
    const known = this.#issued.get(lease.id)
    this.#fault(known === undefined || this.#isForgotten(known), 'an ended lease was granted again')
    if (panic) this.met.add('panic')
    if (model !== request.models?.[0]) this.met.add('fallback')
    this.#audit.granted(lease, request)
    const before = keys.find(({ id }) => id === lease.keyId)
    const isWaiter = waited !== undefined
    for (const fault of this.#batch.granted(lease, request, before, isWaiter)) this.#blame(fault)
    if (isOfBatch(request)) this.met.add('batch')
    this.#issued.set(lease.id, {
      lease: lease.id,
      keyId: lease.keyId,
      request,
      grantedAtMs: nowMs,
      silent: waited?.silent ?? false,
      grant: null,
      expiresAtMs: nowMs + PICK_UP_MS,
      settledAtMs: null,
    })
  }

  /**
   * Whether a key that was granted could have been of use to a waiter within his time. A retry is
   * left out, because it may wait for the retry budget.
   */
  #couldUse({ request, deadlineMs }: Waiter, lease: Lease, granted: Granted): boolean {
    if (request.attempt === 'retry') return false
    const isAllowed = (request.models ?? []).some((model) =>
      [true, false].some(
        (panic) => faultsOf({ ...granted, request, model, panic }, this.#config).length === 0,
      ),
    )
    const { tpm } = this.pool.key(lease.keyId)
    if (!isAllowed || tpm === null) return isAllowed
    const nowMs = this.pool.now()
    const before = structuredClone(tpm)
    giveBack(before.window, lease.tokens, nowMs, nowMs)
    const freeAtMs = roomAtMs(before, request.tokens ?? 0, nowMs)
    return freeAtMs !== null && freeAtMs < deadlineMs
  }

  #isForgotten({ settledAtMs, expiresAtMs }: Issued): boolean {
    return this.pool.now() - (settledAtMs ?? expiresAtMs) > REMEMBERED_MS
  }

  #ask(request: Ask, silent: boolean): void {
    this.#batch.asked(request)
    const answer = this.#askFor(request)
    this.transcript.push(answer)
    this.#take(request, answer, silent)
  }

  /** Who lost his place to the request is known before the keys that this freed are looked at. */
  #askFor(request: Ask): Decision {
    const before = sharesOfQueue(this.pool.state)
    return this.#watch(request, () => {
      const answer = this.pool.ask(request)
      const { lost, faults } = lostPlaces(this.pool.state, before, request)
      for (const fault of faults) this.#blame(fault)
      for (const lease of lost) this.#waiters.displace(lease)
      if (lost.length > 0) this.met.add('displaced')
      return answer
    })
  }

  /** What a Worker does with a decision. */
  #take(request: Ask, answer: Decision, silent: boolean): void {
    const nowMs = this.pool.now()
    const lease = request.lease ?? ''
    switch (answer.kind) {
      case 'grant': {
        const issued = this.#issued.get(lease)
        if (issued === undefined) {
          this.#blame('a grant of which there is no lease')
          return
        }
        const held = issued.grant ?? answer
        this.#fault(held.keyId === answer.keyId, 'one lease id holds two leases')
        this.#fault(issued.keyId === answer.keyId, 'a grant names another key than its lease')
        if (issued.grant === null) issued.expiresAtMs = nowMs + (request.leaseMs ?? 0)
        issued.grant = answer
        return
      }
      case 'waiting': {
        this.#fault(!isOfBatch(request), 'a batch waits in the queue')
        this.#batch.lacked(request)
        const { maxWaitMs } = this.pool.state.policy.queue
        const deadlineMs = nowMs + Math.min(request.waitMs ?? 0, maxWaitMs)
        this.#fault(deadlineMs > nowMs, 'somebody waits who did not want to')
        this.#waiters.add({
          lease,
          request,
          deadlineMs,
          silent,
          lastPolledAtMs: nowMs,
          isDisplaced: false,
        })
        return
      }
      case 'refusal':
        if (answer.cause === 'no_key' && !isOfBatch(request)) this.#batch.lacked(request)
        this.#checkRefusal(answer, request)
    }
  }

  #askAgain({ pick }: Hint): void {
    const issued = at([...this.#issued.values()], pick)
    if (issued === undefined || this.#waiters.of(issued.lease) !== undefined) return
    const { request } = issued
    const nowMs = this.pool.now()
    const wasLive = isLive(issued, nowMs)
    const answer = this.#askFor(request)
    this.transcript.push(answer)
    if (wasLive) this.#fault(answer.kind === 'grant', 'a live lease was refused to its holder')
    else if (answer.kind === 'refusal' && answer.cause === 'ended') return
    else this.#fault(this.#isForgotten(issued), 'an ended lease was asked for with success')
    // The pool has forgotten the lease, so the request waits like a new one.
    if (answer.kind === 'waiting') this.#issued.delete(issued.lease)
    this.#take(request, answer, true)
  }

  #settle({ pick, detail }: Hint): void {
    const open = [...this.#issued.values()].filter(
      ({ settledAtMs, grant }) => settledAtMs === null && grant !== null,
    )
    const issued = at(open, pick)
    if (issued === undefined || issued.grant === null) return
    const key = this.pool.key(issued.keyId)
    const wasProbe = key.breaker.kind === 'half_open'
    const healthBefore = this.#health(key)
    const told = sized(settlementOf(detail, this.pool.now()), issued)
    this.#end(issued, issued.grant, told)
    this.transcript.push(told)
    if (told.fault === 'caller' && !wasProbe) {
      this.#fault(this.#health(key) === healthBefore, 'a caller’s mistake marked a key')
    }
  }

  #end(issued: Issued, grant: Grant, told: Partial<Settlement>): void {
    const { state } = this.pool
    letTimePass(state, this.pool.now())
    const id = leaseId(issued.lease)
    const isKnown = state.leases.live.has(id) || hasEnded(state.leases, id)
    issued.settledAtMs = this.pool.now()
    this.#audit.settled(issued, told, isKnown)
    if (isKnown) this.#batch.settled(issued.keyId, issued.lease, told)
    this.#watch(null, () => this.pool.give(grant, told))
  }

  /** The health of a key as of now, as text. */
  #health(key: KeyState): string {
    const { bench, strikes, lookup, credit, latency } = key
    const { load: _load, ...account } = key.account
    letTimePass(this.pool.state, this.pool.now())
    const breaker = this.#audit.breakerOf(key)
    return JSON.stringify(plain([breaker, bench, strikes, lookup, credit, latency, account]))
  }

  #settleTwice({ pick }: Hint): void {
    const nowMs = this.pool.now()
    const settled = [...this.#issued.values()].filter(
      ({ settledAtMs }) => settledAtMs !== null && nowMs - settledAtMs <= REMEMBERED_MS,
    )
    const issued = at(settled, pick)
    if (!issued?.grant) return
    letTimePass(this.pool.state, nowMs)
    const before = structuredClone(this.pool.state)
    this.pool.fail(issued.grant)
    const same = JSON.stringify(plain(before)) === JSON.stringify(plain(this.pool.state))
    this.#fault(same, 'a second settlement changed something')
  }

  /** The client of a waiter leaves. Its Worker does not know whether a key has been granted. */
  #leave({ pick }: Hint): void {
    const left = at([...this.#waiters.all(), ...this.#unfetched()], pick)
    if (left === undefined) return
    const { lease, request } = left
    const issued = this.#unfetched().find((other) => other.lease === lease)
    const unheard: Grant = {
      kind: 'grant',
      leaseId: leaseId(lease),
      keyId: keyId(''),
      accountId: accountId(''),
      model: modelId(request.models?.[0] ?? ''),
    }
    this.#waiters.remove(lease)
    if (issued === undefined) this.#watch(null, () => this.pool.shrug(unheard))
    else this.#end(issued, unheard, { outcome: 'ignorable' })
    this.met.add('left')
    const after = this.#watch(null, () => this.pool.inquire(lease))
    this.#fault(after?.kind === 'refusal', 'who left is still waited for')
  }

  /**
   * An operator's order. Who waits for nothing any more is sent away, and nobody else: for him there is a
   * halted key, and no key of which time alone makes anything.
   */
  #order({ pick, detail }: Hint): void {
    const { state } = this.pool
    const id = at([...state.keys.keys()], pick)
    const kind = at([...STEERING, 'resume', 'reset'] as const, detail)
    if (id === undefined || kind === undefined) return
    const waiting = [...sharesOfQueue(state).values()].flat()
    letTimePass(state, this.pool.now())
    orderOnly(this.pool, kind, id)
    this.#watch(null, () => this.pool.wake())
    for (const { request, state: now, refusal } of waiting) {
      if (now !== 'refused') continue
      const { paused = 0, draining = 0 } = refusal.reasons
      this.#fault(paused + draining > 0, `${request.leaseId} was sent away without a halted key`)
      this.#fault(refusal.retryAtMs === null, `${request.leaseId} was sent away, and need not`)
      this.#waiters.displace(request.leaseId)
    }
  }

  /** Time passes. The waiters' Workers ask again each second, and the pool wakes when it has to. */
  #pass(ms: number): void {
    const endMs = this.pool.now() + ms
    const mostWakes = MAX_WAKES + ms / ASK_AGAIN_MS
    for (let wakes = 0; this.pool.now() < endMs; wakes++) {
      if (wakes > mostWakes) {
        this.#blame('the pool wakes again and again')
        return
      }
      const nowMs = this.pool.now()
      const busy = this.#waiters.all().some(({ silent }) => !silent) || this.#unfetched().length > 0
      const wakeMs = Math.max(nowMs + 1, wakeAtMs(this.pool.state) ?? endMs)
      this.pool.at(busy ? Math.min(endMs, wakeMs, nowMs + ASK_AGAIN_MS) : endMs)
      this.#watch(null, () => this.pool.wake())
      for (const waiter of this.#waiters.all()) this.#inquire(waiter)
      for (const issued of this.#unfetched()) this.#fetch(issued)
    }
  }

  #unfetched(): Issued[] {
    const nowMs = this.pool.now()
    return [...this.#issued.values()].filter(
      (issued) => issued.grant === null && !issued.silent && isLive(issued, nowMs),
    )
  }

  #fetch(issued: Issued): void {
    const answer = this.#watch(null, () => this.pool.inquire(issued.lease))
    this.transcript.push(answer)
    if (answer?.kind === 'grant') this.#take(issued.request, answer, false)
    else this.#blame('a lease that was kept for somebody is not there')
  }

  #inquire(waiter: Waiter): void {
    const nowMs = this.pool.now()
    const { lease, request, deadlineMs, isDisplaced } = waiter
    if (waiter.silent) {
      if (this.#waiters.isAbandoned(waiter, nowMs)) this.#waiters.remove(lease)
      return
    }
    const wasAbandoned = this.#waiters.isAbandoned(waiter, nowMs)
    const answer = this.#watch(null, () => this.pool.inquire(lease))
    this.transcript.push(answer)
    waiter.lastPolledAtMs = nowMs
    if (answer?.kind === 'waiting') {
      this.#fault(nowMs < deadlineMs, 'somebody waits past the deadline')
      return
    }
    this.#waiters.remove(lease)
    if (answer?.kind === 'grant') this.#take(request, answer, false)
    else if (answer === null) this.#fault(wasAbandoned, 'somebody who waits was forgotten')
    else {
      this.met.add('timed out')
      const isOver = nowMs >= deadlineMs || isDisplaced
      this.#fault(isOver, 'somebody was sent away before the time was up')
      this.#fault(answer.cause !== 'ended', 'somebody who waited is told that it is over')
    }
  }

  #lookUp({ pick, detail }: Hint): void {
    const { state } = this.pool
    const nowMs = this.pool.now()
    const orders = takeLookupDuties(state, nowMs)
    const again = takeLookupDuties(state, nowMs).map((order) => order.keyId)
    this.#fault(
      !orders.some((order) => again.includes(order.keyId)),
      'one lookup was handed out twice',
    )
    for (const [i, order] of orders.entries()) {
      const found = keyReportOf(order, pick + detail + i, nowMs)
      // An answer that another Worker already got is used without asking OpenRouter.
      if (found.kind === 'unknown' || found.askedAtMs === nowMs) this.#audit.asked(order.keyId)
      // Some Workers die before they can report.
      if ((pick + i) % 8 === 0) continue
      report(state, found, nowMs)
      const owner = found.kind === 'valid' ? found.owner : null
      if (owner !== null && this.pool.key(order.keyId).account.id === owner) this.met.add('learned')
    }
  }

  #checkRefusal(refusal: Refusal, request: Ask): void {
    for (const reason of Object.keys(refusal.reasons)) this.met.add(reason)
    for (const what of this.#audit.faultsOfRefusal(refusal, request)) this.#blame(what)
  }
}

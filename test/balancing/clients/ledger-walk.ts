import {
  committedNanos,
  letPeriodPass,
  limitNanos,
  nanosOf,
} from '../../../src/balancing/clients/budget.ts'
import { quotas } from '../../../src/balancing/clients/client-records.ts'
import type { Quota } from '../../../src/balancing/clients/quota.ts'
import { carryOut } from '../../../src/balancing/clients/registry.ts'
import { isolateId, keyId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import type { QuotaCharge } from '../../../src/balancing/limits/quota-charge.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { checkpoint, type PoolRecords } from '../../../src/balancing/records/checkpoint.ts'
import { restore } from '../../../src/balancing/records/restore.ts'
import { renewBudgets } from '../../../src/balancing/serving/client-charges.ts'
import { settle } from '../../../src/balancing/serving/lease-end.ts'
import { begin, hold } from '../../../src/balancing/serving/leases-ahead.ts'
import type { HeldOfBudgets, Settlement } from '../../../src/balancing/settlement.ts'
import { at } from '../pool-arbitraries.ts'
import { drivePool, type PoolDriver, type Setup, usageOf } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'
import type { AnyClients, LedgerHint } from './ledger-arbitraries.ts'

/** A lease as its Worker knows it. */
interface Known {
  readonly id: string
  readonly keyId: string
  readonly client: string
  readonly grantedAtMs: number
  readonly held: HeldOfBudgets | undefined
  readonly boundUsd: number | null
  readonly tokens: number
  readonly restarts: number
  isBegun: boolean
  isSettled: boolean
}

const ISOLATE = isolateId('isolate-1')
const MODEL = modelId('vendor/model')
const BOUNDS = [0.02, 0.1, 0.3, 0, null] as const
const CLIENTS = ['a', 'b', 'c', 'a', 'nobody'] as const
const PERIODS = ['day', 'week', 'month', 'total'] as const
const OWNERS = ['client:a', 'group:team', 'client:c'] as const

type Stored = Pick<PoolRecords, 'checkpoint' | 'outdated'> & {
  readonly budgets: Map<string, unknown>
}

/** One history of clients with limits, with the Workers' view of it and the rows on disk. */
export class LedgerWalk {
  pool: PoolDriver
  readonly faults: string[] = []
  readonly #setup: Setup
  readonly #known = new Map<string, Known>()
  readonly #waiting = new Map<string, { client: string; boundUsd: number | null; tokens: number }>()
  readonly #stored: Stored = { budgets: new Map(), checkpoint: {}, outdated: false }
  /** What each budget has cost in truth since it began anew, by owner, period and that moment. */
  readonly #cost = new Map<string, number>()
  #minted = 0
  #step = 0
  #booked = 0

  constructor({ clients, groups }: AnyClients, seed: number) {
    this.#setup = { clients, groups, queue: { maxWaiting: 5, maxWaitMs: 20_000 } }
    this.pool = this.#fresh(seed)
  }

  #fresh(seed: number): PoolDriver {
    const keys = [{ id: 'k0', maxConcurrent: 40 }, { id: 'k1', maxConcurrent: 40 }, 'k2']
    const few = seed % 3 === 0 ? [{ id: 'k0', maxConcurrent: 3 }] : keys
    return drivePool(few, this.#setup, seededRandom(seed))
  }

  get settled(): number {
    return this.#booked
  }

  step(hint: LedgerHint): void {
    this.#step += 1
    this.#acts[hint.what](hint.pick, hint.detail)
    this.pool.wake()
    this.#write()
    this.check()
  }

  readonly #acts: Readonly<Record<LedgerHint['what'], (pick: number, detail: number) => void>> = {
    ask: (pick, detail) => this.#ask(pick, detail, 0),
    'ask-to-wait': (pick, detail) => this.#ask(pick, detail, 15_000),
    inquire: () => this.#inquire(),
    order: (pick, detail) => this.#order(pick, detail),
    begin: (pick) => this.#begin(pick),
    settle: (pick, detail) => this.#settle(this.#open(pick, true), detail),
    'settle-twice': (pick, detail) => this.#settleTwice(pick, detail),
    unused: (pick) => this.#unused(pick),
    pass: (_, detail) => this.pool.wait(detail % 3_000),
    'pass-long': (_, detail) =>
      this.pool.wait(detail % 4 === 0 ? 13 * 3_600_000 : detail % 400_000),
    silence: () => this.pool.wait(8_000),
    renew: () => this.#renew(),
    operate: (pick, detail) => this.#operate(pick, detail),
    crash: () => this.#restart(true),
    rest: () => this.#rest(),
  }

  #renew(): void {
    renewBudgets(this.pool.state, this.pool.now())
  }

  #rest(): void {
    this.#renew()
    this.#renew()
    this.#write()
    Object.assign(this.#stored, { checkpoint: this.#checkpoint() })
    this.#restart(false)
  }

  #ask(pick: number, detail: number, waitMs: number): void {
    this.#minted += 1
    const lease = `l${this.#minted}`
    const client = at(CLIENTS, pick) ?? 'a'
    const boundUsd = at(BOUNDS, detail) ?? null
    const tokens = at([0, 50, 300], detail >> 3) ?? 0
    const attempt = at(['first', 'first', 'move'] as const, detail >> 5) ?? 'first'
    const isFallback = detail % 7 === 0 ? ({ isFallback: true } as const) : {}
    const { pool } = this
    const asked = { lease, client, boundUsd, tokens, attempt, waitMs, leaseMs: 60_000 }
    const decision = pool.ask({ ...asked, ...isFallback })
    if (decision.kind === 'waiting') this.#waiting.set(lease, { client, boundUsd, tokens })
    if (decision.kind === 'grant') this.#know(decision, { client, boundUsd, tokens }, true)
  }

  #know(
    grant: { leaseId: string; keyId: string; grantedAtMs?: number; held?: HeldOfBudgets },
    asked: Pick<Known, 'client' | 'boundUsd' | 'tokens'>,
    isBegun: boolean,
  ): void {
    const { leaseId: id, keyId: key, grantedAtMs = 0, held } = grant
    const told = {
      id,
      keyId: key,
      grantedAtMs,
      held,
      isBegun,
      isSettled: false,
      restarts: this.#restarts,
    }
    this.#known.set(id, { ...told, ...asked })
  }

  #inquire(): void {
    for (const [lease, asked] of this.#waiting) {
      const decision = this.pool.inquire(lease)
      if (decision?.kind === 'waiting') continue
      this.#waiting.delete(lease)
      if (decision?.kind === 'grant') this.#know(decision, asked, true)
    }
  }

  #order(pick: number, detail: number): void {
    this.#minted += 1
    const client = at(['a', 'b', 'c'], pick) ?? 'a'
    const boundUsd = at([0.02, 0.1], detail) ?? 0.02
    const { state } = this.pool
    const order = { isolate: ISOLATE, asked: MODEL, models: [MODEL], account: null } as const
    const name = { idPrefix: `ahead-${this.#minted}`, clientId: client as never }
    const costNanos = nanosOf(boundUsd)
    const step = { state, nowMs: this.pool.now(), random: () => 0.5 }
    const held = hold(step, { ...order, ...name, count: 2, tokens: 20, costNanos })
    for (const lease of held) this.#know(lease, { client, boundUsd, tokens: 20 }, false)
  }

  /** The lease gets its request, in time or not, or the isolate tells of it again. */
  #begin(pick: number): void {
    const known = this.#open(pick, false)
    if (known === undefined) return
    known.isBegun = true
    const { state } = this.pool
    const costNanos = known.boundUsd === null ? null : nanosOf(known.boundUsd)
    const { grantedAtMs, tokens, held } = known
    begin(
      { state, nowMs: this.pool.now(), random: () => 0.5 },
      {
        ...{ leaseId: leaseId(known.id), keyId: keyId(known.keyId), isolate: ISOLATE },
        ...{ clientId: known.client as never, model: MODEL, leaseMs: 60_000, conversation: null },
        ...{ grantedAtMs, tokens, costNanos },
        ...(held === undefined ? {} : { held }),
      },
    )
  }

  #open(pick: number, isBegun: boolean): Known | undefined {
    const open = [...this.#known.values()].filter(
      (known) => !known.isSettled && known.isBegun === isBegun,
    )
    return at(open, pick)
  }

  #settlementOf(known: Known, told: Partial<Settlement>): Settlement {
    const { grantedAtMs, tokens, held } = known
    return {
      ...{ leaseId: leaseId(known.id), keyId: keyId(known.keyId) },
      ...{ outcome: 'success', benches: [], suspect: false },
      lease: {
        ...{ clientId: known.client as never, model: MODEL, grantedAtMs, tokens },
        ...(held === undefined ? {} : { held }),
      },
      ...told,
    }
  }

  #settle(known: Known | undefined, detail: number): void {
    if (known === undefined) return
    known.isSettled = true
    this.#booked += 1
    // No answer costs more than its bound, nor one without a bound more than is reserved for it.
    const costUsd = ((known.boundUsd ?? 0.1) * (detail % 5)) / 4
    const usage = usageOf(detail % 40, detail % 10, costUsd)
    const isTold = detail % 4 > 0
    const settlement = this.#settlementOf(known, isTold ? { usage } : {})
    // One of before a restart is taken for settled where a second one has passed over it, or minutes.
    const restarts = this.#restarts - known.restarts
    const isYoung = this.pool.now() - known.grantedAtMs < 120_000
    const isNew = restarts === 0 || (restarts === 1 && isYoung)
    this.#noteCost(known, isTold && isNew ? nanosOf(costUsd) : 0)
    settle(this.pool.state, settlement, this.pool.now(), () => 0.5)
  }

  #noteCost({ client, held }: Known, nanos: number): void {
    const quotas = this.#quotas().filter(
      ({ owner }) =>
        owner === `client:${client}` ||
        (owner === 'group:team' && (held?.groupId === 'team' || 'ab'.includes(client))),
    )
    for (const quota of quotas) {
      for (const budget of quota.budgets) {
        const name = `${quota.owner} ${budget.terms.period} ${budget.endsAtMs}`
        this.#cost.set(name, (this.#cost.get(name) ?? 0) + nanos)
      }
    }
  }

  #settleTwice(pick: number, detail: number): void {
    const { pool } = this
    const settled = [...this.#known.values()].filter(({ isSettled }) => isSettled)
    const known = at(settled.slice(-5), pick)
    if (known === undefined || !pool.state.leases) return
    pool.wake()
    if (!this.#isRemembered(known)) return
    const before = this.#figures()
    const usage = usageOf(1, 1, (detail % 5) / 10)
    settle(pool.state, this.#settlementOf(known, { usage }), pool.now(), () => 0.5)
    this.#expect(before === this.#figures(), 'a second settlement changed something')
  }

  #isRemembered({ grantedAtMs }: Known): boolean {
    return this.pool.now() - grantedAtMs < 60_000 && this.#restarts === 0
  }

  #unused(pick: number): void {
    const known = this.#open(pick, false)
    if (known === undefined) return
    known.isSettled = true
    const told = { unused: true, outcome: 'ignorable' } as const
    settle(this.pool.state, this.#settlementOf(known, told), this.pool.now(), () => 0.5)
  }

  readonly #loosened = new Set<string>()

  #operate(pick: number, detail: number): void {
    const { state } = this.pool
    const owner = at(OWNERS, pick) ?? 'client:a'
    const period = at(PERIODS, detail) ?? 'day'
    const nowMs = this.pool.now()
    const of = { owner, period } as const
    if (detail % 3 === 0) {
      const untilMs = nowMs + 30_000
      this.#loosened.add(owner)
      const order = { kind: 'increase_budget', ...of, nanos: nanosOf(0.5), untilMs } as const
      carryOut(state.clients, order, state.changes, nowMs)
    } else if (detail % 3 === 1) {
      this.#cost.clear()
      carryOut(state.clients, { kind: 'reset_budget', ...of }, state.changes, nowMs)
    }
  }

  /** What the object does after each step: rows of budgets at once. */
  #write(): void {
    for (const [owner, records] of takeChanges(this.pool.state).budgets) {
      this.#stored.budgets.set(owner, structuredClone(records))
    }
    if (this.#step % 10 === 0) Object.assign(this.#stored, { checkpoint: this.#checkpoint() })
  }

  #checkpoint() {
    return JSON.parse(JSON.stringify(checkpoint(this.pool.state, this.pool.now())))
  }

  #restarts = 0

  #restart(outdated: boolean): void {
    this.#restarts += 1
    const nowMs = this.pool.now()
    const next = this.#fresh(this.#step)
    next.at(nowMs)
    const none = { keys: new Map(), accounts: new Map(), models: [], spends: new Map() }
    restore(
      next.state,
      {
        ...none,
        ...{ clients: [], groups: [], audit: [], alerts: [], deliveries: [], outdated },
        purges: [],
        budgets: structuredClone(this.#stored.budgets) as never,
        checkpoint: this.#stored.checkpoint,
      },
      nowMs,
    )
    const before = this.#totals()
    this.pool = next
    this.#waiting.clear()
    for (const [name, { committed, endsAtMs }] of before) {
      const after = this.#totals().get(name)
      if (after === undefined || after.endsAtMs !== endsAtMs) continue
      this.#expect(after.committed >= committed, `${name}: a restart forgot some of its spend`)
      if (!outdated) this.#expect(after.committed === committed, `${name}: is not exact at rest`)
    }
  }

  #totals() {
    const nowMs = this.pool.now()
    return new Map(
      this.#quotas().flatMap((quota) =>
        quota.budgets.map((budget) => {
          letPeriodPass(budget, nowMs)
          const { endsAtMs } = budget
          const name = `${quota.owner} ${budget.terms.period}`
          return [name, { committed: committedNanos(budget), endsAtMs }] as const
        }),
      ),
    )
  }

  #quotas(): readonly Quota[] {
    return quotas(this.pool.state.clients)
  }

  #figures(): string {
    return JSON.stringify([this.#quotas(), [...this.pool.state.ledger.byClient]])
  }

  #expect(holds: boolean, otherwise: string): void {
    if (!holds) this.faults.push(`step ${this.#step}: ${otherwise}`)
  }

  check(): void {
    const charges = this.#charges()
    for (const quota of this.#quotas()) this.#checkQuota(quota, charges)
  }

  /** What live leases and waiters have taken. */
  #charges(): QuotaCharge[] {
    const { leases, queue } = this.pool.state
    return [...leases.live.values(), ...queue.waiters.values()].flatMap(
      ({ charge }) => charge ?? [],
    )
  }

  #checkQuota(quota: Quota, charges: readonly QuotaCharge[]): void {
    const { owner, inFlight, terms } = quota
    const own = charges.filter(
      ({ clientId, groupId }) => owner === `client:${clientId}` || owner === `group:${groupId}`,
    )
    this.#expect(inFlight === own.length, `${owner}: ${inFlight} of ${own.length} in flight`)
    for (const meter of [quota.rpm, quota.tpm]) {
      if (meter === null) continue
      this.#expect(meter.window.total >= 0, `${owner} has a rate below nothing`)
    }
    this.#expect(quota.requestsToday >= 0, `${owner} has fewer than no requests today`)
    const isFull = terms.maxConcurrent === null || inFlight <= terms.maxConcurrent
    this.#expect(isFull || this.#restarts > 0 || this.#retaken, `${owner} is over max_concurrent`)
    for (const budget of quota.budgets) this.#checkBudget(quota, budget, own)
  }

  /** A late begin runs whatever the limits say. */
  get #retaken(): boolean {
    return [...this.#known.values()].some(({ id, isBegun }) => isBegun && id.startsWith('ahead'))
  }

  #checkBudget(
    { owner }: Quota,
    budget: Quota['budgets'][number],
    own: readonly QuotaCharge[],
  ): void {
    const { terms, spentNanos, reservedNanos, lostNanos, endsAtMs } = budget
    const name = `${owner} ${terms.period}`
    const held = own
      .flatMap(({ holds }) => holds)
      .filter((hold) => hold.owner === owner && hold.period === terms.period)
      .reduce((sum, { nanos }) => sum + nanos, 0)
    this.#expect(reservedNanos === held, `${name}: ${reservedNanos} reserved of ${held}`)
    for (const nanos of [spentNanos, reservedNanos, lostNanos]) {
      this.#expect(Number.isSafeInteger(nanos) && nanos >= 0, `${name} has an amount ${nanos}`)
    }
    const cost = this.#cost.get(`${name} ${endsAtMs}`) ?? 0
    const counted = committedNanos(budget)
    this.#expect(counted >= cost, `${name}: ${counted} committed at a cost of ${cost}`)
    const isBinding = terms.mode === 'exact' && terms.onExceeded === 'reject'
    if (!isBinding || this.#loosened.has(owner) || this.#retaken) return
    const limit = limitNanos(budget, this.pool.now())
    this.#expect(cost <= limit, `${name}: a cost of ${cost} of ${limit}`)
    // After a crash, leases that were settled since the checkpoint are counted twice for a while.
    const isDoubtful = this.#restarts > 0
    this.#expect(isDoubtful || counted <= limit, `${name}: ${counted} committed of ${limit}`)
  }

  /** All traffic stops: what runs is given up, and everything comes to rest. */
  stopTraffic(): void {
    this.pool.wait(10 ** 6)
    this.pool.wake()
  }
}

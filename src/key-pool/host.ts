import { keyForGeneration } from '../balancing/accounting/generations.ts'
import type { Spending } from '../balancing/accounting/ledger.ts'
import { forgetHolds, noteGenerationReport } from '../balancing/accounting/reconciliation.ts'
import { type BatchProgress, noteBatch } from '../balancing/batches/batch-progress.ts'
import { directory } from '../balancing/clients/caller.ts'
import { calledBack } from '../balancing/clients/charges-ahead.ts'
import { quotasOf } from '../balancing/clients/clients.ts'
import { type QuotaView, quotaView } from '../balancing/clients/quota.ts'
import { type ClientsReply, carryOut, targetOf } from '../balancing/clients/registry.ts'
import { type Explanation, explain, type Question } from '../balancing/explanation.ts'
import type { ClientId, KeyId } from '../balancing/ids.ts'
import type { Decision, Refusal } from '../balancing/lease-request.ts'
import { forgive, hear } from '../balancing/limits/isolates.ts'
import type { LeaseAhead } from '../balancing/limits/lease-order.ts'
import { type AuditEntry, noteInAudit } from '../balancing/operators/audit.ts'
import { type ControlReply, control } from '../balancing/operators/control.ts'
import { overview, type PoolOverview } from '../balancing/operators/overview.ts'
import { acquire, claim, report, takeDecided, tick, wakeAtMs } from '../balancing/pool.ts'
import type { PoolState, Step } from '../balancing/pool-state.ts'
import { type PoolReadings, readings } from '../balancing/readings/pool-readings.ts'
import { forgottenRows } from '../balancing/records/forgotten-rows.ts'
import { restore } from '../balancing/records/restore.ts'
import { settle } from '../balancing/serving/lease-end.ts'
import { begin, hold } from '../balancing/serving/leases-ahead.ts'
import { type OutOfUse, outOfUse, transitions } from '../balancing/serving/out-of-use.ts'
import { type PoolSnapshot, snapshot, usableKeys } from '../balancing/snapshot.ts'
import type { AlertsReply, AlertsRequest } from './alerts/alert-protocol.ts'
import { PoolAlerts } from './alerts/pool-alerts.ts'
import { AnswerVisits } from './answer-visits.ts'
import { Checkpoints } from './checkpoints.ts'
import {
  isGenerationReport,
  isKeyReport,
  isLeaseBegin,
  isLeaseOrder,
  isLeaseRequest,
  listOf,
  readIsolate,
  readSettlement,
} from './exchange-checks.ts'
import { createHeldCalls, type HeldCalls } from './held-calls.ts'
import type {
  HistoryQuery,
  HistoryReply,
  RequestsQuery,
  RequestsReply,
  UsageQuery,
  UsageReply,
} from './history/history-protocol.ts'
import { PoolHistory } from './history/pool-history.ts'
import type { HostPorts } from './host-ports.ts'
import { PoolDuties } from './pool-duties.ts'
import {
  type AuditNote,
  AWAIT_MS,
  type AwaitReply,
  type AwaitRequest,
  type ControlRequest,
  type DirectoryReply,
  type DutiesReply,
  type DutiesRequest,
  type ExchangeReply,
  type ExchangeRequest,
  type HealthReply,
  type ManageRequest,
} from './protocol.ts'

/** The shortest pause between two timed checks of the queue. */
const MIN_WAKE_MS = 25
/** While isolates have leases, the object looks this often who has fallen silent. */
const WATCH_MS = 1_000
/** A timer that is late by this much shows that the object itself stood still, and heard nobody. */
const STALL_MS = 500
/** The number of usable keys is counted anew after this long, and after any bench or breaker moved. */
const RECOUNT_MS = 1_000

/** What stands in the place of a decision about a lease request that can't be decided. */
const NOT_DECIDED: Refusal = { kind: 'refusal', cause: 'ended', reasons: {}, retryAtMs: null }

/**
 * One pool of keys. While the object lives, its memory holds the truth. The store holds what the
 * object needs after a restart. The object never calls OpenRouter, and no decision waits for
 * anything, so no other call can change the pool in the middle of a decision.
 */
export class PoolHost {
  readonly #pool: PoolState
  readonly #ports: HostPorts
  readonly #held: HeldCalls
  readonly #checkpoints: Checkpoints
  readonly #alerts: PoolAlerts
  readonly #duties: PoolDuties
  /** What is asked about answers that are given without an upstream call. */
  readonly answers: AnswerVisits
  readonly #history: PoolHistory
  #cancelWake: () => void = () => undefined
  #watchDueMs: number | null = null
  /** What was out of use at the last count. */
  #out: ReadonlyMap<string, OutOfUse>
  #usable = { count: 0, atMs: Number.NEGATIVE_INFINITY }

  /** @param pool a fresh pool; what the store knows of it is put into it */
  constructor(pool: PoolState, ports: HostPorts) {
    this.#pool = pool
    this.#ports = ports
    this.#held = createHeldCalls((ms, callback) => ports.timer(ms, callback))
    this.#alerts = new PoolAlerts(pool, ports)
    this.#duties = new PoolDuties(pool, this.#alerts, {
      guard: (step) => this.#guard(step),
      write: () => this.#noteChange(),
    })
    const records = ports.store.load()
    restore(pool, records, ports.nowMs())
    ports.store.forget(forgottenRows(pool, records, ports.nowMs()))
    // As the object knew it when it last lived: what has come back since is told, and no more.
    this.#out = outOfUse(pool, pool.restoredAtMs > 0 ? pool.restoredAtMs : ports.nowMs())
    this.#history = new PoolHistory(pool, ports.store.archive)
    // A restart compares with what was out of use at the moment of the checkpoint.
    this.#checkpoints = new Checkpoints(pool, ports, {
      guard: (step) => this.#guard(step),
      before: (nowMs) => this.#tellTransitions(nowMs),
      history: this.#history,
    })
    this.answers = new AnswerVisits(pool, ports, () => this.#noteChange())
  }

  /**
   * Takes settlements, key reports and lease requests, and returns decisions. Settlements go first:
   * a key that they free serves the waiters first, and then the new lease requests. What is
   * malformed, or meets a bug, costs itself: the others are applied and written.
   */
  exchange(request: ExchangeRequest): ExchangeReply {
    const nowMs = this.#ports.nowMs()
    this.#forgiveStall(nowMs)
    const isolate = readIsolate(request.isolate)
    if (isolate !== null) hear(this.#pool.isolates, isolate, nowMs)
    for (const item of listOf(request.begins)) this.#begin(item, nowMs)
    for (const item of listOf(request.settlements)) this.#settle(item, nowMs)
    for (const item of listOf(request.lookups)) this.#report(item, nowMs)
    for (const item of listOf(request.reconciled)) this.#reconcile(item, nowMs)
    this.#alerts.note(listOf(request.delivered), nowMs)
    const decisions = listOf(request.wants).map((item) => this.#decide(item, nowMs))
    this.#history.note(listOf(request.requests))
    this.answers.book(listOf(request.cache), nowMs)
    const { lookups, generations } = this.#duties.take(request, nowMs)
    this.#guard(() => this.#serve(nowMs))
    // Last, so that nobody who waits or asks goes without for the sake of a request yet to come.
    const ahead = listOf(request.orders).map((item) => this.#hold(item, nowMs))
    const back = calledBack(this.#pool.clients, nowMs)
    this.#noteChange()
    const usable = this.#countUsable(nowMs)
    const alerts = this.#duties.takeAlerts(request, nowMs)
    return {
      version: 1,
      decisions,
      lookups,
      ...(alerts.length === 0 ? {} : { alerts }),
      ...(generations.length === 0 ? {} : { generations }),
      ...(ahead.length === 0 ? {} : { ahead }),
      clientsVersion: this.#pool.clients.version,
      ...(this.#pool.queue.size === 0 ? {} : { waiting: true }),
      ...(back.length === 0 ? {} : { calledBack: back }),
      ...(this.#pool.halted.size === 0 ? {} : { haltedKeys: [...this.#pool.halted] }),
      usableKeys: usable,
    }
  }

  /** Answers as soon as a request that waits is decided. See `AwaitReply`. */
  async whenDecided(leaseId: AwaitRequest): Promise<AwaitReply> {
    const nowMs = this.#ports.nowMs()
    let decision = claim(this.#pool, leaseId, nowMs)
    if (decision?.kind === 'waiting') {
      const deadlineMs = this.#pool.queue.waiters.get(leaseId)?.deadlineMs ?? 0
      await this.#held.hold(leaseId, Math.min(AWAIT_MS, deadlineMs - nowMs))
      decision = claim(this.#pool, leaseId, this.#ports.nowMs())
    }
    this.#noteChange()
    return { version: 1, decision }
  }

  /** Which key would be chosen for a request, and why no other key. Grants nothing. */
  explain(question: Question): Explanation {
    const nowMs = this.#ports.nowMs()
    this.#serve(nowMs)
    return explain(this.#pool, question, nowMs, this.#ports.random)
  }

  /** What a client has spent. */
  spending(clientId: ClientId): Spending {
    return this.#history.spending(clientId, this.#ports.nowMs())
  }

  /** A key that can ask OpenRouter about one of a client's answers; null if none is known. */
  keyForGeneration(generationId: string, clientId: ClientId): KeyId | null {
    return keyForGeneration(this.#pool, generationId, clientId, this.#ports.nowMs())
  }

  /** The clients that were made at run time; none if the Worker's copy is as new. */
  clientDirectory(known: number | null): DirectoryReply {
    const { clients } = this.#pool
    const entries = known === clients.version ? null : directory(clients)
    return { version: 1, clientsVersion: clients.version, entries }
  }

  /** Reads or changes clients and groups. A change is on disk before it is answered. */
  manageClients({ order, by }: ManageRequest): ClientsReply {
    const nowMs = this.#ports.nowMs()
    const { clients, changes, audit } = this.#pool
    const reply = carryOut(clients, order, changes, nowMs)
    if (order.kind === 'list' || reply.kind === 'fault') return reply
    if (order.kind === 'reset_budget') {
      forgetHolds(this.#pool.reconciliations, order.owner, order.period)
    }
    noteInAudit(audit, { atMs: nowMs, by, what: order.kind, target: targetOf(order) })
    this.#noteChange()
    return reply
  }

  noteInAudit(change: AuditNote): void {
    noteInAudit(this.#pool.audit, { ...change, atMs: this.#ports.nowMs() })
    this.#noteChange()
  }

  /** The object of a batch tells how far it is. */
  noteBatch(progress: BatchProgress, hasEnded: boolean): void {
    noteBatch(this.#pool.batches.running, progress, hasEnded, this.#ports.nowMs())
  }

  /** Carries out an operator's order to a key. It is on disk before it is answered. */
  control({ order, by }: ControlRequest): ControlReply {
    const nowMs = this.#ports.nowMs()
    const reply = control(this.#step(nowMs), order, by)
    this.#serve(nowMs)
    this.#noteChange()
    return reply
  }

  audit(): readonly AuditEntry[] {
    return this.#pool.audit.entries.toReversed()
  }

  /** The limits of a client and of its group, with what is used of them. */
  quotas(id: ClientId): readonly QuotaView[] {
    const nowMs = this.#ports.nowMs()
    return quotasOf(this.#pool.clients, id).map((quota) => quotaView(quota, nowMs))
  }

  /** The pool as an operator sees it. */
  snapshot(): PoolSnapshot {
    const nowMs = this.#ports.nowMs()
    this.#serve(nowMs)
    return snapshot(this.#pool, nowMs)
  }

  /** All that operators may want to see of the pool. */
  overview(): PoolOverview {
    const nowMs = this.#ports.nowMs()
    this.#serve(nowMs)
    return overview(this.#pool, nowMs)
  }

  /** What metrics are made of. */
  readings(): PoolReadings {
    const nowMs = this.#ports.nowMs()
    this.#serve(nowMs)
    return readings(this.#pool, nowMs)
  }

  /** The last requests that have ended. */
  requests(query: RequestsQuery): RequestsReply {
    return this.#history.requests(query)
  }

  /** The last hour, by minutes. */
  history(query: HistoryQuery): HistoryReply {
    return this.#history.history(query, this.#ports.nowMs())
  }

  /** What was booked on some days. */
  usage(query: UsageQuery): UsageReply {
    return this.#history.usage(query, this.#ports.nowMs())
  }

  /** Two numbers of the pool, for anybody: it costs next to nothing and changes nothing. */
  health(): HealthReply {
    return { version: 1, usableKeys: this.#countUsable(this.#ports.nowMs()) }
  }

  /** Hands out duties that no request has taken. */
  duties(request: DutiesRequest): DutiesReply {
    return this.#duties.atRest(request, this.#ports.nowMs())
  }

  /** Shows what operators are told of, and notes what the request says. */
  alerts(request: AlertsRequest): AlertsReply {
    const reply = this.#alerts.answer(request, this.#ports.nowMs())
    if (request.kind !== 'list') this.#noteChange()
    return reply
  }

  #settle(item: unknown, nowMs: number): void {
    const settlement = readSettlement(item)
    if (settlement === null) return
    this.#guard(() => settle(this.#pool, settlement, nowMs, this.#ports.random))
  }

  #begin(item: unknown, nowMs: number): void {
    if (isLeaseBegin(item)) this.#guard(() => begin(this.#step(nowMs), item))
  }

  #hold(item: unknown, nowMs: number): readonly LeaseAhead[] {
    if (!isLeaseOrder(item)) return []
    return this.#guard(() => hold(this.#step(nowMs), item)) ?? []
  }

  #step(nowMs: number): Step {
    return { state: this.#pool, nowMs, random: this.#ports.random }
  }

  #report(item: unknown, nowMs: number): void {
    if (isKeyReport(item)) this.#guard(() => report(this.#pool, item, nowMs))
  }

  #reconcile(item: unknown, nowMs: number): void {
    if (!isGenerationReport(item)) return
    this.#guard(() => noteGenerationReport(this.#pool.reconciliations, item, nowMs))
  }

  /** Always decides, so that the decisions stay in the order of the requests. */
  #decide(item: unknown, nowMs: number): Decision {
    if (!isLeaseRequest(item)) return NOT_DECIDED
    const { random } = this.#ports
    return this.#guard(() => acquire(this.#pool, item, nowMs, random)) ?? NOT_DECIDED
  }

  #guard<T>(step: () => T): T | null {
    try {
      return step()
    } catch (bug) {
      this.#ports.logBug(bug)
      return null
    }
  }

  #countUsable(nowMs: number): number {
    if (nowMs - this.#usable.atMs >= RECOUNT_MS) {
      this.#usable = { count: usableKeys(this.#pool, nowMs), atMs: nowMs }
      this.#guard(() => this.#tellTransitions(nowMs))
    }
    return this.#usable.count
  }

  /** The object logs them itself: it sees each once, and no answer to a Worker can lose one. */
  #tellTransitions(nowMs: number): void {
    const out = outOfUse(this.#pool, nowMs)
    for (const transition of transitions(this.#out, out)) this.#ports.logTransition(transition)
    this.#out = out
    this.#alerts.watch(nowMs)
  }

  /**
   * Gives free keys to waiters, releases the held calls that are decided, and sets a timer for the
   * next moment at which time alone can free a key. A call that is held keeps its own time.
   */
  #serve(nowMs: number): void {
    const pool = this.#pool
    this.#forgiveStall(nowMs)
    tick(pool, nowMs, this.#ports.random)
    this.#watch(nowMs)
    for (const leaseId of takeDecided(pool)) this.#held.release(leaseId)
    this.#cancelWake()
    const atMs = wakeAtMs(pool)
    if (atMs === null) return
    const wake = () => this.#serve(this.#ports.nowMs())
    this.#cancelWake = this.#ports.timer(Math.max(MIN_WAKE_MS, atMs - nowMs), wake)
  }

  /** Looks once a second who has fallen silent, as long as somebody may. */
  #watch(nowMs: number): void {
    if (this.#watchDueMs !== null || this.#pool.isolates.heardAtMs.size === 0) return
    this.#watchDueMs = nowMs + WATCH_MS
    this.#ports.timer(WATCH_MS, () => {
      const firedAtMs = this.#ports.nowMs()
      this.#forgiveStall(firedAtMs)
      this.#watchDueMs = null
      this.#serve(firedAtMs)
    })
  }

  /** After a stall of the object's own, calls may come before the timer that shows it. */
  #forgiveStall(nowMs: number): void {
    const lateMs = nowMs - (this.#watchDueMs ?? nowMs)
    if (lateMs < STALL_MS) return
    forgive(this.#pool.isolates, lateMs, nowMs)
    this.#watchDueMs = nowMs
  }

  #noteChange(): void {
    if (this.#checkpoints.noteChange()) this.#usable.atMs = Number.NEGATIVE_INFINITY
  }
}

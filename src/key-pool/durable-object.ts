import { DurableObject } from 'cloudflare:workers'
import type { Drift } from '../balancing/accounting/drift.ts'
import type { Spending } from '../balancing/accounting/ledger.ts'
import type { AlertChange } from '../balancing/alerts/alert.ts'
import type { Undelivered } from '../balancing/alerts/alert-outbox.ts'
import type { BatchProgress } from '../balancing/batches/batch-progress.ts'
import type { QuotaView } from '../balancing/clients/quota.ts'
import type { ClientsReply } from '../balancing/clients/registry.ts'
import type { Explanation, Question } from '../balancing/explanation.ts'
import type { ClientId, KeyId } from '../balancing/ids.ts'
import type { AuditEntry } from '../balancing/operators/audit.ts'
import type { ControlReply } from '../balancing/operators/control.ts'
import type { PoolOverview } from '../balancing/operators/overview.ts'
import { createPool } from '../balancing/pool-state.ts'
import type { PoolReadings } from '../balancing/readings/pool-readings.ts'
import type { Transition } from '../balancing/serving/out-of-use.ts'
import type { PoolSnapshot } from '../balancing/snapshot.ts'
import { poolConfig, readConfig } from '../config/config.ts'
import type { AlertsReply, AlertsRequest } from './alerts/alert-protocol.ts'
import type {
  HistoryQuery,
  HistoryReply,
  RequestsQuery,
  RequestsReply,
  UsageQuery,
  UsageReply,
} from './history/history-protocol.ts'
import { PoolHost } from './host.ts'
import type {
  AuditNote,
  AwaitReply,
  AwaitRequest,
  ControlRequest,
  DirectoryReply,
  DutiesReply,
  DutiesRequest,
  EpochsReply,
  ExchangeReply,
  ExchangeRequest,
  HealthReply,
  ManageRequest,
  PurgeRequest,
  VisitsReply,
  VisitsRequest,
} from './protocol.ts'
import { createStore } from './rows/record-store.ts'
import { createSqlRows } from './rows/sql-rows.ts'

/** The Durable Object of a pool. What it does is in its host. */
export class KeyPool extends DurableObject<Env> {
  readonly #host: PoolHost | null = null

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env)
    const result = readConfig({ ...env })
    if (!result.ok) return
    this.#host = new PoolHost(createPool(poolConfig(result.config), Date.now()), {
      nowMs: () => Date.now(),
      timer(ms, callback) {
        const id = setTimeout(callback, ms)
        return () => clearTimeout(id)
      },
      random: () => Math.random(),
      store: createStore(createSqlRows(ctx.storage)),
      sync: () => ctx.waitUntil(ctx.storage.sync()),
      logBug,
      logTransition,
      logAlert,
      logUndelivered,
      logDrift,
    })
  }

  exchange(request: ExchangeRequest): ExchangeReply {
    return this.#open().exchange(request)
  }

  async whenDecided(leaseId: AwaitRequest): Promise<AwaitReply> {
    return await this.#open().whenDecided(leaseId)
  }

  explain(question: Question): Explanation {
    return this.#open().explain(question)
  }

  spending(clientId: ClientId): Spending {
    return this.#open().spending(clientId)
  }

  keyForGeneration(generationId: string, clientId: ClientId): KeyId | null {
    return this.#open().keyForGeneration(generationId, clientId)
  }

  snapshot(): PoolSnapshot {
    return this.#open().snapshot()
  }

  overview(): PoolOverview {
    return this.#open().overview()
  }

  readings(): PoolReadings {
    return this.#open().readings()
  }

  requests(query: RequestsQuery): RequestsReply {
    return this.#open().requests(query)
  }

  history(query: HistoryQuery): HistoryReply {
    return this.#open().history(query)
  }

  usage(query: UsageQuery): UsageReply {
    return this.#open().usage(query)
  }

  health(): HealthReply {
    return this.#open().health()
  }

  duties(request: DutiesRequest): DutiesReply {
    return this.#open().duties(request)
  }

  clientDirectory(known: number | null): DirectoryReply {
    return this.#open().clientDirectory(known)
  }

  manageClients(request: ManageRequest): ClientsReply {
    return this.#open().manageClients(request)
  }

  visit(request: VisitsRequest): VisitsReply {
    return this.#open().answers.visit(request)
  }

  purge(request: PurgeRequest): EpochsReply {
    return this.#open().answers.purge(request)
  }

  epochs(): EpochsReply {
    return this.#open().answers.epochs()
  }

  /** Notes a change that an operator makes elsewhere: the audit is that of the whole gateway. */
  noteInAudit(change: AuditNote): void {
    this.#open().noteInAudit(change)
  }

  noteBatch(progress: BatchProgress, hasEnded: boolean): void {
    this.#open().noteBatch(progress, hasEnded)
  }

  control(request: ControlRequest): ControlReply {
    return this.#open().control(request)
  }

  audit(): readonly AuditEntry[] {
    return this.#open().audit()
  }

  alerts(request: AlertsRequest): AlertsReply {
    return this.#open().alerts(request)
  }

  quotas(id: ClientId): readonly QuotaView[] {
    return this.#open().quotas(id)
  }

  /** Throws without a valid configuration. A Worker with the same faults never calls the object. */
  #open(): PoolHost {
    if (this.#host === null) throw new Error('The pool has no valid configuration')
    return this.#host
  }
}

function logBug(bug: unknown): void {
  const stack = bug instanceof Error ? (bug.stack ?? bug.message) : String(bug)
  console.error(JSON.stringify({ message: 'internal_error', stack }))
}

/** One line when a key, an account or a model goes out of use, and one when it is back. */
function logTransition({ kind, what, id, reason, untilMs }: Transition): void {
  const until = kind === 'out' && untilMs !== null ? { until: isoTime(untilMs) } : {}
  const line = JSON.stringify({ message: `${what}_${kind}`, [what]: id, reason, ...until })
  if (kind === 'out') console.warn(line)
  else console.log(line)
}

/** One line when an alert begins, and one when it ends. */
function logAlert({ phase, alert: { event, facts, sinceMs } }: AlertChange): void {
  const began = phase === 'end' ? { began_at: isoTime(sinceMs) } : {}
  const line = JSON.stringify({ message: event, alert: phase, ...facts, ...began })
  if (phase === 'begin') console.warn(line)
  else console.log(line)
}

/** One line for a message that its address never gets. */
function logUndelivered({ to, why, message: { event, phase, id } }: Undelivered): void {
  console.error(JSON.stringify({ message: 'alert_undelivered', to, why, event, alert: phase, id }))
}

/** One line when a key spent another sum in a UTC day at OpenRouter than was booked here. */
function logDrift({ keyId, day, upstreamUsd, bookedUsd }: Drift): void {
  const date = isoTime(day * DAY_MS)?.slice(0, 10)
  const sums = { openrouter_usd: upstreamUsd, booked_usd: bookedUsd }
  console.warn(JSON.stringify({ message: 'spend_drift', key: keyId, date, ...sums }))
}

const DAY_MS = 24 * 60 * 60 * 1000

/** A moment that no calendar holds is none: a reset may be any number. */
function isoTime(ms: number): string | undefined {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString()
}

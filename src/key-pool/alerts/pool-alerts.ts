import {
  type AlertDuty,
  type DeliveryReport,
  noteDelivery,
  takeAlertDuties,
} from '../../balancing/alerts/alert-outbox.ts'
import { watchForAlerts } from '../../balancing/alerts/alert-watch.ts'
import { noteInAudit } from '../../balancing/operators/audit.ts'
import type { PoolState } from '../../balancing/pool-state.ts'
import type { HostPorts } from '../host-ports.ts'
import type { AlertsReply, AlertsRequest } from './alert-protocol.ts'

/** The part of the pool's host that tells operators. It only keeps messages: Workers deliver them. */
export class PoolAlerts {
  readonly #pool: PoolState
  readonly #ports: HostPorts

  constructor(pool: PoolState, ports: HostPorts) {
    this.#pool = pool
    this.#ports = ports
  }

  /** Looks what has begun and what has ended, and logs it. */
  watch(nowMs: number): void {
    const step = { state: this.#pool, nowMs, random: this.#ports.random }
    for (const change of watchForAlerts(step)) this.#ports.logAlert(change)
    this.#logUndelivered()
  }

  /** Takes a Worker's word on what became of messages. */
  note(items: readonly unknown[], nowMs: number): void {
    const { random } = this.#ports
    for (const report of items.filter(isDeliveryReport)) {
      noteDelivery(this.#pool.alerts.outbox, report, { nowMs, random })
    }
    this.#logUndelivered()
  }

  /** @param most the most messages for each address */
  take(most: number, nowMs: number): readonly AlertDuty[] {
    return takeAlertDuties(this.#pool.alerts.outbox, most, nowMs)
  }

  /** What operators see, with what the request says. News that comes again is not told again. */
  answer(request: AlertsRequest, nowMs: number): AlertsReply {
    const { alerts, audit } = this.#pool
    if (request.kind === 'tested') {
      noteInAudit(audit, { atMs: nowMs, by: request.by, what: 'test_alert', target: request.to })
    }
    if (request.kind === 'batch_ended') {
      const { subject, facts } = request
      alerts.news.push({ event: 'batch_ended', subject, facts })
      this.watch(nowMs)
    }
    const { queues, notes, goneUntilMs } = alerts.outbox
    const gone = [...goneUntilMs].flatMap(([to, untilMs]) =>
      untilMs > nowMs ? { to, untilMs } : [],
    )
    return {
      version: 1,
      active: [...alerts.active.values()],
      queued: [...queues.values()].flat(),
      latest: notes.toReversed(),
      gone,
    }
  }

  #logUndelivered(): void {
    for (const one of this.#pool.alerts.outbox.undelivered.splice(0)) {
      this.#ports.logUndelivered(one)
    }
  }
}

const KINDS: ReadonlySet<unknown> = new Set<DeliveryReport['kind']>(['delivered', 'failed', 'gone'])

function isDeliveryReport(value: unknown): value is DeliveryReport {
  if (typeof value !== 'object' || value === null) return false
  const { to, id, kind, status }: { readonly [Name in keyof DeliveryReport]?: unknown } = value
  const isStatus = status === null || Number.isInteger(status)
  return typeof to === 'string' && typeof id === 'string' && KINDS.has(kind) && isStatus
}

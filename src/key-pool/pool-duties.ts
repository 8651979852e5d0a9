import type { GenerationDuty } from '../balancing/accounting/reconciliation.ts'
import type { AlertDuty } from '../balancing/alerts/alert-outbox.ts'
import { hasAlertChanges } from '../balancing/alerts/alert-watch.ts'
import type { LookupDuty } from '../balancing/health/lookup-duty.ts'
import type { PoolState } from '../balancing/pool-state.ts'
import {
  GENERATIONS_PER_STEP,
  takeDutiesAtRest,
  takeGenerations,
  takeLookupDuties,
} from '../balancing/serving/duty-hand-out.ts'
import { ALERTS_PER_STEP, MAX_ALERTS } from './alerts/alert-protocol.ts'
import type { PoolAlerts } from './alerts/pool-alerts.ts'
import {
  boundedBy,
  type DutiesReply,
  type DutiesRequest,
  type ExchangeRequest,
  MAX_DUTIES,
  MAX_GENERATIONS,
} from './protocol.ts'

/** What the host does around the duties. */
export interface DutiesHost {
  /** Runs a step whose bug must not stop the others; null if it met one. */
  guard<T>(step: () => T): T | null
  /** Writes what has changed. */
  write(): void
}

/** Duties that the object hands out: it asks nobody and tells nobody by itself. */
export class PoolDuties {
  readonly #pool: PoolState
  readonly #alerts: PoolAlerts
  readonly #host: DutiesHost

  constructor(pool: PoolState, alerts: PoolAlerts, host: DutiesHost) {
    this.#pool = pool
    this.#alerts = alerts
    this.#host = host
  }

  /** What is to be asked of OpenRouter, with an exchange. */
  take({ takesNoDuties }: ExchangeRequest, nowMs: number): QueryDuties {
    if (takesNoDuties) return { lookups: [], generations: [] }
    const lookups = this.#host.guard(() => takeLookupDuties(this.#pool, nowMs)) ?? []
    return { lookups, generations: this.#generations(GENERATIONS_PER_STEP, nowMs) }
  }

  /** What operators are to be told, with an exchange. */
  takeAlerts({ takesNoDuties }: ExchangeRequest, nowMs: number): readonly AlertDuty[] {
    return takesNoDuties ? [] : this.#messages(ALERTS_PER_STEP, nowMs)
  }

  /** Duties that no request has taken. The pool is written only if an alert begins or ends. */
  atRest({ max, maxGenerations = 0, maxAlerts = 0 }: DutiesRequest, nowMs: number): DutiesReply {
    const lookups = takeDutiesAtRest(this.#pool, boundedBy(MAX_DUTIES, max), nowMs)
    const generations = this.#generations(boundedBy(MAX_GENERATIONS, maxGenerations), nowMs)
    this.#host.guard(() => this.#alerts.watch(nowMs))
    const alerts = this.#messages(boundedBy(MAX_ALERTS, maxAlerts), nowMs)
    return {
      ...{ version: 1, lookups },
      ...(generations.length === 0 ? {} : { generations }),
      ...(alerts.length === 0 ? {} : { alerts }),
    }
  }

  #generations(most: number, nowMs: number): readonly GenerationDuty[] {
    return this.#host.guard(() => takeGenerations(this.#pool, most, nowMs)) ?? []
  }

  /** What begins or ends in a step is on disk before anybody is told of it. */
  #messages(most: number, nowMs: number): readonly AlertDuty[] {
    if (hasAlertChanges(this.#pool)) this.#host.write()
    return this.#host.guard(() => this.#alerts.take(most, nowMs)) ?? []
  }
}

interface QueryDuties {
  readonly lookups: readonly LookupDuty[]
  readonly generations: readonly GenerationDuty[]
}

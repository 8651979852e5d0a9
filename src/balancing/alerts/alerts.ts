import { type ActiveAlert, type AlertCause, type AlertChange, alertName } from './alert.ts'
import { type AlertOutbox, createAlertOutbox } from './alert-outbox.ts'
import { WITHOUT_END } from './alert-policy.ts'

/** Errors of one kind that no row of the table of faults knows. */
interface UnknownErrors {
  readonly count: number
  readonly lastAtMs: number
}

/** All that the pool knows of alerts. */
export interface Alerts {
  /** By the name of an alert. */
  readonly active: Map<string, ActiveAlert>
  /** The alerts whose rows have to be written, or, if they have ended, dropped. */
  readonly changed: Set<string>
  readonly outbox: AlertOutbox
  /** By kind. In memory only. */
  readonly unknownErrors: Map<string, UnknownErrors>
  /** What has happened since the last look, and has no state of which it could be read. */
  news: AlertCause[]
}

export function createAlerts(): Alerts {
  return {
    active: new Map(),
    changed: new Set(),
    outbox: createAlertOutbox(),
    unknownErrors: new Map(),
    news: [],
  }
}

/**
 * Begins alerts whose causes are new, and ends those whose causes have been gone for the interval.
 * @param causes all that there are now
 */
export function followCauses(
  alerts: Alerts,
  causes: readonly AlertCause[],
  intervalMs: number,
  nowMs: number,
): AlertChange[] {
  const changes: AlertChange[] = []
  const present = new Map(causes.map((cause) => [alertName(cause), cause]))
  for (const [name, cause] of present) {
    const active = alerts.active.get(name)
    const alert = { ...cause, sinceMs: active?.sinceMs ?? nowMs, goneSinceMs: null }
    alerts.active.set(name, alert)
    if (active === undefined) changes.push({ phase: 'begin', alert })
    // What the facts say now is written with the next change: a row a second would cost more.
    if (active?.goneSinceMs !== null) alerts.changed.add(name)
  }
  const gone = [...alerts.active].filter(([name]) => !present.has(name))
  for (const [name, active] of gone) {
    const alert = { ...active, goneSinceMs: active.goneSinceMs ?? nowMs }
    const isOver = nowMs - alert.goneSinceMs >= intervalMs
    if (isOver) alerts.active.delete(name)
    else alerts.active.set(name, alert)
    if (isOver || active.goneSinceMs === null) alerts.changed.add(name)
    if (isOver) changes.push({ phase: 'end', alert })
  }
  return changes.filter(({ phase, alert }) => phase === 'begin' || !WITHOUT_END.has(alert.event))
}

/** Callers could make up kinds by the thousand, if they could choose what upstream answers. */
const MAX_KINDS = 50

/** Notes an error that no row of the table of faults knows. */
export function noteUnknownError({ unknownErrors }: Alerts, kind: string, nowMs: number): void {
  const count = (unknownErrors.get(kind)?.count ?? 0) + 1
  if (count === 1 && unknownErrors.size >= MAX_KINDS) return
  unknownErrors.set(kind, { count, lastAtMs: nowMs })
}

/** What is stored of an alert: null if it has ended. */
export function takeAlertRecords(alerts: Alerts): ReadonlyMap<string, ActiveAlert | null> {
  const records = new Map(
    [...alerts.changed].map((name) => [name, alerts.active.get(name) ?? null] as const),
  )
  alerts.changed.clear()
  return records
}

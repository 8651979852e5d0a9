import type { AlertEvent } from './alert-policy.ts'

/** What an alert says beside its event, by names that a receiver reads. Nothing secret. */
export type AlertFacts = Readonly<Record<string, string | number | null>>

/** Why there is an alert. */
export interface AlertCause {
  readonly event: AlertEvent
  /** What it is about: tells the alerts of one event apart. */
  readonly subject: string
  readonly facts: AlertFacts
}

/** An alert that has begun and not ended. */
export interface ActiveAlert extends AlertCause {
  readonly sinceMs: number
  /** Since when its cause is gone, in epoch milliseconds; null while it is there. */
  readonly goneSinceMs: number | null
}

/** An alert has begun, or has ended. */
export interface AlertChange {
  readonly phase: 'begin' | 'end'
  readonly alert: ActiveAlert
}

/** The name of an alert among all. */
export function alertName({ event, subject }: Pick<AlertCause, 'event' | 'subject'>): string {
  return `${event} ${subject}`
}

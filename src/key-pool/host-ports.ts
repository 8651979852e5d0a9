import type { Drift } from '../balancing/accounting/drift.ts'
import type { AlertChange } from '../balancing/alerts/alert.ts'
import type { Undelivered } from '../balancing/alerts/alert-outbox.ts'
import type { PoolState } from '../balancing/pool-state.ts'
import type { Transition } from '../balancing/serving/out-of-use.ts'
import type { Store } from './rows/record-store.ts'

/** Clock, timers, randomness and storage, as parameters. Tests run the host on virtual time. */
export interface HostPorts {
  nowMs(): number
  /** Calls back once after `ms`. The returned function cancels the timer. */
  timer(ms: number, callback: () => void): () => void
  random(): number
  readonly store: Store
  /** Keeps the object in memory until what was written is on disk. */
  sync(): void
  /** Reports what must not happen, and must not stop the rest. */
  logBug(bug: unknown): void
  /** Tells the operator what has gone out of use or come back. */
  logTransition(transition: Transition): void
  /** Tells the operator of an alert that has begun or ended. */
  logAlert(change: AlertChange): void
  /** Tells the operator of a message that its address never gets. */
  logUndelivered(undelivered: Undelivered): void
  /** Tells the operator of a day on which a key spent another sum at OpenRouter than here. */
  logDrift(drift: Drift): void
}

/** Tells the operator of sums what nobody was told yet. */
export function tellOfDrifts({ changes }: PoolState, ports: HostPorts): void {
  for (const drift of changes.drifts.splice(0)) ports.logDrift(drift)
}

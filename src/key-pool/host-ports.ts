import type { Drift } from '../balancing/accounting/drift.ts'
import type { ThresholdPassed } from '../balancing/clients/charge-settling.ts'
import type { PoolState } from '../balancing/pool-state.ts'
import type { Transition } from '../balancing/serving/out-of-use.ts'
import type { Store } from './record-store.ts'

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
  /** Tells the operator that a budget has passed a share of what it pays for. */
  logThreshold(passed: ThresholdPassed): void
  /** Tells the operator of a day on which a key spent another sum at OpenRouter than here. */
  logDrift(drift: Drift): void
}

/** Tells the operator of budgets and of sums what nobody was told yet. */
export function tellOfMoney({ changes }: PoolState, ports: HostPorts): void {
  const { thresholds, drifts } = changes
  for (const passed of thresholds.splice(0)) ports.logThreshold(passed)
  for (const drift of drifts.splice(0)) ports.logDrift(drift)
}

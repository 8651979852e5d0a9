/** What operators are told of. Each begins and, but for what has no end, ends. */
export const ALERT_EVENTS = [
  'key_rejected',
  'key_spent',
  'key_expires_soon',
  'credit_low',
  'account_out_of_credit',
  'breaker_open',
  'usable_keys_below',
  'budget_threshold',
  'pool_degraded',
  'unknown_error',
  'batch_ended',
] as const

export type AlertEvent = (typeof ALERT_EVENTS)[number]

/** News: they are told once, and nothing of them ends. */
export const WITHOUT_END: ReadonlySet<AlertEvent> = new Set<AlertEvent>(['batch_ended'])

/** When alerts begin, and where they go. */
export interface AlertPolicy {
  /** The names of the addresses that an event goes to. What an address is, the pool does not know. */
  readonly to: ReadonlyMap<AlertEvent, readonly string[]>
  /**
   * An alert ends when its cause has been gone for this long. So what comes and goes all the time is
   * one alert, and the same alert begins at most once in this time.
   */
  readonly intervalMs: number
  /** The share of a key's cap at which its credit is low; 0 for never. */
  readonly creditLowShare: number
  /** Credit that will be spent within this time is low too; 0 for never. */
  readonly creditLowMs: number
  /** From 1 on a number of keys, below 1 a share of the pool; 0 for never. */
  readonly usableKeysBelow: number
  /** How long before its end a key expires soon. */
  readonly keyExpiresMs: number
  /** The least percentage of a budget that is told of. */
  readonly budgetFromPercent: number
}

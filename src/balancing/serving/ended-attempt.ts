import type { AccountState } from '../health/account.ts'
import type { ModelId } from '../ids.ts'
import type { RunningLease } from '../limits/leases.ts'
import type { KeyState } from '../pool-state.ts'
import type { Settlement } from '../settlement.ts'

/** An attempt that has ended, as far as the pool still knows of it. */
export interface EndedAttempt {
  readonly key: KeyState
  readonly lease: RunningLease | null
  readonly model: ModelId | null
}

/** Whether an attempt began in the key's present epoch, so that it shows how the key is now. */
export function isCurrent({ key, lease }: EndedAttempt, settlement: Settlement): boolean {
  if (lease !== null) return lease.epoch === key.epoch
  const { breaker } = key
  const recoveredAtMs = breaker.kind === 'closed' ? breaker.recoveredAtMs : null
  const beganAtMs = settlement.lease?.grantedAtMs ?? null
  return recoveredAtMs === null || beganAtMs === null || beganAtMs >= recoveredAtMs
}

export function grantedAtMs({ lease }: EndedAttempt, settlement: Settlement): number | null {
  return lease?.grantedAtMs ?? settlement.lease?.grantedAtMs ?? null
}

/**
 * Whether an attempt began before an operator reset a key of an account or of a budget. Its own key's
 * reset is known more exactly; this is for its sisters.
 */
export function isBeforeResetOf(
  { resetAtMs }: Pick<AccountState, 'resetAtMs'>,
  attempt: EndedAttempt,
  settlement: Settlement,
): boolean {
  return (grantedAtMs(attempt, settlement) ?? 0) < resetAtMs
}

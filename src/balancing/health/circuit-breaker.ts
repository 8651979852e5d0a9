import type { LeaseId } from '../ids.ts'

/**
 * A key's circuit breaker (Nygard, "Release It!", 2007). Time is evaluated lazily: no timer runs,
 * and `asOf` notices that a cooldown has ended.
 *
 * ```
 *            failures in the window            cooldown over
 *   closed ──────────────────────────► open ──────────────────► half_open
 *     ▲                                 ▲                        │     │
 *     │                                 └── probe failed (2×) ───┘     │
 *     └───────────────────────── probe succeeded ─────────────────────┘
 * ```
 */
export type Breaker =
  | {
      readonly kind: 'closed'
      /** When the latest failures happened, oldest first. Fewer than open the breaker. */
      readonly failuresAtMs: readonly number[]
      /** When a probe closed the breaker; null if it was never open. See slow-start.ts. */
      readonly recoveredAtMs: number | null
    }
  | {
      readonly kind: 'open'
      readonly untilMs: number
      readonly cooldownMs: number
      /** The failures that opened it, so that they can be taken back. See correlation.ts. */
      readonly failuresAtMs: readonly number[]
      /** The cooldown before the probe failed that opened it again; null if failures opened it. */
      readonly earlierCooldownMs: number | null
    }
  | { readonly kind: 'half_open'; readonly probe: LeaseId | null; readonly cooldownMs: number }

export interface BreakerPolicy {
  /** Failures within `windowMs` that open the breaker; at least 1. */
  readonly failures: number
  readonly windowMs: number
  /** The first cooldown; it doubles with each failed probe, up to `maxCooldownMs`. */
  readonly cooldownMs: number
  readonly maxCooldownMs: number
}

/** The breaker of a key that never failed. */
export const CLOSED: Breaker = { kind: 'closed', failuresAtMs: [], recoveredAtMs: null }

/** The breaker as of now: an open breaker is half-open once its cooldown is over. */
export function asOf(breaker: Breaker, nowMs: number): Breaker {
  return breaker.kind === 'open' && nowMs >= breaker.untilMs
    ? { kind: 'half_open', probe: null, cooldownMs: breaker.cooldownMs }
    : breaker
}

/** Whether the next request would be the breaker's probe. */
export function awaitsProbe(breaker: Breaker, nowMs: number): boolean {
  const now = asOf(breaker, nowMs)
  return now.kind === 'half_open' && now.probe === null
}

/** Makes a lease the probe of a half-open breaker that has none. Changes no other breaker. */
export function beginProbe(breaker: Breaker, probe: LeaseId): Breaker {
  return breaker.kind === 'half_open' && breaker.probe === null ? { ...breaker, probe } : breaker
}

/**
 * The breaker after a success. Only the probe's success closes a breaker. A call that began before
 * the breaker opened shows how the key was then, not how it is now.
 */
export function afterSuccess(breaker: Breaker, lease: LeaseId, nowMs: number): Breaker {
  return breaker.kind === 'half_open' && breaker.probe === lease
    ? { kind: 'closed', failuresAtMs: [], recoveredAtMs: nowMs }
    : breaker
}

/** One failed call. */
export interface BreakerFailure {
  readonly leaseId: LeaseId
  /**
   * Whether the lease was granted in panic (see panic.ts). In panic the fault is upstream's, so a
   * failed probe must not lengthen the key's cooldown.
   */
  readonly panic: boolean
}

/** The breaker after a failure. Only the probe's failure changes a breaker that is not closed. */
export function afterFailure(
  breaker: Breaker,
  { leaseId, panic }: BreakerFailure,
  nowMs: number,
  policy: BreakerPolicy,
): Breaker {
  switch (breaker.kind) {
    case 'closed':
      return afterClosedFailure(breaker, nowMs, policy)
    case 'open':
      return breaker
    case 'half_open': {
      if (breaker.probe !== leaseId) return breaker
      const factor = panic ? 1 : 2
      const cooldownMs = Math.min(breaker.cooldownMs * factor, policy.maxCooldownMs)
      return {
        kind: 'open',
        untilMs: nowMs + cooldownMs,
        cooldownMs,
        failuresAtMs: [nowMs],
        earlierCooldownMs: breaker.cooldownMs,
      }
    }
  }
}

/**
 * The breaker without some failures that turned out not to be the key's. A breaker that opened only
 * because of them is closed again; one whose probe was among them awaits the next probe.
 */
export function withoutFailures(
  breaker: Breaker,
  takenBackAtMs: readonly number[],
  policy: BreakerPolicy,
): Breaker {
  if (breaker.kind === 'half_open') return breaker
  const left = [...takenBackAtMs]
  const failuresAtMs = breaker.failuresAtMs.filter((atMs) => {
    const index = left.indexOf(atMs)
    if (index !== -1) left.splice(index, 1)
    return index === -1
  })
  if (failuresAtMs.length === breaker.failuresAtMs.length) return breaker
  if (breaker.kind === 'closed') return { ...breaker, failuresAtMs }
  if (breaker.earlierCooldownMs !== null) {
    return { kind: 'half_open', probe: null, cooldownMs: breaker.earlierCooldownMs }
  }
  return failuresAtMs.length < policy.failures
    ? { kind: 'closed', failuresAtMs, recoveredAtMs: null }
    : { ...breaker, failuresAtMs }
}

/**
 * The window holds moments of failures and moves with the clock. After ten idle minutes the old
 * failures are forgotten. A window that moved with calls would still count them.
 */
function afterClosedFailure(
  breaker: Extract<Breaker, { kind: 'closed' }>,
  nowMs: number,
  policy: BreakerPolicy,
): Breaker {
  const failuresAtMs = [...breaker.failuresAtMs, nowMs].filter(
    (atMs) => atMs > nowMs - policy.windowMs,
  )
  if (failuresAtMs.length < policy.failures) return { ...breaker, failuresAtMs }
  const cooldownMs = Math.min(policy.cooldownMs, policy.maxCooldownMs)
  const untilMs = nowMs + cooldownMs
  return { kind: 'open', untilMs, cooldownMs, failuresAtMs, earlierCooldownMs: null }
}

/**
 * The breaker after an attempt that proved nothing: the caller's mistake, a client that left, a
 * lease that expired. If this was the probe, the next request becomes the probe. Otherwise one lost
 * probe would keep the key out of use without end.
 */
export function afterNothing(breaker: Breaker, lease: LeaseId): Breaker {
  return breaker.kind === 'half_open' && breaker.probe === lease
    ? { ...breaker, probe: null }
    : breaker
}

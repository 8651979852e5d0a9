import type { LeaseId } from '../ids.ts'

/**
 * A key's circuit breaker (Nygard, "Release It!", 2007), with time evaluated
 * lazily: nothing happens when a cooldown ends, it is noticed when somebody asks.
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
      /** When the latest failures happened, oldest first; never more than open the breaker. */
      readonly failuresAtMs: readonly number[]
      /** When a probe closed it, or null if it never was open: see slow-start.ts. */
      readonly recoveredAtMs: number | null
    }
  | { readonly kind: 'open'; readonly untilMs: number; readonly cooldownMs: number }
  | { readonly kind: 'half_open'; readonly probe: LeaseId | null; readonly cooldownMs: number }

export interface BreakerPolicy {
  /** Failures within `windowMs` that open the breaker; at least 1. */
  readonly failures: number
  readonly windowMs: number
  /** The first cooldown; it doubles with each failed probe, up to `maxCooldownMs`. */
  readonly cooldownMs: number
  readonly maxCooldownMs: number
}

export const CLOSED: Breaker = { kind: 'closed', failuresAtMs: [], recoveredAtMs: null }

/** The breaker as of now: an open one whose cooldown is over is half-open. */
export function asOf(breaker: Breaker, nowMs: number): Breaker {
  return breaker.kind === 'open' && nowMs >= breaker.untilMs
    ? { kind: 'half_open', probe: null, cooldownMs: breaker.cooldownMs }
    : breaker
}

/** Whether the next request would be its probe. */
export function awaitsProbe(breaker: Breaker, nowMs: number): boolean {
  const now = asOf(breaker, nowMs)
  return now.kind === 'half_open' && now.probe === null
}

/** Gives the probe slot of a half-open breaker to a lease; any other breaker is left as it is. */
export function beginProbe(breaker: Breaker, probe: LeaseId): Breaker {
  return breaker.kind === 'half_open' && breaker.probe === null ? { ...breaker, probe } : breaker
}

/**
 * Only the probe's success closes a breaker. A call that was admitted before
 * the breaker opened says how the key was then, not how it is.
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
   * Whether the lease was granted in panic (see panic.ts): the fault is then upstream's, and a
   * failed probe must not lengthen the key's cooldown.
   */
  readonly panic: boolean
}

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
      return { kind: 'open', untilMs: nowMs + cooldownMs, cooldownMs }
    }
  }
}

/**
 * The window is the last `failures` moments, compared with the clock: it moves
 * with time, so ten idle minutes forget what a window advanced by calls would
 * still hold against the key.
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
  return { kind: 'open', untilMs: nowMs + cooldownMs, cooldownMs }
}

/**
 * A probe that proved nothing (the caller's mistake, a client that left, a lease
 * that expired) gives its slot back. Without this arm one lost probe would wedge
 * the key for good.
 */
export function afterNothing(breaker: Breaker, lease: LeaseId): Breaker {
  return breaker.kind === 'half_open' && breaker.probe === lease
    ? { ...breaker, probe: null }
    : breaker
}

import { STRATEGY_NAMES, type StrategyName } from '../balancing/strategy.ts'
import { bounded, boundedInteger, oneOf, section, type Wording } from './fields.ts'

const MIB = 1024 * 1024

const retryBudget = section({
  ratio: bounded(0, 1).default(0.2),
  min_per_s: bounded(0, 100).default(2),
})

const DEFAULT_MAX_COOLDOWN_S = 900

const breaker = section({
  failures: boundedInteger(1, 100).default(3),
  window_s: bounded(1, 3600).default(60),
  cooldown_s: bounded(1, 3600).default(60),
  max_cooldown_s: bounded(1, 86_400).optional(),
  panic_ratio: bounded(0, 1).default(0.5),
}).check((context) => {
  const { cooldown_s, max_cooldown_s } = context.value
  if (max_cooldown_s === undefined || max_cooldown_s >= cooldown_s) return
  context.issues.push({
    code: 'custom',
    path: ['max_cooldown_s'],
    message: `must be at least cooldown_s (${cooldown_s}), given ${max_cooldown_s}`,
    input: max_cooldown_s,
  })
})

const defaults = section({
  weight: weight().default(1),
  max_concurrent: maxConcurrent().optional(),
})

const milliseconds = (initial: number) => boundedInteger(100, 3_600_000).default(initial)

const timeouts = section({
  headers_ms: milliseconds(30_000),
  first_output_ms: milliseconds(120_000),
  idle_ms: milliseconds(60_000),
  total_ms: milliseconds(600_000),
})

/** `POLICY` as an operator writes it. An unknown field is a fault: a typo must not be a no-op. */
const policy = section({
  strategy: oneOf(STRATEGY_NAMES).default('least-busy'),
  max_attempts: boundedInteger(1, 10).default(4),
  retry_budget: retryBudget.prefault({}),
  breaker: breaker.prefault({}),
  defaults: defaults.prefault({}),
  timeouts: timeouts.prefault({}),
  max_body_bytes: boundedInteger(1024, 100 * MIB).default(25 * MIB),
  on_pool_unavailable: oneOf(['open', 'closed']).default('open'),
})

/** A key's relative share. */
export function weight(wording?: Wording) {
  return boundedInteger(1, 1000, wording)
}

/** Most requests that one key may have in flight. */
export function maxConcurrent(wording?: Wording) {
  return boundedInteger(1, 1_000_000, wording)
}

/** The four clocks of an attempt, in milliseconds. */
export interface Timeouts {
  /** Until response headers. */
  readonly headersMs: number
  /** Until the first real output of a stream. */
  readonly firstOutputMs: number
  /** Between any two bytes after that. */
  readonly idleMs: number
  /** The whole request, waiting included. */
  readonly totalMs: number
}

export interface Policy {
  readonly strategy: StrategyName
  readonly maxAttempts: number
  readonly retryBudget: { readonly ratio: number; readonly minPerSecond: number }
  readonly breaker: {
    readonly failures: number
    readonly windowMs: number
    readonly cooldownMs: number
    readonly maxCooldownMs: number
  }
  readonly panicRatio: number
  readonly defaultWeight: number
  readonly defaultMaxConcurrent: number | null
  readonly timeouts: Timeouts
  readonly maxBodyBytes: number
  /** Whether requests go on without the pool object, by the configuration alone. */
  readonly onPoolUnavailable: 'open' | 'closed'
}

/** Validates `POLICY` and turns the operator's units into ours. */
export const policySchema = policy.transform((fields): Policy => {
  const { breaker, timeouts } = fields
  const maxCooldownS =
    breaker.max_cooldown_s ?? Math.max(DEFAULT_MAX_COOLDOWN_S, breaker.cooldown_s)
  return {
    strategy: fields.strategy,
    maxAttempts: fields.max_attempts,
    retryBudget: { ratio: fields.retry_budget.ratio, minPerSecond: fields.retry_budget.min_per_s },
    breaker: {
      failures: breaker.failures,
      windowMs: breaker.window_s * 1000,
      cooldownMs: breaker.cooldown_s * 1000,
      maxCooldownMs: maxCooldownS * 1000,
    },
    panicRatio: breaker.panic_ratio,
    defaultWeight: fields.defaults.weight,
    defaultMaxConcurrent: fields.defaults.max_concurrent ?? null,
    timeouts: {
      headersMs: timeouts.headers_ms,
      firstOutputMs: timeouts.first_output_ms,
      idleMs: timeouts.idle_ms,
      totalMs: timeouts.total_ms,
    },
    maxBodyBytes: fields.max_body_bytes,
    onPoolUnavailable: fields.on_pool_unavailable,
  }
})

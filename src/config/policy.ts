import * as z from 'zod/mini'
import type { ModelId } from '../balancing/ids.ts'
import type { NonEmpty } from '../balancing/non-empty.ts'
import type { PoolPolicy } from '../balancing/pool-state.ts'
import { AFFINITIES } from '../balancing/routes.ts'
import { STRATEGY_NAMES } from '../balancing/strategies/strategy-registry.ts'
import { type AlertSettings, alertFields, alertSettings } from './alerts/alert-fields.ts'
import { aliasesOf, aliasFields } from './aliases.ts'
import { extraPathFields } from './extra-paths.ts'
import { bounded, boundedInteger, flag, oneOf, section, type Wording } from './fields.ts'
import { maxAttempts, type RoutePolicy, routeFields, routesOf } from './route-policy.ts'
import { type Timeouts, timeoutFields, timeoutsOf } from './timeouts.ts'

const MIB = 1024 * 1024

const retryBudget = section({
  ratio: z._default(bounded(0, 1), 0.2),
  min_per_s: z._default(bounded(0, 100), 2),
})

const DEFAULT_MAX_COOLDOWN_S = 900

const breaker = section({
  failures: z._default(boundedInteger(1, 100), 3),
  window_s: z._default(bounded(1, 3600), 60),
  cooldown_s: z._default(bounded(1, 3600), 60),
  max_cooldown_s: z.optional(bounded(1, 86_400)),
  panic_ratio: z._default(bounded(0, 1), 0.5),
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
  weight: z._default(weight(), 1),
  max_concurrent: z.optional(maxConcurrent()),
  rpm: z.optional(rpm()),
  tpm: z.optional(tpm()),
  min_credit: z._default(usd(), 0),
})

const credit = section({
  refresh_s: z._default(bounded(30, 3600), 60),
  threshold: z._default(usd(), 1),
})

const queue = section({
  max_waiting: z._default(boundedInteger(0, 10_000), 100),
  max_wait_ms: z._default(boundedInteger(0, 60_000), 10_000),
})

const batch = section({
  max_file_bytes: z._default(boundedInteger(1024, 1024 * MIB), 200 * MIB),
  // Nothing at all would leave batches in which no line ever runs.
  share: z._default(bounded(0.01, 1), 0.5),
})

/** `POLICY` as an operator writes it. An unknown field is a fault, so a typo is not ignored. */
const policy = section({
  strategy: z._default(oneOf(STRATEGY_NAMES), 'least-busy'),
  affinity: z._default(oneOf(AFFINITIES), 'session'),
  max_attempts: z._default(maxAttempts(), 4),
  retry_budget: z.prefault(retryBudget, {}),
  breaker: z.prefault(breaker, {}),
  defaults: z.prefault(defaults, {}),
  credit: z.prefault(credit, {}),
  queue: z.prefault(queue, {}),
  batch: z.prefault(batch, {}),
  timeouts: z.prefault(timeoutFields, {}),
  routes: z._default(routeFields, []),
  aliases: z._default(aliasFields, {}),
  alerts: z.prefault(alertFields, {}),
  extra_paths: z._default(extraPathFields, []),
  spill_free_tier: z._default(flag(), false),
  spill_policy: z._default(flag(), false),
  max_body_bytes: z._default(boundedInteger(1024, 100 * MIB), 25 * MIB),
  on_pool_unavailable: z._default(oneOf(['open', 'closed']), 'open'),
})

/** A key's relative share of the requests. */
export function weight(wording?: Wording) {
  return boundedInteger(1, 1000, wording)
}

/** The most requests that one key may have in flight. */
export function maxConcurrent(wording?: Wording) {
  return boundedInteger(1, 1_000_000, wording)
}

/** The most requests that one key may begin in any 60 seconds. */
export function rpm(wording?: Wording) {
  return boundedInteger(1, 1_000_000, wording)
}

/** The most tokens of the requests that one key may begin in any 60 seconds. */
export function tpm(wording?: Wording) {
  return boundedInteger(1, 1_000_000_000, wording)
}

/** An amount of credit, in USD. */
export function usd(wording?: Wording) {
  return bounded(0, 1_000_000, wording)
}

export interface Policy {
  /** The first match wins. The last route matches every model. */
  readonly routes: NonEmpty<RoutePolicy>
  readonly aliases: ReadonlyMap<string, ModelId>
  readonly alerts: AlertSettings
  /** Inference paths that the operator opened in addition to the known ones. */
  readonly extraPaths: readonly string[]
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
  readonly defaultRpm: number | null
  readonly defaultTpm: number | null
  readonly defaultMinCreditUsd: number
  readonly credit: PoolPolicy['credit']
  readonly queue: PoolPolicy['queue']
  readonly batch: {
    /** The largest file that a client may upload. */
    readonly maxFileBytes: number
    /** The part of each limit that lines of batches may take. */
    readonly share: number
  }
  readonly spillFreeTier: boolean
  readonly spillPolicy: boolean
  /** The timeouts of the pool. A route may have its own. */
  readonly timeouts: Timeouts
  readonly maxBodyBytes: number
  /** Whether the gateway serves requests without the pool object, by the configuration alone. */
  readonly onPoolUnavailable: 'open' | 'closed'
}

const toPolicy = z.transform((fields: z.output<typeof policy>): Policy => {
  const { breaker, defaults, credit, queue } = fields
  const maxCooldownS =
    breaker.max_cooldown_s ?? Math.max(DEFAULT_MAX_COOLDOWN_S, breaker.cooldown_s)
  return {
    routes: routesOf(fields.routes, fields),
    aliases: aliasesOf(fields.aliases),
    alerts: alertSettings(fields.alerts),
    extraPaths: fields.extra_paths,
    retryBudget: { ratio: fields.retry_budget.ratio, minPerSecond: fields.retry_budget.min_per_s },
    breaker: {
      failures: breaker.failures,
      windowMs: breaker.window_s * 1000,
      cooldownMs: breaker.cooldown_s * 1000,
      maxCooldownMs: maxCooldownS * 1000,
    },
    panicRatio: breaker.panic_ratio,
    defaultWeight: defaults.weight,
    defaultMaxConcurrent: defaults.max_concurrent ?? null,
    defaultRpm: defaults.rpm ?? null,
    defaultTpm: defaults.tpm ?? null,
    defaultMinCreditUsd: defaults.min_credit,
    credit: { refreshMs: credit.refresh_s * 1000, thresholdUsd: credit.threshold },
    queue: { maxWaiting: queue.max_waiting, maxWaitMs: queue.max_wait_ms },
    batch: { maxFileBytes: fields.batch.max_file_bytes, share: fields.batch.share },
    spillFreeTier: fields.spill_free_tier,
    spillPolicy: fields.spill_policy,
    timeouts: timeoutsOf(fields.timeouts),
    maxBodyBytes: fields.max_body_bytes,
    onPoolUnavailable: fields.on_pool_unavailable,
  }
})

/** Validates `POLICY` and converts the operator's units into the gateway's: milliseconds. */
export const policySchema = z.pipe(policy, toPolicy)

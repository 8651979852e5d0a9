import * as z from 'zod/mini'
import { SPEND_PERIODS } from '../../balancing/limits/quota-charge.ts'
import { REASONS } from '../../balancing/reasons.ts'
import { AFFINITIES } from '../../balancing/routes.ts'
import { clientAnswer, groupAnswer } from '../answer-schemas.ts'

/** What the admin API gives of the pool. As in answer-schemas.ts, only types of it are bundled. */

const text = z.string()
const number = z.number()
const numberOrNull = z.nullable(z.number())
/** A moment, as ISO 8601 writes it, or null. */
const momentOrNull = z.nullable(z.string())

export const counters = z.object({
  attempts: number,
  successes: number,
  failures: number,
  ignored: number,
  faults: z.record(z.string(), z.number()),
  prompt_tokens: number,
  completion_tokens: number,
  cached_tokens: number,
  reasoning_tokens: number,
  cost_usd: number,
  estimated: number,
  estimated_usd: number,
})

const cacheCounters = z.object({
  hits: number,
  joins: number,
  misses: number,
  bypasses: number,
  kept_bytes: number,
  saved_usd: number,
})

const counted = { total: counters, today: counters }

/** Of how many times, and their quantiles in milliseconds; null if there is none. */
const quantiles = z.object({
  count: number,
  p50: numberOrNull,
  p90: numberOrNull,
  p99: numberOrNull,
})

const credit = z.object({
  limit_usd: numberOrNull,
  remaining_usd: numberOrNull,
  resets_at: momentOrNull,
  projected_end: momentOrNull,
  as_of: text,
  stale: z.boolean(),
})

export const keyAnswer = z.object({
  id: text,
  account: text,
  tags: z.array(text),
  reason: z.nullable(z.enum(REASONS)),
  clears_at: momentOrNull,
  reasons: z.array(z.enum(REASONS)),
  disabled: z.boolean(),
  halt: z.nullable(z.object({ kind: z.enum(['paused', 'draining']), since: text })),
  breaker: z.object({ state: z.enum(['closed', 'open', 'half_open']), until: momentOrNull }),
  in_flight: number,
  /** How many of them are lines of batches. */
  batch_in_flight: number,
  weight: number,
  max_concurrent: numberOrNull,
  rpm: numberOrNull,
  rpm_used_share: numberOrNull,
  tpm: numberOrNull,
  tpm_used_share: numberOrNull,
  min_credit_usd: number,
  max_spend: z.nullable(
    z.object({
      usd: number,
      period: z.enum(SPEND_PERIODS),
      spent_usd: number,
      reserved_usd: number,
      lost_usd: number,
      resets_at: momentOrNull,
    }),
  ),
  credit: z.nullable(credit),
  expires_at: momentOrNull,
  expires_soon: z.boolean(),
  affordable_tokens: numberOrNull,
  latency_ms: numberOrNull,
  first_output_ms: quantiles,
  answer_ms: quantiles,
  ...counted,
})

const bench = z.object({
  of: z.enum(['account', 'free_models', 'model']),
  model: z.nullable(text),
  reason: text,
  since: text,
  until: momentOrNull,
})

export const accountAnswer = z.object({
  id: text,
  kind: z.enum(['account', 'creator', 'workspace']),
  is_own: z.boolean(),
  keys: z.array(text),
  in_flight: number,
  benches: z.array(bench),
  ...counted,
})

export const routeAnswer = z.object({
  models: z.array(text),
  strategy: text,
  affinity: z.enum(AFFINITIES),
  fallback_models: z.array(text),
  key_count: number,
})

export const queueAnswer = z.object({
  waiting: number,
  max_waiting: number,
  max_wait_ms: number,
  lane_count: number,
  lanes: z.array(z.object({ client: text, model: text, waiting: number, last_deadline_at: text })),
})

export const poolAnswer = z.object({
  at: text,
  keys_total: number,
  keys_usable: number,
  panic: z.boolean(),
  keys: z.array(keyAnswer),
  accounts: z.array(accountAnswer),
  benched_models: z.array(z.object({ model: text, until: momentOrNull })),
  routes: z.array(routeAnswer),
  queue: queueAnswer,
  /** Those that have not ended, 100 at most, as they were some seconds ago. */
  batches: z.array(
    z.object({
      id: text,
      client: text,
      status: text,
      lines: z.object({
        total: number,
        completed: number,
        failed: number,
        /** With a consumer now. */
        claimed: number,
        waiting: number,
      }),
      expires_at: text,
    }),
  ),
  clients_total: number,
  clients: z.array(z.extend(clientAnswer, counted)),
  groups_total: number,
  groups: z.array(z.extend(groupAnswer, counted)),
  ...counted,
  cache: z.object({ total: cacheCounters, today: cacheCounters }),
})

export const refreshAnswer = z.object({
  keys: z.array(
    z.object({
      id: text,
      state: z.enum(['found', 'rejected', 'failed', 'under_way', 'later']),
      credit: z.nullable(credit),
    }),
  ),
})

export type PoolAnswer = z.output<typeof poolAnswer>
export type KeyAnswer = z.output<typeof keyAnswer>
export type RefreshAnswer = z.output<typeof refreshAnswer>

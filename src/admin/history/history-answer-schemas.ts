import * as z from 'zod/mini'
import { USAGE_BY } from '../../balancing/accounting/day-usage.ts'
import { CACHE_OUTCOMES, REQUEST_OUTCOMES } from '../../balancing/accounting/request-row.ts'

/** What the admin API tells of the past. See answer-schemas.ts. */

const usage = z.object({
  prompt_tokens: z.number(),
  completion_tokens: z.number(),
  cached_tokens: z.number(),
  reasoning_tokens: z.number(),
  cost_usd: z.number(),
  estimated: z.boolean(),
})

const attempt = z.object({
  key: z.string(),
  model: z.string(),
  status: z.nullable(z.number()),
  row: z.nullable(z.string()),
  fault: z.nullable(z.string()),
  why: z.nullable(z.string()),
  began_ms: z.number(),
  waited_ms: z.number(),
  took_ms: z.nullable(z.number()),
  first_output_ms: z.nullable(z.number()),
})

export const requestAnswer = z.object({
  id: z.string(),
  client: z.string(),
  group: z.nullable(z.string()),
  path: z.string(),
  route: z.nullable(z.number()),
  asked: z.nullable(z.string()),
  sent: z.nullable(z.string()),
  outcome: z.enum(REQUEST_OUTCOMES),
  cache: z.nullable(z.enum(CACHE_OUTCOMES)),
  status: z.nullable(z.number()),
  reason: z.nullable(z.string()),
  reasons: z.record(z.string(), z.number()),
  streamed: z.boolean(),
  degraded: z.boolean(),
  attempts: z.array(attempt),
  attempts_left_out: z.number(),
  timings_ms: z.object({ auth: z.number(), acquire: z.number(), wait: z.number() }),
  usage: z.nullable(usage),
  started_at: z.string(),
  ended_at: z.string(),
})

export const requestsAnswer = z.object({ requests: z.array(requestAnswer) })

export const usageRow = z.object({
  date: z.string(),
  name: z.string(),
  attempts: z.number(),
  successes: z.number(),
  failures: z.number(),
  ignored: z.number(),
  prompt_tokens: z.number(),
  completion_tokens: z.number(),
  cached_tokens: z.number(),
  reasoning_tokens: z.number(),
  cost_usd: z.number(),
  estimated: z.number(),
  estimated_usd: z.number(),
  faults: z.record(z.string(), z.number()),
})

export const usageAnswer = z.object({
  by: z.enum(USAGE_BY),
  from: z.string(),
  to: z.string(),
  rows: z.array(usageRow),
})

export type RequestAnswer = z.output<typeof requestAnswer>
export type UsageRowAnswer = z.output<typeof usageRow>

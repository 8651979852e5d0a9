import * as z from 'zod/mini'
import { DAYS_KEPT, USAGE_BY } from '../../balancing/accounting/day-usage.ts'
import { dayOf } from '../../balancing/accounting/ledger.ts'
import {
  CACHE_OUTCOMES,
  MAX_REQUEST_ID_LENGTH,
  REQUEST_OUTCOMES,
} from '../../balancing/accounting/request-row.ts'
import { exactly } from '../../config/fields.ts'

/** What the admin API takes and gives of the past. See admin-schemas.ts and answer-schemas.ts. */

const MAX_ROWS = 1_000

const limit = z.pipe(
  z.string().check(z.regex(/^[0-9]{1,9}$/, { error: 'must be a number from 1 to 1000' })),
  z.pipe(
    z.transform(Number),
    z
      .number()
      .check(
        z.minimum(1, { error: 'must be a number from 1 to 1000' }),
        z.maximum(MAX_ROWS, { error: 'must be a number from 1 to 1000' }),
      ),
  ),
)

const name = z.string().check(z.maxLength(MAX_REQUEST_ID_LENGTH, { error: 'is too long' }))

const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) =>
  z.enum(names, { error: `must be one of ${names.join(', ')}` })

const A_DATE = 'must be a date as 2026-01-31'

/** A UTC day, by its date. */
const day = z.pipe(
  z.string().check(
    z.regex(/^\d{4}-\d\d-\d\d$/, { error: A_DATE }),
    z.refine((text) => isDate(text), { error: A_DATE }),
  ),
  z.transform((text: string) => dayOf(Date.parse(text))),
)

/** The calendar has to know it: `Date` takes the 31st of February for a day in March. */
function isDate(text: string): boolean {
  const atMs = Date.parse(text)
  return !Number.isNaN(atMs) && new Date(atMs).toISOString().startsWith(text)
}

const unknown = () => 'must be parameters'

export const requestsQuery = exactly(
  {
    limit: z.optional(limit),
    id: z.optional(name),
    client: z.optional(name),
    key: z.optional(name),
    outcome: z.optional(oneOf(REQUEST_OUTCOMES)),
    since: z.optional(
      z.pipe(
        z.string().check(
          z.refine((text) => !Number.isNaN(Date.parse(text)), {
            error: 'must be a moment as 2026-01-31T12:00:00Z',
          }),
        ),
        z.transform((text: string) => Date.parse(text)),
      ),
    ),
  },
  unknown,
)

export const usageQuery = exactly(
  {
    from: z.optional(day),
    to: z.optional(day),
    by: z.optional(oneOf(USAGE_BY)),
    format: z.optional(oneOf(['json', 'csv'])),
  },
  unknown,
)

/** More days are not kept. */
export const MAX_DAYS = DAYS_KEPT

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

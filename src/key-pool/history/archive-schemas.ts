import * as z from 'zod/mini'
import type { DayUsage } from '../../balancing/accounting/day-usage.ts'
import {
  type AttemptRow,
  CACHE_OUTCOMES,
  REQUEST_OUTCOMES,
  type RequestRow,
} from '../../balancing/accounting/request-row.ts'
import { entries, orElse, orNull, tuple } from '../or-else.ts'
import { countersSchema, usageSchema } from '../rows/record-schemas.ts'
import type { RequestsPart } from './archive-rows.ts'

/** Schemas of the archive's rows, which are read as those of the other table are: entry by entry. */

const names = z.pipe(
  orElse(entries(tuple(z.string(), countersSchema)), []),
  z.transform((list) => new Map(list)),
)

export const daySchema: z.ZodMiniType<DayUsage> = z.object({
  day: z.number(),
  all: countersSchema,
  client: names,
  group: names,
  key: names,
  model: names,
})

export const requestsPartSchema: z.ZodMiniType<RequestsPart> = entries(
  tuple(z.int().check(z.nonnegative()), z.string(), z.string(), z.string()),
)

const text = orNull(z.string())
const ms = orElse(z.number(), 0)
const msOrNull = orNull(z.number())

const attemptRow: z.ZodMiniType<AttemptRow> = z.object({
  key: z.string(),
  model: z.string(),
  status: orNull(z.number()),
  row: text,
  fault: text,
  why: text,
  beganMs: ms,
  waitedMs: ms,
  tookMs: msOrNull,
  firstOutputMs: msOrNull,
})

/** A Worker of another release has written the row: what it leaves out has a default. */
export const requestRowSchema: z.ZodMiniType<RequestRow> = z.object({
  id: z.string(),
  clientId: z.string(),
  groupId: text,
  path: orElse(z.string(), ''),
  route: orNull(z.number()),
  asked: text,
  sent: text,
  outcome: z.enum(REQUEST_OUTCOMES),
  cache: orNull(z.enum(CACHE_OUTCOMES)),
  status: orNull(z.number()),
  reason: text,
  reasons: orElse(z.catchall(z.object({}), z.number()), {}),
  streamed: orElse(z.boolean(), false),
  degraded: orElse(z.boolean(), false),
  attempts: orElse(entries(attemptRow), []),
  attemptsLeftOut: orElse(z.number(), 0),
  timingsMs: orElse(z.object({ auth: ms, acquire: ms, wait: ms }), {
    auth: 0,
    acquire: 0,
    wait: 0,
  }),
  usage: orNull(usageSchema),
  startedAtMs: z.number(),
  endedAtMs: z.number(),
})

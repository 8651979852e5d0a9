import * as z from 'zod/mini'
import { DAYS_KEPT, USAGE_BY } from '../../balancing/accounting/day-usage.ts'
import { dayOf } from '../../balancing/accounting/ledger.ts'
import { MAX_REQUEST_ID_LENGTH, REQUEST_OUTCOMES } from '../../balancing/accounting/request-row.ts'
import { exactly } from '../../config/fields.ts'
import { listLimit } from '../admin-schemas.ts'

/** What the admin API takes to tell of the past. See admin-schemas.ts. */

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
    limit: z.optional(listLimit),
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

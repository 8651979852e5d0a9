import * as z from 'zod/mini'
import { SPEND_PERIODS } from '../balancing/limits/quota-charge.ts'
import { limitFields, memberFields, moment } from '../config/client-limits.ts'
import { bounded, boundedInteger, exactly } from '../config/fields.ts'
import { MAX_NAME_LENGTH, modelName } from '../config/route-policy.ts'
import { publicName } from '../config/secrets.ts'

/** What the admin API takes. What it gives is in answer-schemas.ts. */

const AN_OBJECT = () => 'must be a JSON object'

/** Each limit may be taken away by `null`. */
function changes<Fields extends Record<string, z.ZodMiniType>>(fields: Fields) {
  const entries = Object.entries(fields).map(([name, field]) => [name, z.nullable(field)] as const)
  return Object.fromEntries(entries) as { [Name in keyof Fields]: z.ZodMiniNullable<Fields[Name]> }
}

/** A change of nothing is a mistake, and would be in the audit. */
function someField(): z.core.$ZodCheck<object> {
  const error = 'must have at least one field to change'
  return z.refine<object>((fields) => Object.keys(fields).length > 0, { error })
}

/** The most that one answer lists. */
export const MAX_LISTED = 1_000

const LIMIT = `must be a number from 1 to ${MAX_LISTED}`

/** How many a list shows, in a query. */
export const listLimit = z.pipe(
  z.string().check(z.regex(/^[0-9]{1,9}$/, { error: LIMIT })),
  z.pipe(
    z.transform(Number),
    z.number().check(z.minimum(1, { error: LIMIT }), z.maximum(MAX_LISTED, { error: LIMIT })),
  ),
)

/** Which part of a list is shown. */
export const listQuery = exactly(
  { limit: z.optional(listLimit), after: z.optional(publicName) },
  () => 'must be parameters',
)

export const newClient = exactly({ id: publicName, ...memberFields }, AN_OBJECT)
export const newGroup = exactly({ id: publicName, ...limitFields }, AN_OBJECT)
export const clientChanges = exactly(changes(memberFields), AN_OBJECT).check(someField())
export const groupChanges = exactly(changes(limitFields), AN_OBJECT).check(someField())

const DAY_S = 24 * 60 * 60

/** How long the token before stays valid, in seconds: a day, unless told otherwise. */
export const rotation = exactly(
  { grace_s: z._default(boundedInteger(0, 30 * DAY_S), DAY_S) },
  AN_OBJECT,
)

/** More for a budget, until a moment. */
export const increase = exactly({ usd: bounded(0, 1_000_000), until: moment() }, AN_OBJECT)

/** Which key is looked up; all of them unless one is named. */
export const refresh = exactly({ key: z.optional(publicName) }, AN_OBJECT)

/** The name of an address of `ALERTS`. */
export const alertTest = exactly({ name: publicName }, AN_OBJECT)

/** Of which request one asks how it would be decided. Each may be given once. */
export const explainQuery = exactly(
  {
    model: modelName(),
    client: z.optional(publicName),
    conversation: z.optional(z.string().check(z.minLength(1), z.maxLength(MAX_NAME_LENGTH))),
    tokens: z.optional(
      z.pipe(
        z.string().check(z.regex(/^\d{1,9}$/, { error: 'must be a whole number' })),
        z.transform(Number),
      ),
    ),
  },
  AN_OBJECT,
)

export const period = z.enum(SPEND_PERIODS)

/** Which of the kept answers are thrown away: one of these. */
export const purgeOrder = exactly(
  {
    client: z.optional(publicName),
    model: z.optional(modelName()),
    route: z.optional(boundedInteger(0, 1000)),
    all: z.optional(z.literal(true, { error: () => 'must be true' })),
  },
  AN_OBJECT,
).check(
  z.refine((fields) => Object.keys(fields).length === 1, {
    error: 'must have exactly one of the fields client, model, route, all',
  }),
)

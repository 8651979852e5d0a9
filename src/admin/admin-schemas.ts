import * as z from 'zod/mini'
import { SPEND_PERIODS } from '../balancing/limits/quota-charge.ts'
import { limitFields, memberFields } from '../config/client-limits.ts'
import { bounded, boundedInteger, exactly } from '../config/fields.ts'
import { publicName } from '../config/secrets.ts'

/** What the admin API takes and gives about clients and groups. */

const AN_OBJECT = () => 'must be a JSON object'

/** Each limit may be taken away by `null`. */
function changes<Fields extends Record<string, z.ZodMiniType>>(fields: Fields) {
  const entries = Object.entries(fields).map(([name, field]) => [name, z.nullable(field)] as const)
  return Object.fromEntries(entries) as { [Name in keyof Fields]: z.ZodMiniNullable<Fields[Name]> }
}

export const newClient = exactly({ id: publicName(), ...memberFields }, AN_OBJECT)
export const newGroup = exactly({ id: publicName(), ...limitFields }, AN_OBJECT)
export const clientChanges = exactly(changes(memberFields), AN_OBJECT)
export const groupChanges = exactly(changes(limitFields), AN_OBJECT)

const DAY_S = 24 * 60 * 60

/** How long the token before stays valid, in seconds: a day, unless told otherwise. */
export const rotation = exactly(
  { grace_s: z._default(boundedInteger(0, 30 * DAY_S), DAY_S) },
  AN_OBJECT,
)

const moment = z.string({ error: 'must be a date, such as 2027-01-31T00:00:00Z' }).check(
  z.refine((text) => !Number.isNaN(Date.parse(text)), {
    error: 'must be a date, such as 2027-01-31T00:00:00Z',
  }),
)

/** More for a budget, until a moment. */
export const increase = exactly({ usd: bounded(0, 1_000_000), until: moment }, AN_OBJECT)

export const period = z.enum(SPEND_PERIODS)

const budget = z.object({
  usd: z.number(),
  period,
  mode: z.string(),
  on_exceeded: z.string(),
  cap_usd: z.number(),
  reserve_usd: z.number(),
  assume_output_tokens: z.number(),
  strict: z.boolean(),
  include_byok: z.boolean(),
})

const usedBudget = z.object({
  ...budget.shape,
  limit_usd: z.number(),
  spent_usd: z.number(),
  reserved_usd: z.number(),
  lost_usd: z.number(),
  left_usd: z.number(),
  resets_at: z.nullable(z.string()),
  increase: z.nullable(z.object({ usd: z.number(), until: z.string() })),
})

const shared = {
  id: z.string(),
  source: z.enum(['configured', 'made']),
  created_at: z.nullable(z.string()),
  rpm: z.nullable(z.number()),
  tpm: z.nullable(z.number()),
  rpd: z.nullable(z.number()),
  max_concurrent: z.nullable(z.number()),
  models: z.nullable(z.array(z.string())),
  keys: z.nullable(z.array(z.string())),
  expires_at: z.nullable(z.string()),
  in_flight: z.number(),
  requests_today: z.number(),
  requests_in_minute: z.nullable(z.number()),
  tokens_in_minute: z.nullable(z.number()),
  budgets: z.array(usedBudget),
}

export const groupAnswer = z.object(shared)

export const clientAnswer = z.object({
  ...shared,
  group: z.nullable(z.string()),
  tokens: z.array(z.object({ created_at: z.string(), expires_at: z.nullable(z.string()) })),
})

export const clientsAnswer = z.object({ clients: z.array(clientAnswer) })
export const groupsAnswer = z.object({ groups: z.array(groupAnswer) })

/** The token is shown this once. Only its hash is kept. */
export const tokenAnswer = z.object({ client: clientAnswer, token: z.string() })

export const budgetsAnswer = z.object({ budgets: z.array(usedBudget) })

export const auditAnswer = z.object({
  entries: z.array(
    z.object({ at: z.string(), by: z.string(), what: z.string(), target: z.string() }),
  ),
})

export type ClientAnswer = z.output<typeof clientAnswer>
export type GroupAnswer = z.output<typeof groupAnswer>
export type UsedBudget = z.output<typeof usedBudget>

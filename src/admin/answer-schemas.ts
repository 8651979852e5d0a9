import * as z from 'zod/mini'
import { BUDGET_MODES, ON_EXCEEDED } from '../balancing/clients/budget.ts'
import { SPEND_PERIODS } from '../balancing/limits/quota-charge.ts'

/**
 * What the admin API gives. The gateway takes the types of it, which cost nothing at run time; the
 * tests make `docs/openapi.json` of it, and hold real answers to it.
 */

const budget = z.object({
  usd: z.number(),
  period: z.enum(SPEND_PERIODS),
  mode: z.enum(BUDGET_MODES),
  on_exceeded: z.enum(ON_EXCEEDED),
  cap_usd: z.number(),
  reserve_usd: z.number(),
  assume_output_tokens: z.number(),
  strict: z.boolean(),
  include_byok: z.boolean(),
})

export const usedBudget = z.object({
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
  shadows_made: z.boolean(),
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

/** `after`: for the next part of the list; null at its end. */
const ofList = { after: z.nullable(z.string()) }

export const clientsAnswer = z.object({ clients: z.array(clientAnswer), ...ofList })
export const groupsAnswer = z.object({ groups: z.array(groupAnswer), ...ofList })

/** The token is shown this once. Only its hash is kept. */
export const tokenAnswer = z.object({ client: clientAnswer, token: z.string() })

export const budgetsAnswer = z.object({ budgets: z.array(usedBudget) })

export const auditAnswer = z.object({
  entries: z.array(
    z.object({ at: z.string(), by: z.string(), what: z.string(), target: z.string() }),
  ),
})

/** What was thrown away of the kept answers. */
export const purgeAnswer = z.object({ purged: z.string() })

export type PurgeAnswer = z.output<typeof purgeAnswer>
/** As `CLIENT_KEYS` takes it. */
const exportedFields = {
  id: z.string(),
  rpm: z.optional(z.number()),
  tpm: z.optional(z.number()),
  rpd: z.optional(z.number()),
  max_concurrent: z.optional(z.number()),
  budget: z.optional(z.array(budget)),
  models: z.optional(z.array(z.string())),
  keys: z.optional(z.array(z.string())),
  expires_at: z.optional(z.string()),
}

export const exportAnswer = z.object({
  groups: z.array(z.object(exportedFields)),
  clients: z.array(
    z.object({ ...exportedFields, sha256: z.string(), group: z.optional(z.string()) }),
  ),
})

export type BudgetFields = z.output<typeof budget>
export type ExportAnswer = z.output<typeof exportAnswer>
export type ClientAnswer = z.output<typeof clientAnswer>
export type GroupAnswer = z.output<typeof groupAnswer>
export type UsedBudget = z.output<typeof usedBudget>

/** How many lines of a batch run again. */
export const redriveAnswer = z.object({ redriven: z.number() })

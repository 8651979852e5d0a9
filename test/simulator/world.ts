import { z } from 'zod'
import { faultParamsSchema } from './fault-params.ts'
import { endpointSchema, pricingSchema } from './prices.ts'

const usd = z.number()
const count = z.number().int().nonnegative()

export const accountSchema = z.strictObject({
  id: z.string().min(1),
  /** The balance. It may be below zero: then the account may not even use free models. */
  balanceUsd: usd.default(10),
  /** All credits ever bought; 0 means never. From 9 on, the free tier has 1000 requests a day. */
  purchasedUsd: usd.nonnegative().default(100),
  /** A new account may call each model 20 times per wall-clock minute. */
  isNew: z.boolean().default(false),
  freePerMinute: count.default(20),
  /** null: 50 or 1000, depending on `purchasedUsd`. */
  freePerDay: count.nullable().default(null),
  /** The most that requests in flight may cost together; null means no bound. */
  inFlightBudgetUsd: usd.positive().nullable().default(null),
  creatorUserId: z.string().default('user_simulated'),
  organizationId: z.string().nullable().default(null),
  workspaceId: z.string().default('0b5c9f8e-3a52-4a7d-9d5e-2f6f1f0f7a11'),
})
export type Account = z.infer<typeof accountSchema>

const usageSchema = z.strictObject({
  totalUsd: usd.default(0),
  dailyUsd: usd.default(0),
  weeklyUsd: usd.default(0),
  monthlyUsd: usd.default(0),
  /** When the windows were last updated, in epoch milliseconds; null before the first charge. */
  atMs: z.number().nullable().default(null),
})
export type KeyUsage = z.infer<typeof usageSchema>

/** A budget of OpenRouter's that covers a key. Requests are refused while it is spent. */
const budgetSchema = z.strictObject({
  scope: z.enum([
    ...(['api_key', 'workspace_default_key', 'member', 'workspace_default_member'] as const),
    'workspace',
  ]),
  limitUsd: usd.nonnegative(),
  spendUsd: usd.nonnegative().default(0),
  resetInterval: z.enum(['daily', 'weekly', 'monthly']).nullable().default(null),
})
export type Budget = z.infer<typeof budgetSchema>

export const keySchema = z.strictObject({
  key: z.string().startsWith('sk-or-v1-'),
  name: z.string().regex(/^[\w.-]+$/),
  accountId: z.string(),
  limitUsd: usd.nonnegative().nullable().default(null),
  limitReset: z.enum(['daily', 'weekly', 'monthly']).nullable().default(null),
  /** Each key has its own list: a test that spends a shared budget sets it for each key. */
  budgets: z.array(budgetSchema).default([]),
  disabled: z.boolean().default(false),
  expiresAt: z.iso.datetime().nullable().default(null),
  usage: usageSchema.prefault({}),
  /** This key's own pacing; null means the pacing of the settings. */
  ttftMs: z.number().nonnegative().nullable().default(null),
  tokensPerSecond: z.number().positive().nullable().default(null),
})
export type Key = z.infer<typeof keySchema>

export const settingsSchema = z.strictObject({
  /** Time to first token, in milliseconds. The headers are sent before, as OpenRouter does. */
  ttftMs: z.number().nonnegative().default(5),
  /** null: without waits. */
  tokensPerSecond: z.number().positive().nullable().default(500),
  /** 0 means none. With 0.5, every wait is up to 50 % longer or shorter. */
  jitter: z.number().min(0).max(1).default(0),
  /** The seed of the generator for jitter and for the probability of rules. */
  seed: z.number().int().default(1),
  /** How many tokens an answer has; null means the answer's own length. */
  answerTokens: z.number().int().positive().nullable().default(null),
  /** Sends every event in pieces, cut inside UTF-8 sequences, inside lines and inside line ends. */
  splitUtf8: z.boolean().default(false),
  /** The choices of a stream's last event: one that repeats the finish reason, or none. */
  usageForm: z.enum(['newer', 'older']).default('newer'),
  /** Whether a stream of /messages ends with OpenRouter's own `[DONE]` after `message_stop`. */
  messagesTrailer: z.boolean().default(true),
  /** The place of the metadata in an error of /messages: beside `error` or inside it. */
  messagesMetadata: z.enum(['top', 'inner']).default('top'),
  /** How long after its request's end a generation can be found by its id. */
  generationAfterMs: z.number().nonnegative().default(0),
  /** `older`: no limit_source and no remedy_hint, short key-limit text, 400 for content policy. */
  errorForm: z.enum(['newer', 'older']).default('newer'),
  /** The place of a 429's X-RateLimit-*: in live answers the body, in the documentation headers. */
  rateLimitHeaders: z.enum(['metadata', 'http', 'both']).default('metadata'),
  noCredentialText: z
    .enum([
      'No auth credentials found',
      'No cookie auth credentials found',
      'Missing Authentication header',
    ])
    .default('No auth credentials found'),
  /** `older`: only the former path /auth/key answers; `newer`: only /key. */
  keyPaths: z.enum(['both', 'newer', 'older']).default('both'),
  /** Whether /credits also answers ordinary keys, as OpenRouter was once seen to do; else 403. */
  creditsForOrdinaryKeys: z.boolean().default(false),
  /** The field of /key that lists the budgets. OpenRouter does not document its name. */
  budgetsField: z.string().default('budgets'),
  /** Freezes the clock of limits, resets and expiry, in epoch milliseconds; null: the real time. */
  nowMs: z.number().nullable().default(null),
  /** A fault for every request under /api, including public lists and /key; null means none. */
  outage: z
    .strictObject({ fault: z.string(), params: faultParamsSchema.prefault({}) })
    .nullable()
    .default(null),
  /** Prices instead of, or beside, those of a model's own, by model. The lists show the same. */
  prices: z.record(z.string(), pricingSchema).default({}),
  /** The endpoints of a model, by model. Without, there is one at the list price. */
  endpoints: z.record(z.string(), z.array(endpointSchema)).default({}),
  /** Accounts use their own provider keys, and are charged this share of the price; null: they do not. */
  byokFee: z.number().min(0).max(1).nullable().default(null),
  /** How many requests the log keeps. */
  logLimit: z.number().int().positive().default(2000),
})
export type Settings = z.infer<typeof settingsSchema>

export const worldSchema = z
  .strictObject({
    accounts: z.array(accountSchema).default([]),
    keys: z.array(keySchema).default([]),
    settings: settingsSchema.prefault({}),
  })
  .superRefine((world, context) => {
    const ids = new Set(world.accounts.map((account) => account.id))
    if (ids.size < world.accounts.length) {
      context.addIssue({ code: 'custom', path: ['accounts'], message: 'two accounts share an id' })
    }
    for (const field of ['key', 'name'] as const) {
      if (new Set(world.keys.map((key) => key[field])).size < world.keys.length) {
        context.addIssue({ code: 'custom', path: ['keys'], message: `two keys share a ${field}` })
      }
    }
    for (const [index, key] of world.keys.entries()) {
      if (ids.has(key.accountId)) continue
      const message = `no account ${key.accountId}`
      context.addIssue({ code: 'custom', path: ['keys', index, 'accountId'], message })
    }
  })
export type World = z.infer<typeof worldSchema>
/** The input form of a world: fields with a default are optional. */
export type WorldInput = z.input<typeof worldSchema>

/** Four keys of three accounts: enough for shared balances, failover and a cap. */
export function defaultWorld(): World {
  const key = (name: string, accountId: string) => ({
    key: `sk-or-v1-simulated-${name}`,
    name,
    accountId,
  })
  return worldSchema.parse({
    accounts: [
      {
        ...{ id: 'acme', balanceUsd: 50, organizationId: 'org_acme', creatorUserId: 'user_ada' },
        workspaceId: 'workspace_acme',
      },
      {
        ...{ id: 'globex', balanceUsd: 20, creatorUserId: 'user_grace' },
        workspaceId: 'workspace_globex',
      },
      {
        ...{ id: 'initech', balanceUsd: 5, creatorUserId: 'user_milton' },
        workspaceId: 'workspace_initech',
      },
    ],
    keys: [
      key('alpha', 'acme'),
      key('beta', 'acme'),
      key('gamma', 'globex'),
      { ...key('delta', 'initech'), limitUsd: 2, limitReset: 'monthly' },
    ],
  })
}

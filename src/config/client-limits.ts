import * as z from 'zod/mini'
import { BUDGET_MODES, type BudgetTerms, ON_EXCEEDED } from '../balancing/clients/budget.ts'
import type { ClientTerms, GroupTerms, Permissions } from '../balancing/clients/clients.ts'
import { ASSUMED_OUTPUT_TOKENS, DEFAULT_RESERVE_USD } from '../balancing/clients/max-spend.ts'
import type { QuotaTerms } from '../balancing/clients/quota.ts'
import { clientId, groupId } from '../balancing/ids.ts'
import { SPEND_PERIODS } from '../balancing/limits/quota-charge.ts'
import { bounded, boundedInteger, exactly, hidden, listOf, shownIfNumber } from './fields.ts'
import { maxConcurrent, rpm, tpm } from './policy.ts'
import { pattern, selector, selectorOf } from './route-policy.ts'
import { publicName } from './secrets.ts'

/**
 * The fields that say what a client or a group may do. The secret `CLIENT_KEYS` and the admin API take
 * the same ones. A message shows no value but a number: a token may stand in its place.
 */

export const MAX_USD = 1_000_000
const MAX_BUDGETS = SPEND_PERIODS.length

/** A word of a list, in a secret: what is given in its place is not shown. */
export const wordOf = <const Words extends readonly [string, ...string[]]>(words: Words) =>
  z.enum(words, { error: `must be one of ${words.map((word) => `"${word}"`).join(', ')}` })

export const yesOrNo = () => z.boolean({ error: 'must be true or false' })

/** What a request may hold of a budget. */
export const reserveUsd = () => bounded(0, MAX_USD, shownIfNumber)

const budget = exactly(
  {
    usd: bounded(0, MAX_USD, shownIfNumber),
    period: wordOf(SPEND_PERIODS),
    mode: z._default(wordOf(BUDGET_MODES), 'capped'),
    on_exceeded: z._default(wordOf(ON_EXCEEDED), 'reject'),
    cap_usd: z._default(reserveUsd(), DEFAULT_RESERVE_USD),
    reserve_usd: z._default(reserveUsd(), DEFAULT_RESERVE_USD),
    assume_output_tokens: z._default(
      boundedInteger(1, 1_000_000, shownIfNumber),
      ASSUMED_OUTPUT_TOKENS,
    ),
    strict: z._default(yesOrNo(), false),
    include_byok: z._default(yesOrNo(), false),
  },
  () => 'must be an object with the fields "usd" and "period"',
)

type Budget = z.output<typeof budget>

/** One budget, or a list of them, with one for each period at most. */
const budgetOrList = z
  .pipe(
    z.transform((given: unknown) => (Array.isArray(given) ? given : [given])),
    z
      .array(budget, { error: 'must be a budget, or a list of budgets' })
      .check(z.maxLength(MAX_BUDGETS, { error: `must have at most ${MAX_BUDGETS} budgets` })),
  )
  .check((context) => {
    const periods = context.value.map(({ period }) => period)
    for (const [at, period] of periods.entries()) {
      if (periods.indexOf(period) === at) continue
      const message = `must be the only budget of its period, and there is another for "${period}"`
      context.issues.push({ code: 'custom', path: [at, 'period'], message, input: period })
    }
  })

/** A moment, in epoch milliseconds. */
export const moment = () =>
  z.pipe(
    z.string({ error: 'must be a date, such as 2027-01-31T00:00:00Z' }).check(
      z.refine((text) => /^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(Date.parse(text)), {
        error: 'must be a date, such as 2027-01-31T00:00:00Z',
      }),
    ),
    z.transform((text: string) => Date.parse(text)),
  )

/** The most requests that a client may begin in a UTC day. */
const rpd = () => boundedInteger(1, 1_000_000_000, shownIfNumber)

export const limitFields = {
  rpm: z.optional(rpm(shownIfNumber)),
  tpm: z.optional(tpm(shownIfNumber)),
  rpd: z.optional(rpd()),
  max_concurrent: z.optional(maxConcurrent(shownIfNumber)),
  budget: z.optional(budgetOrList),
  models: z.optional(listOf(pattern(hidden), { min: 1, max: 100, wording: hidden })),
  keys: z.optional(listOf(selector(hidden), { min: 1, max: 100, wording: hidden })),
  expires_at: z.optional(moment()),
}

/** `group`: the group that a client belongs to. */
export const memberFields = { ...limitFields, group: z.optional(publicName) }

type LimitFields = z.output<ReturnType<typeof limitSchema>>
type MemberFields = LimitFields & { readonly group?: string | undefined }

const limitSchema = () => z.object(limitFields)

function termsOf(fields: LimitFields): QuotaTerms & Permissions {
  return {
    rpm: fields.rpm ?? null,
    tpm: fields.tpm ?? null,
    rpd: fields.rpd ?? null,
    maxConcurrent: fields.max_concurrent ?? null,
    budgets: (fields.budget ?? []).map(budgetTerms),
    models: fields.models ?? null,
    keys: fields.keys?.map(selectorOf) ?? null,
    expiresAtMs: fields.expires_at ?? null,
  }
}

function budgetTerms(fields: Budget): BudgetTerms {
  return {
    usd: fields.usd,
    period: fields.period,
    mode: fields.mode,
    onExceeded: fields.on_exceeded,
    capUsd: fields.cap_usd,
    reserveUsd: fields.reserve_usd,
    strict: fields.strict,
    includeByok: fields.include_byok,
    assumeOutputTokens: fields.assume_output_tokens,
  }
}

export function groupTerms(id: string, fields: LimitFields): GroupTerms {
  return { id: groupId(id), ...termsOf(fields) }
}

export function clientTerms(id: string, fields: MemberFields): ClientTerms {
  const { group } = fields
  return {
    id: clientId(id),
    groupId: group === undefined ? null : groupId(group),
    ...termsOf(fields),
  }
}

/** Some fields, of which `null` takes a limit away and one that is absent changes nothing. */
type LimitChanges = { readonly [Name in keyof LimitFields]?: LimitFields[Name] | null }

/** The terms that some fields change. */
export function changedTerms(fields: LimitChanges): Partial<QuotaTerms & Permissions> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined)
  const values = Object.fromEntries(given.map(([name, value]) => [name, value ?? undefined]))
  const all = termsOf(values as LimitFields)
  const changed = given.map(([name]) => {
    const term = TERM_OF[name as keyof LimitFields]
    return [term, all[term]] as const
  })
  return Object.fromEntries(changed)
}

const TERM_OF: Readonly<Record<keyof LimitFields, keyof (QuotaTerms & Permissions)>> = {
  rpm: 'rpm',
  tpm: 'tpm',
  rpd: 'rpd',
  max_concurrent: 'maxConcurrent',
  budget: 'budgets',
  models: 'models',
  keys: 'keys',
  expires_at: 'expiresAtMs',
}

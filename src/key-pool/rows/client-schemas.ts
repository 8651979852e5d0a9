import * as z from 'zod/mini'
import {
  BUDGET_MODES,
  type BudgetRecord,
  type BudgetTerms,
  ON_EXCEEDED,
} from '../../balancing/clients/budget.ts'
import type {
  ClientRecord,
  GroupRecord,
  QuotaRecord,
} from '../../balancing/clients/client-records.ts'
import type { SpendRecord } from '../../balancing/clients/max-spend.ts'
import type { EpochName } from '../../balancing/clients/purge-epochs.ts'
import { accountId, clientId, groupId, keyId } from '../../balancing/ids.ts'
import {
  type BudgetOwner,
  type QuotaCharge,
  type QuotaOwner,
  SPEND_PERIODS,
} from '../../balancing/limits/quota-charge.ts'
import type { AuditEntry } from '../../balancing/operators/audit.ts'
import type { KeySelector } from '../../balancing/routes.ts'
import { entries, orElse, orNull, tuple } from '../or-else.ts'

/** Schemas of what is stored of clients and groups; see record-schemas.ts for how they are read. */

const client = z.pipe(z.string(), z.transform(clientId))
const group = z.pipe(z.string(), z.transform(groupId))
const nanos = z.int().check(z.nonnegative())
const moment = z.number()

/** A text of a form. zod's template literals and discriminated unions would bring a kilobyte with them. */
const textLike = <T extends string>(form: RegExp) =>
  z.custom<T>((value) => typeof value === 'string' && form.test(value))

const owner = textLike<QuotaOwner>(/^(?:client|group):/)
const budgetOwner = textLike<BudgetOwner>(/^(?:client|group|key):/)

export const holdSchema = z.object({ owner: budgetOwner, period: z.enum(SPEND_PERIODS), nanos })

/** What a stored lease has taken. A hold that is not understood is counted by the budget's row. */
export const chargeSchema: z.ZodMiniType<QuotaCharge> = z.object({
  clientId: client,
  groupId: orNull(group),
  requests: orElse(z.literal([0, 1]), 0),
  tokens: orElse(z.number(), 0),
  chargedAtMs: moment,
  holds: orElse(entries(holdSchema), []),
})

const increase = z.object({ nanos, untilMs: moment })

const budgetRecord = z.object({
  period: z.enum(SPEND_PERIODS),
  endsAtMs: z.nullable(moment),
  sinceMs: orElse(moment, 0),
  spentNanos: nanos,
  lostNanos: orElse(nanos, 0),
  committedNanos: nanos,
  increase: orNull(increase),
  toldPercent: orElse(z.number(), 0),
  usedAtMs: orElse(moment, 0),
})

export const budgetRecordsSchema: z.ZodMiniType<BudgetRecord[]> = entries(budgetRecord)

/** A record of an earlier release has one amount: all of it counts as spent. */
export const spendRecordSchema: z.ZodMiniType<SpendRecord> = z.pipe(
  z.extend(budgetRecord, {
    nanos,
    spentNanos: z.optional(nanos),
    committedNanos: z.optional(nanos),
  }),
  z.transform((read) => ({
    ...read,
    spentNanos: read.spentNanos ?? read.nanos,
    committedNanos: read.committedNanos ?? read.nanos,
  })),
)

const slots = orElse(entries(z.object({ slot: z.number(), amount: z.number() })), [])

export const quotaRecordSchema: z.ZodMiniType<QuotaRecord> = z.object({
  owner,
  rpm: slots,
  tpm: slots,
  dayEndsAtMs: moment,
  requestsToday: z.number(),
})

const selector: z.ZodMiniType<KeySelector> = z.union([
  z.object({ kind: z.literal('id'), id: z.pipe(z.string(), z.transform(keyId)) }),
  z.object({ kind: z.literal('tag'), tag: z.string() }),
  z.object({ kind: z.literal('account'), account: z.pipe(z.string(), z.transform(accountId)) }),
])

const budgetTerms: z.ZodMiniType<BudgetTerms> = z.object({
  usd: z.number(),
  period: z.enum(SPEND_PERIODS),
  mode: z.enum(BUDGET_MODES),
  onExceeded: z.enum(ON_EXCEEDED),
  capUsd: z.number(),
  reserveUsd: z.number(),
  strict: z.boolean(),
  includeByok: z.boolean(),
  assumeOutputTokens: z.number(),
})

const limit = z.nullable(z.number())

/**
 * What a client may do is read whole, or not at all: a client whose limits are not understood must
 * not be one without limits.
 */
const terms = {
  rpm: limit,
  tpm: limit,
  rpd: limit,
  maxConcurrent: limit,
  budgets: z.array(budgetTerms),
  models: z.nullable(z.array(z.string())),
  keys: z.nullable(z.array(selector)),
  expiresAtMs: z.nullable(moment),
}

export const groupRecordSchema: z.ZodMiniType<GroupRecord> = z.object({
  terms: z.object({ id: group, ...terms }),
  createdAtMs: moment,
})

export const clientRecordSchema: z.ZodMiniType<ClientRecord> = z.object({
  terms: z.object({ id: client, groupId: z.nullable(group), ...terms }),
  tokens: z.array(
    z.object({ sha256: z.string(), createdAtMs: moment, expiresAtMs: z.nullable(moment) }),
  ),
  createdAtMs: moment,
})

export const auditEntrySchema: z.ZodMiniType<AuditEntry> = z.object({
  number: z.int(),
  atMs: moment,
  by: z.string(),
  what: z.string(),
  target: z.string(),
})

const epochName = textLike<EpochName>(/^(?:(?:all|pool)$|(?:client|group|model):|route:-?\d+$)/)

export const purgesRecordSchema = entries<[EpochName, number]>(tuple(epochName, moment))

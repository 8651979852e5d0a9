import { z } from 'zod'
import type { SpendRecord } from '../balancing/accounting/max-spend.ts'
import { SPEND_PERIODS } from '../balancing/accounting/max-spend.ts'
import type {
  AccountRecord,
  BreakerRecord,
  Checkpoint,
  KeyRecord,
  ModelsRecord,
} from '../balancing/checkpoint.ts'
import { accountId, clientId, isolateId, keyId, leaseId, modelId } from '../balancing/ids.ts'

/**
 * Schemas of the stored records. Records are parsed when they are read, not cast: another release
 * may have written them, an older one or, after a rollback, a newer one. They are read entry by entry.
 * An entry that this release does not understand is lost alone, and never the list or the part that
 * it stands in: one unknown word must not cost all counters.
 */

/** A list without the entries that do not parse. */
function entries<T>(entry: z.ZodType<T>): z.ZodType<T[]> {
  return z.array(z.unknown()).transform((values) =>
    values.flatMap((value) => {
      const parsed = entry.safeParse(value)
      return parsed.success ? [parsed.data] : []
    }),
  )
}

const moment = z.number()
const key = z.string().transform(keyId)
const client = z.string().transform(clientId)
const model = z.string().transform(modelId)

const plainBench = z.object({
  reason: z.enum(['key_rejected', 'key_spent', 'account_out_of_credit', 'account_rate_limited']),
  // A finer word that this release does not know is left out: the reason still holds.
  detail: z
    .enum(['key_rate_limited', 'budget_layer_spent', 'free_tier_spent', 'provider_key_failed'])
    .optional()
    .catch(undefined),
  untilMs: moment.nullable(),
  cure: z.enum(['time', 'lookup']),
  provenance: z.enum(['upstream', 'guess']),
  sinceMs: moment,
})

/** A hidden bench hides no further bench: see bench.ts. */
const bench = plainBench.extend({
  hidden: plainBench
    .transform((hidden) => ({ ...hidden, hidden: null }))
    .nullable()
    .default(null),
})

const breaker: z.ZodType<BreakerRecord> = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('closed'),
    failuresAtMs: z.array(moment),
    recoveredAtMs: moment.nullable(),
  }),
  z.object({
    kind: z.literal('open'),
    untilMs: moment,
    cooldownMs: z.number(),
    failuresAtMs: z.array(moment).catch([]),
    earlierCooldownMs: z.number().nullable().catch(null),
  }),
])

const CLOSED: BreakerRecord = { kind: 'closed', failuresAtMs: [], recoveredAtMs: null }

/** A bench that is not understood is none: the next refusal of OpenRouter's brings it back. */
const benchOrNone = bench.nullable().catch(null)

export const modelsRecordSchema: z.ZodType<ModelsRecord> = entries(z.tuple([model, bench]))

export const keyRecordSchema: z.ZodType<KeyRecord> = z.object({
  breaker: breaker.catch(CLOSED),
  bench: benchOrNone,
  modelBenches: modelsRecordSchema.catch([]),
  strikes: z.number().catch(0),
  struckAtMs: moment.catch(0),
  owner: z.string().transform(accountId).nullable().catch(null),
  fingerprint: z.string().nullable().catch(null),
  creator: z.string().transform(accountId).nullable().catch(null),
  workspace: z.string().transform(accountId).nullable().catch(null),
})

export const spendRecordSchema: z.ZodType<SpendRecord> = z.object({
  period: z.enum(SPEND_PERIODS),
  endsAtMs: moment.nullable(),
  nanos: z.int().nonnegative(),
})

export const accountRecordSchema: z.ZodType<AccountRecord> = z.object({
  bench: benchOrNone,
  freeBench: benchOrNone,
  modelBenches: modelsRecordSchema.catch([]),
  hadNoRoom: z.boolean().catch(false),
  keysWithoutRoom: entries(key).catch([]),
})

const counters = z.object({
  attempts: z.number(),
  successes: z.number(),
  failures: z.number(),
  ignored: z.number(),
  // Names that this release does not know are kept, for the one that does.
  faults: z.record(z.string(), z.number()).catch({}),
  promptTokens: z.number(),
  completionTokens: z.number(),
  cachedTokens: z.number(),
  reasoningTokens: z.number(),
  costUsd: z.number(),
})

const tally = z.object({
  total: counters,
  day: z.number(),
  today: counters,
  weekUsd: z.number().default(0),
  monthUsd: z.number().default(0),
})

const anyLease = {
  id: z.string().transform(leaseId),
  keyId: key,
  model,
  grantedAtMs: moment,
  expiresAtMs: moment,
  tokens: z.number().default(0),
  epoch: z.number().catch(0),
  isolate: z.string().transform(isolateId).nullable().catch(null),
}

const runningLease = z.object({
  ...anyLease,
  kind: z.literal('running').default('running'),
  clientId: client,
  chargedAtMs: moment.optional(),
  unclaimedMs: z.number().nullable().default(null),
  panic: z.boolean(),
  // How an unused lease of the first release was paid is not known: nothing is given back.
  attempt: z.enum(['first', 'move', 'retry']).catch('move'),
})

/** Leases of earlier releases have no kind: each had a request. */
const lease = z.union([
  z.object({ ...anyLease, kind: z.literal('reserved') }),
  runningLease.transform((read) => ({
    ...read,
    chargedAtMs: read.chargedAtMs ?? read.grantedAtMs,
  })),
])

const credit = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('unknown') }),
  z.object({
    kind: z.literal('known'),
    limitUsd: z.number().nullable(),
    remainingUsd: z.number().nullable(),
    resetsAtMs: moment.nullable(),
    asOfMs: moment,
    stale: z.boolean(),
    layer: z.string().nullable().catch(null),
  }),
])

const route = z.object({
  models: z.array(z.string()),
  current: key.nullable(),
  smoothedWeights: z.array(z.tuple([key, z.number(), z.number()])).catch([]),
})

const slots = entries(z.object({ slot: z.number(), amount: z.number() })).catch([])

const BLANK = { total: noCounters(), day: 0, today: noCounters(), weekUsd: 0, monthUsd: 0 }

function noCounters() {
  return {
    ...{ attempts: 0, successes: 0, failures: 0, ignored: 0, faults: {}, promptTokens: 0 },
    ...{ completionTokens: 0, cachedTokens: 0, reasoningTokens: 0, costUsd: 0 },
  }
}

/** The parts of a checkpoint. Each part has its own rows. */
export const checkpointSchemas: { [Part in keyof Checkpoint]: z.ZodType<Checkpoint[Part]> } = {
  counters: z.object({
    turns: z.number().catch(0),
    retryTokens: z.number().catch(0),
    keys: entries(
      z.object({
        id: key,
        lastTurn: z.number().catch(0),
        credit: credit.catch({ kind: 'unknown' }),
        expiresAtMs: moment.nullable().catch(null),
        lookupAtMs: moment.catch(0),
        epoch: z.number().catch(0),
        fingerprint: z.string().nullable().catch(null),
      }),
    ),
    routes: entries(route),
    meanCostUsd: z.number().catch(0),
    meanTokenUsd: z.number().catch(0),
    savedAtMs: moment.nullable().catch(null),
    all: tally.catch(BLANK),
    byKey: entries(z.tuple([key, tally])),
    byClient: entries(z.tuple([client, tally])),
  }),
  byModel: entries(z.tuple([z.string(), tally])),
  leases: entries(lease),
  meters: entries(z.object({ id: key, rpm: slots, tpm: slots })),
  generations: entries(
    z.tuple([z.string(), z.object({ keyId: key, clientId: client, atMs: moment })]),
  ),
}

import { z } from 'zod'
import type {
  AccountRecord,
  BreakerRecord,
  Checkpoint,
  KeyRecord,
  ModelsRecord,
} from '../balancing/checkpoint.ts'
import { accountId, clientId, keyId, leaseId, modelId } from '../balancing/ids.ts'

/**
 * Schemas of the stored records. Records are parsed when they are read, not cast: an older release
 * may have written them. A record with a wrong shape is lost alone; the pool keeps the others.
 */

const moment = z.number()
const key = z.string().transform(keyId)
const client = z.string().transform(clientId)
const model = z.string().transform(modelId)

const plainBench = z.object({
  reason: z.enum(['key_rejected', 'key_spent', 'account_out_of_credit', 'account_rate_limited']),
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
  z.object({ kind: z.literal('open'), untilMs: moment, cooldownMs: z.number() }),
])

export const keyRecordSchema: z.ZodType<KeyRecord> = z.object({
  breaker,
  bench: bench.nullable(),
  strikes: z.number(),
  struckAtMs: moment,
  owner: z.string().transform(accountId).nullable().default(null),
})

export const modelsRecordSchema: z.ZodType<ModelsRecord> = z.array(z.tuple([model, bench]))

export const accountRecordSchema: z.ZodType<AccountRecord> = z.object({
  bench: bench.nullable(),
  freeBench: bench.nullable(),
  modelBenches: modelsRecordSchema,
  hadNoRoom: z.boolean().default(false),
})

const counters = z.object({
  attempts: z.number(),
  successes: z.number(),
  failures: z.number(),
  ignored: z.number(),
  faults: z.partialRecord(
    z.enum(['upstream', 'provider', 'key', 'account', 'policy', 'caller', 'unknown', 'nobody']),
    z.number(),
  ),
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

const lease = z.object({
  id: z.string().transform(leaseId),
  keyId: key,
  clientId: client,
  model,
  grantedAtMs: moment,
  expiresAtMs: moment,
  tokens: z.number().default(0),
  unclaimedMs: z.number().nullable().default(null),
  panic: z.boolean(),
})

const credit = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('unknown') }),
  z.object({
    kind: z.literal('known'),
    limitUsd: z.number().nullable(),
    remainingUsd: z.number().nullable(),
    resetsAtMs: moment.nullable(),
    asOfMs: moment,
    stale: z.boolean(),
  }),
])

const route = z.object({
  models: z.array(z.string()),
  current: key.nullable(),
  smoothedWeights: z.array(z.tuple([key, z.number(), z.number()])).catch([]),
})

const slots = z.array(z.object({ slot: z.number(), amount: z.number() }))

/** The parts of a checkpoint. Each part has its own rows. */
export const checkpointSchemas: { [Part in keyof Checkpoint]: z.ZodType<Checkpoint[Part]> } = {
  counters: z.object({
    turns: z.number(),
    retryTokens: z.number(),
    keys: z.array(
      z.object({
        id: key,
        lastTurn: z.number(),
        credit,
        expiresAtMs: moment.nullable(),
        lookupAtMs: moment.default(0),
      }),
    ),
    routes: z.array(route),
    meanCostUsd: z.number(),
    all: tally,
    byKey: z.array(z.tuple([key, tally])),
    byClient: z.array(z.tuple([client, tally])),
  }),
  byModel: z.array(z.tuple([z.string(), tally])),
  leases: z.array(lease),
  meters: z.array(z.object({ id: key, rpm: slots, tpm: slots })),
  generations: z.array(
    z.tuple([z.string(), z.object({ keyId: key, clientId: client, atMs: moment })]),
  ),
}

import * as z from 'zod/mini'
import { type CacheCounters, NO_CACHE_COUNTERS } from '../../balancing/accounting/cache-counters.ts'
import {
  type MinuteCounters,
  type MinuteRecord,
  noMinuteCounters,
} from '../../balancing/accounting/recent-minutes.ts'
import { createRequestCounts } from '../../balancing/accounting/request-row.ts'
import type { TimeHistogram } from '../../balancing/accounting/time-histogram.ts'
import type { Halt } from '../../balancing/health/halt.ts'
import {
  accountId,
  clientId,
  groupId,
  isolateId,
  keyId,
  leaseId,
  modelId,
} from '../../balancing/ids.ts'
import type {
  AccountRecord,
  BreakerRecord,
  Checkpoint,
  KeyRecord,
  ModelsRecord,
} from '../../balancing/records/checkpoint.ts'
import { entries, orElse, orNull, tuple } from '../or-else.ts'
import { chargeSchema, holdSchema, quotaRecordSchema } from './client-schemas.ts'

/**
 * Schemas of the stored records. Records are parsed when they are read, not cast: another release
 * may have written them, an older one or, after a rollback, a newer one. They are read entry by entry.
 * An entry that this release does not understand is lost alone, and never the list or the part that
 * it stands in: one unknown word must not cost all counters.
 */

const moment = z.number()
const key = z.pipe(z.string(), z.transform(keyId))
const account = z.pipe(z.string(), z.transform(accountId))
const client = z.pipe(z.string(), z.transform(clientId))
const group = z.pipe(z.string(), z.transform(groupId))
const model = z.pipe(z.string(), z.transform(modelId))

const plainBench = z.object({
  reason: z.enum(['key_rejected', 'key_spent', 'account_out_of_credit', 'account_rate_limited']),
  // A finer word that this release does not know is left out: the reason still holds.
  detail: orElse(
    z.optional(
      z.enum(['key_rate_limited', 'budget_layer_spent', 'free_tier_spent', 'provider_key_failed']),
    ),
    undefined,
  ),
  untilMs: z.nullable(moment),
  cure: z.enum(['time', 'lookup']),
  provenance: z.enum(['upstream', 'guess']),
  sinceMs: moment,
})

/** A hidden bench hides no further bench: see bench.ts. */
const hiddenBench = z.pipe(
  plainBench,
  z.transform((hidden: z.output<typeof plainBench>) => ({ ...hidden, hidden: null })),
)

const bench = z.extend(plainBench, { hidden: z._default(z.nullable(hiddenBench), null) })

const breaker: z.ZodMiniType<BreakerRecord> = z.union([
  z.object({
    kind: z.literal('closed'),
    failuresAtMs: z.array(moment),
    recoveredAtMs: z.nullable(moment),
  }),
  z.object({
    kind: z.literal('open'),
    untilMs: moment,
    cooldownMs: z.number(),
    failuresAtMs: orElse(z.array(moment), []),
    earlierCooldownMs: orNull(z.number()),
  }),
])

const CLOSED: BreakerRecord = { kind: 'closed', failuresAtMs: [], recoveredAtMs: null }

/** A bench that is not understood is none: the next refusal of OpenRouter's brings it back. */
const benchOrNone = orNull(bench)

export const modelsRecordSchema: z.ZodMiniType<ModelsRecord> = entries(tuple(model, bench))

/** A kind that this release does not know halts the key too: nobody has told it to go on. */
const halt: z.ZodMiniType<Halt> = z.object({
  kind: orElse(z.enum(['paused', 'draining']), 'paused'),
  sinceMs: orElse(moment, 0),
})

export const keyRecordSchema: z.ZodMiniType<KeyRecord> = z.object({
  breaker: orElse(breaker, CLOSED),
  bench: benchOrNone,
  modelBenches: orElse(modelsRecordSchema, []),
  strikes: orElse(z.number(), 0),
  struckAtMs: orElse(moment, 0),
  owner: orNull(account),
  fingerprint: orNull(z.string()),
  creator: orNull(account),
  workspace: orNull(account),
  halt: orNull(halt),
  reset: orNull(z.object({ epoch: z.number(), atMs: moment })),
})

export const accountRecordSchema: z.ZodMiniType<AccountRecord> = z.object({
  bench: benchOrNone,
  freeBench: benchOrNone,
  modelBenches: orElse(modelsRecordSchema, []),
  hadNoRoom: orElse(z.boolean(), false),
  keysWithoutRoom: orElse(entries(key), []),
  resetAtMs: orElse(moment, 0),
})

/** Counts by fault. Names that this release does not know are kept, for the one that does. */
const faults = orElse(z.catchall(z.object({}), z.number()), {})

export const countersSchema = z.object({
  attempts: z.number(),
  successes: z.number(),
  failures: z.number(),
  ignored: z.number(),
  faults,
  promptTokens: z.number(),
  completionTokens: z.number(),
  cachedTokens: z.number(),
  reasoningTokens: z.number(),
  costUsd: z.number(),
  estimated: orElse(z.number(), 0),
  estimatedUsd: orElse(z.number(), 0),
  estimatedPromptTokens: orElse(z.number(), 0),
  estimatedCompletionTokens: orElse(z.number(), 0),
})

const cacheCounters = z.custom<CacheCounters>((value) => {
  const counters: object = Object(value)
  return Object.keys(NO_CACHE_COUNTERS).every((name) =>
    Number.isFinite(Reflect.get(counters, name)),
  )
})

const requestCounts = z.object({
  answered: z.number(),
  failed: z.number(),
  client_gone: z.number(),
  refused: z.number(),
  retries: z.number(),
})

const tally = z.object({
  total: countersSchema,
  day: z.number(),
  today: countersSchema,
  weekUsd: z._default(z.number(), 0),
  monthUsd: z._default(z.number(), 0),
})

/** There are a thousand of each in a large pool, and the object reads them before its first answer. */
const isCounts = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.values(value).every(Number.isFinite)

const isMinuteCounters = (value: unknown): value is MinuteCounters => {
  const { faults: byFault, ...numbers } = { ...(value as Partial<MinuteCounters> | null) }
  const names = Object.keys(noMinuteCounters())
  return isCounts(byFault) && isCounts(numbers) && names.every((name) => name in Object(value))
}

const minuteCounters = z.custom<MinuteCounters>(isMinuteCounters)

export const minuteSchema: z.ZodMiniType<MinuteRecord> = z.object({
  minute: z.number(),
  all: minuteCounters,
  keys: entries(tuple(key, minuteCounters)),
})

const histogram = z.custom<TimeHistogram>((value) => {
  const { counts, sumMs } = { ...(value as Partial<TimeHistogram> | null) }
  return Array.isArray(counts) && isCounts(counts) && Number.isFinite(sumMs)
})

const anyLease = {
  id: z.pipe(z.string(), z.transform(leaseId)),
  keyId: key,
  model,
  grantedAtMs: moment,
  expiresAtMs: moment,
  tokens: z._default(z.number(), 0),
  panic: z.boolean(),
  epoch: orElse(z.number(), 0),
  isolate: orNull(z.pipe(z.string(), z.transform(isolateId))),
  charge: orNull(chargeSchema),
  keyHold: orNull(holdSchema),
  owed: orElse(z.optional(z.literal(true)), undefined),
}

const runningLease = z.object({
  ...anyLease,
  kind: z._default(z.literal('running'), 'running'),
  clientId: client,
  chargedAtMs: z.optional(moment),
  unclaimedMs: z._default(z.nullable(z.number()), null),
  // How an unused lease of the first release was paid is not known: nothing is given back.
  attempt: orElse(z.enum(['first', 'move', 'retry']), 'move'),
  isBatch: orElse(z.boolean(), false),
})

/** Leases of earlier releases have no kind: each had a request. */
const lease = z.union([
  z.object({ ...anyLease, kind: z.literal('reserved') }),
  z.pipe(
    runningLease,
    z.transform((read) => ({ ...read, chargedAtMs: read.chargedAtMs ?? read.grantedAtMs })),
  ),
])

const credit = z.union([
  z.object({ kind: z.literal('unknown') }),
  z.object({
    kind: z.literal('known'),
    limitUsd: z.nullable(z.number()),
    remainingUsd: z.nullable(z.number()),
    resetsAtMs: z.nullable(moment),
    asOfMs: moment,
    stale: z.boolean(),
    layer: orNull(z.string()),
  }),
])

const route = z.object({
  models: z.array(z.string()),
  current: z.nullable(key),
  smoothedWeights: orElse(z.array(tuple(key, z.number(), z.number())), []),
})

const slots = orElse(entries(z.object({ slot: z.number(), amount: z.number() })), [])

const batchSlots = orElse(z.optional(z.object({ rpm: slots, tpm: slots })), undefined)

const BLANK = { total: noCounters(), day: 0, today: noCounters(), weekUsd: 0, monthUsd: 0 }

function noCounters() {
  return {
    ...{ attempts: 0, successes: 0, failures: 0, ignored: 0, faults: {}, promptTokens: 0 },
    ...{ completionTokens: 0, cachedTokens: 0, reasoningTokens: 0, costUsd: 0 },
    ...{ estimated: 0, estimatedUsd: 0, estimatedPromptTokens: 0, estimatedCompletionTokens: 0 },
  }
}

export const usageSchema = z.object({
  promptTokens: z.number(),
  completionTokens: z.number(),
  cachedTokens: z.number(),
  reasoningTokens: z.number(),
  costUsd: z.number(),
  estimated: z.boolean(),
})

const reconciliation = z.object({
  keyId: key,
  clientId: client,
  model,
  groupId: orNull(group),
  bookedAtMs: moment,
  booked: z.nullable(usageSchema),
  keyUsd: z.number(),
  holds: entries(holdSchema),
  tries: z.number(),
  dueAtMs: moment,
})

/** The parts of a checkpoint. Each part has its own rows. */
export const checkpointSchemas: { [Part in keyof Checkpoint]: z.ZodMiniType<Checkpoint[Part]> } = {
  counters: z.object({
    turns: orElse(z.number(), 0),
    retryTokens: orElse(z.number(), 0),
    keys: entries(
      z.object({
        id: key,
        lastTurn: orElse(z.number(), 0),
        credit: orElse(credit, { kind: 'unknown' }),
        expiresAtMs: orNull(moment),
        lookupAtMs: orElse(moment, 0),
        epoch: orElse(z.number(), 0),
        fingerprint: orNull(z.string()),
        spentDay: orNull(
          z.object({ day: z.number(), upstreamUsd: z.number(), bookedUsd: z.number() }),
        ),
        spendRate: orNull(z.object({ usdPerHour: z.number(), atMs: moment })),
      }),
    ),
    routes: entries(route),
    meanCostUsd: orElse(z.number(), 0),
    meanTokenUsd: orElse(z.number(), 0),
    savedAtMs: orNull(moment),
    gaps: orElse(entries(z.object({ fromMs: moment, untilMs: moment })), []),
    all: orElse(tally, BLANK),
    byKey: entries(tuple(key, tally)),
    byClient: entries(tuple(client, tally)),
    byGroup: orElse(entries(tuple(group, tally)), []),
    requests: orElse(requestCounts, createRequestCounts()),
    times: orElse(entries(tuple(key, z.object({ firstOutput: histogram, answer: histogram }))), []),
    minute: orNull(minuteSchema),
    cache: orNull(z.object({ total: cacheCounters, day: z.number(), today: cacheCounters })),
  }),
  byModel: entries(tuple(z.string(), tally)),
  leases: entries(lease),
  meters: entries(z.object({ id: key, rpm: slots, tpm: slots, batch: batchSlots })),
  quotas: entries(quotaRecordSchema),
  generations: entries(tuple(z.string(), z.object({ keyId: key, clientId: client, atMs: moment }))),
  reconciliations: entries(tuple(z.string(), reconciliation)),
}

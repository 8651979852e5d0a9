import * as z from 'zod/mini'
import { SPEND_PERIODS } from '../../balancing/limits/quota-charge.ts'
import { REASONS } from '../../balancing/reasons.ts'
import { AFFINITIES } from '../../balancing/routes.ts'

/** What the admin API says of how a request would be decided. */

const text = z.string()
const momentOrNull = z.nullable(z.string())

const key = { id: text, account: text }

export const explainAnswer = z.object({
  would: z.enum(['serve', 'wait', 'refuse']),
  /** Null if it would be served. */
  because: z.nullable(z.enum(['no_key', 'client_limit', 'client_expired', 'model_not_allowed'])),
  model: text,
  client: z.nullable(text),
  route: z.object({
    models: z.array(text),
    strategy: text,
    affinity: z.enum(AFFINITIES),
    fallback_models: z.array(text),
  }),
  /** The key that the pool would choose, if the client may ask. */
  chosen: z.nullable(z.object({ key: text, account: text, model: text })),
  /** The limit of the client, or of its group, that is in the way. */
  limit: z.nullable(
    z.object({
      owner: z.nullable(text),
      kind: z.enum(['rate', 'budget', 'unpriceable', 'revoked']),
      limit: z.nullable(z.enum(['rpm', 'tpm', 'rpd', 'max_concurrent'])),
      period: z.nullable(z.enum(SPEND_PERIODS)),
      resets_at: momentOrNull,
    }),
  ),
  /** Of how many keys each reason is the first. */
  reasons: z.record(z.string(), z.number()),
  retry_at: momentOrNull,
  panic: z.boolean(),
  waiting: z.number(),
  /** The model that the keys below are looked at for. */
  looked_at_model: text,
  best_score: z.enum(['lowest', 'highest']),
  keys: z.array(
    z.object({
      ...key,
      eligible: z.boolean(),
      score: z.nullable(z.number()),
      reasons: z.array(z.enum(REASONS)),
      clears_at: momentOrNull,
    }),
  ),
})

export type ExplainAnswer = z.output<typeof explainAnswer>

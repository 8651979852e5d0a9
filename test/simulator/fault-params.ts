import { z } from 'zod'

/** What a fault can be told. Each fault reads the few that it names and ignores the rest. */
export const faultParamsSchema = z.strictObject({
  /** Seconds, sent as `Retry-After`. */
  retryAfter: z.number().nonnegative().optional(),
  /** Send `Retry-After` as an HTTP date instead of seconds. */
  date: z.boolean().optional(),
  /** How far ahead the rate limit's reset lies. */
  resetInMs: z.number().nonnegative().optional(),
  ms: z.number().nonnegative().optional(),
  everyMs: z.number().positive().optional(),
  /** Events with output that still pass before the fault. */
  events: z.number().int().nonnegative().optional(),
  afterEvents: z.number().int().nonnegative().optional(),
  kilobytes: z.number().int().positive().optional(),
  code: z.union([z.number().int(), z.string()]).optional(),
  message: z.string().optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  /** Which of OpenRouter's key-limit texts. */
  form: z.enum(['total', 'daily', 'weekly', 'monthly', 'newest']).optional(),
  provider: z.string().optional(),
  /** M of "can only afford M". */
  affordTokens: z.number().int().nonnegative().optional(),
})
export type FaultParams = z.infer<typeof faultParamsSchema>

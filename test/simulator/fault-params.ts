import { z } from 'zod'

/** The parameters of faults. Each fault reads some of them and ignores the others. */
export const faultParamsSchema = z.strictObject({
  /** Seconds, sent as `Retry-After`. */
  retryAfter: z.number().nonnegative().optional(),
  /** Send `Retry-After` as an HTTP date instead of seconds. */
  date: z.boolean().optional(),
  /** In how many milliseconds the rate limit resets. */
  resetInMs: z.number().nonnegative().optional(),
  ms: z.number().nonnegative().optional(),
  everyMs: z.number().positive().optional(),
  /** How many events with output pass before the fault. */
  events: z.number().int().nonnegative().optional(),
  afterEvents: z.number().int().nonnegative().optional(),
  kilobytes: z.number().int().positive().optional(),
  code: z.union([z.number().int(), z.string()]).optional(),
  message: z.string().optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  /** The form of OpenRouter's key-limit text. */
  form: z.enum(['total', 'daily', 'weekly', 'monthly', 'newest']).optional(),
  provider: z.string().optional(),
  /** The number in "can only afford …". */
  affordTokens: z.number().int().nonnegative().optional(),
})
export type FaultParams = z.infer<typeof faultParamsSchema>

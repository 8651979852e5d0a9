import * as z from 'zod/mini'
import { boundedInteger, section } from './fields.ts'

/** The timeouts of a request: the first three apply to each attempt. All in milliseconds. */
export interface Timeouts {
  /** From the upstream call to the response headers. */
  readonly headersMs: number
  /** From the response headers to the first real output of a stream. */
  readonly firstOutputMs: number
  /** The longest pause between two pieces of a body; in a stream, only after the first output. */
  readonly idleMs: number
  /** The whole request, with all its attempts and waits. */
  readonly totalMs: number
}

const DEFAULTS = {
  headers_ms: 30_000,
  first_output_ms: 120_000,
  idle_ms: 60_000,
  total_ms: 600_000,
} as const

const milliseconds = boundedInteger(100, 3_600_000)

/** The pool's timeouts. */
export const timeoutFields = section({
  headers_ms: z._default(milliseconds, DEFAULTS.headers_ms),
  first_output_ms: z._default(milliseconds, DEFAULTS.first_output_ms),
  idle_ms: z._default(milliseconds, DEFAULTS.idle_ms),
  total_ms: z._default(milliseconds, DEFAULTS.total_ms),
})

/** The timeouts of a route. The pool's timeout applies where the route sets none. */
export const someTimeoutFields = section({
  headers_ms: z.optional(milliseconds),
  first_output_ms: z.optional(milliseconds),
  idle_ms: z.optional(milliseconds),
  total_ms: z.optional(milliseconds),
})

type Fields = z.infer<typeof timeoutFields>
type SomeFields = z.infer<typeof someTimeoutFields>

/**
 * Joins the timeouts of the pool and of a route.
 * @param own the route's timeouts, which win over the pool's
 */
export function timeoutsOf(pool: Fields, own: SomeFields = {}): Timeouts {
  return {
    headersMs: own.headers_ms ?? pool.headers_ms,
    firstOutputMs: own.first_output_ms ?? pool.first_output_ms,
    idleMs: own.idle_ms ?? pool.idle_ms,
    totalMs: own.total_ms ?? pool.total_ms,
  }
}

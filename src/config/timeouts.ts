import type { z } from 'zod'
import { boundedInteger, section } from './fields.ts'

/** The four clocks of an attempt, in milliseconds. */
export interface Timeouts {
  /** Until response headers. */
  readonly headersMs: number
  /** Until the first real output of a stream. */
  readonly firstOutputMs: number
  /** Between any two bytes after that. */
  readonly idleMs: number
  /** The whole request, waiting included. */
  readonly totalMs: number
}

const DEFAULTS = {
  headers_ms: 30_000,
  first_output_ms: 120_000,
  idle_ms: 60_000,
  total_ms: 600_000,
} as const

const milliseconds = () => boundedInteger(100, 3_600_000)

/** The pool's clocks. */
export const timeoutFields = section({
  headers_ms: milliseconds().default(DEFAULTS.headers_ms),
  first_output_ms: milliseconds().default(DEFAULTS.first_output_ms),
  idle_ms: milliseconds().default(DEFAULTS.idle_ms),
  total_ms: milliseconds().default(DEFAULTS.total_ms),
})

/** Those of a route, which may leave any of them to the pool. */
export const someTimeoutFields = section({
  headers_ms: milliseconds().optional(),
  first_output_ms: milliseconds().optional(),
  idle_ms: milliseconds().optional(),
  total_ms: milliseconds().optional(),
})

type Fields = z.infer<typeof timeoutFields>
type SomeFields = z.infer<typeof someTimeoutFields>

/** @param own what goes before the pool's */
export function timeoutsOf(pool: Fields, own: SomeFields = {}): Timeouts {
  return {
    headersMs: own.headers_ms ?? pool.headers_ms,
    firstOutputMs: own.first_output_ms ?? pool.first_output_ms,
    idleMs: own.idle_ms ?? pool.idle_ms,
    totalMs: own.total_ms ?? pool.total_ms,
  }
}

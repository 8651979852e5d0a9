import { objectOf } from '../json-value.ts'
import { parseHttpDate } from './http-date.ts'
import type { UpstreamFailure } from './upstream-failure.ts'

/** The longest accepted wait: a hint of a year, sent by mistake, must not bench a key that long. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000

/**
 * What a moment counts as that is past, or now. `Retry-After: 0`, or a date that our clock has passed,
 * would else mean no rest at all, although upstream has just refused.
 */
const PAST_COUNTS_AS_MS = 1_000

/** A number below this is no epoch milliseconds of our time (it would be of 1973): it is seconds. */
const LEAST_EPOCH_MS = 1e11

type HintReader = (text: string, nowMs: number) => number | null

/**
 * The hints in the order in which they are tried. Explicit advice is before the end of the limit's
 * window, and milliseconds are before seconds. `X-RateLimit-Reset` is in epoch milliseconds, and that
 * of some proxies in epoch seconds. Live answers carry it in the body's `metadata.headers` more often
 * than as a header:
 * https://openrouter.ai/docs/api-reference/limits
 */
const HINTS: readonly (readonly [name: string, read: HintReader])[] = [
  ['retry-after-ms', (text, nowMs) => after(decimalOf(text), 1, nowMs)],
  [
    'retry-after',
    (text, nowMs) => after(decimalOf(text), 1000, nowMs) ?? parseHttpDate(text, nowMs),
  ],
  ['x-ratelimit-reset', (text) => epochOf(decimalOf(text))],
]

/**
 * When a retry may work, according to the headers or the body of a failure.
 * @returns epoch milliseconds, after `nowMs` and at most 24 hours after it (a moment in the past
 *   becomes a second from now), or null if the failure has no readable hint
 */
export function resetAtMs(failure: UpstreamFailure, nowMs: number): number | null {
  if (failure.kind !== 'response') return null
  const inBody = lowerCased(objectOf(failure.error?.metadata.headers))
  for (const [name, read] of HINTS) {
    for (const text of [failure.headers.get(name), inBody.get(name)]) {
      const atMs = typeof text === 'string' ? read(text, nowMs) : null
      if (atMs !== null) return bounded(atMs, nowMs)
    }
  }
  return null
}

function bounded(atMs: number, nowMs: number): number {
  const aheadMs = atMs > nowMs ? atMs - nowMs : PAST_COUNTS_AS_MS
  return nowMs + Math.min(aheadMs, MAX_AHEAD_MS)
}

/** The headers of a body: names come in any letter case, values as strings or numbers. */
function lowerCased(headers: Record<string, unknown>): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(headers).flatMap(([name, value]) =>
      typeof value === 'string' || typeof value === 'number'
        ? [[name.toLowerCase(), String(value)] as const]
        : [],
    ),
  )
}

function decimalOf(text: string): number | null {
  return /^\s*\d+(?:\.\d+)?\s*$/.test(text) ? Number(text) : null
}

function after(amount: number | null, unitMs: number, nowMs: number): number | null {
  return amount === null ? null : nowMs + amount * unitMs
}

function epochOf(amount: number | null): number | null {
  return amount === null ? null : epochMs(amount)
}

/** Epoch milliseconds of a number that may be in seconds. */
export function epochMs(given: number): number {
  return given < LEAST_EPOCH_MS ? given * 1000 : given
}

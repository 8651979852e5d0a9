import { objectOf } from '../json-value.ts'
import { parseHttpDate } from './http-date.ts'
import type { UpstreamFailure } from './upstream-failure.ts'

/** No hint is believed for longer: whoever sends a year by mistake must not cost us a key for one. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000

type HintReader = (text: string, nowMs: number) => number | null

/**
 * The explicit advice goes before the end of the limit's window, and the finer
 * unit before the coarser. `X-RateLimit-Reset` is in epoch milliseconds, and
 * live bodies carry it in `metadata.headers` more often than as a header:
 * https://openrouter.ai/docs/api-reference/limits
 */
const HINTS: readonly (readonly [name: string, read: HintReader])[] = [
  ['retry-after-ms', (text, nowMs) => after(decimalOf(text), 1, nowMs)],
  [
    'retry-after',
    (text, nowMs) => after(decimalOf(text), 1000, nowMs) ?? parseHttpDate(text, nowMs),
  ],
  ['x-ratelimit-reset', decimalOf],
]

/**
 * When OpenRouter said that trying again may work.
 * @returns epoch milliseconds from `nowMs` to 24 hours after it (a moment that
 *   has passed is now), or null where nothing readable was said.
 */
export function resetAtMs(failure: UpstreamFailure, nowMs: number): number | null {
  if (failure.kind !== 'response') return null
  const inBody = lowerCased(objectOf(failure.error?.metadata.headers))
  for (const [name, read] of HINTS) {
    for (const text of [failure.headers.get(name), inBody.get(name)]) {
      const atMs = typeof text === 'string' ? read(text, nowMs) : null
      if (atMs !== null) return Math.min(Math.max(atMs, nowMs), nowMs + MAX_AHEAD_MS)
    }
  }
  return null
}

/** Header names come in any letter case, and their values as strings or numbers. */
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

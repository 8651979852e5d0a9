import { endOfUtcWindow, type UtcWindow } from '../../balancing/limits/utc-window.ts'
import type { BenchTerm } from '../../balancing/settlement.ts'
import { textOf } from '../json-value.ts'
import type { FailureSigns } from './failure-signs.ts'
import { epochMs } from './retry-after.ts'

/** The longest window is a month. A reset that is further away is a mistake. */
const MAX_AHEAD_MS = 32 * 24 * 60 * 60 * 1000

const WINDOWS: ReadonlyMap<string | undefined, UtcWindow> = new Map([
  ['daily', 'day'],
  ['weekly', 'week'],
  ['monthly', 'month'],
])

const NAMED_RESET =
  /\bresets?\b\D{0,12}(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:\d\d)?)?/i

/**
 * When the limit ends that a failure names, by `resets_at` in its metadata.
 * @returns epoch milliseconds; null if it names none, or one that is past or too far in the future,
 *   and so is a mistake
 */
export function limitEndMs({ error, nowMs }: FailureSigns): number | null {
  const given = error?.metadata.resets_at
  const atMs = typeof given === 'number' ? epochMs(given) : Date.parse(textOf(given) ?? '')
  return atMs > nowMs && atMs <= nowMs + MAX_AHEAD_MS ? atMs : null
}

/**
 * How long to bench a key that reached its spending cap. The error may name the reset, in its metadata
 * or in its text; older forms name only the window. A total limit never resets, so a lookup
 * (`GET /key`) decides when the bench ends. A lookup also decides if the named reset is in the past or
 * too far in the future, since then the message is wrong.
 */
export function keyLimitTerm(signs: FailureSigns): BenchTerm {
  const { message, nowMs } = signs
  const endMs = limitEndMs(signs)
  if (endMs !== null) return { kind: 'until', untilMs: endMs }
  const named = NAMED_RESET.exec(message)
  if (named !== null) {
    const [, date, time = '00:00:00', zone = 'Z'] = named
    const untilMs = Date.parse(`${date}T${time}${zone}`)
    return untilMs > nowMs && untilMs <= nowMs + MAX_AHEAD_MS
      ? { kind: 'until', untilMs }
      : { kind: 'lookup', lapseMs: null }
  }
  const limit = /\((daily|weekly|monthly) limit\)/i.exec(message)?.[1]
  const window = WINDOWS.get(limit?.toLowerCase())
  return window === undefined
    ? { kind: 'lookup', lapseMs: null }
    : { kind: 'until', untilMs: endOfUtcWindow(window, nowMs) }
}

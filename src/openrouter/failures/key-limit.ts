import type { BenchTerm } from '../../balancing/settlement.ts'
import { endOfUtcWindow, type UtcWindow } from '../utc-window.ts'

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
 * How long to bench a key that reached its spending cap. The newest form of the message names the
 * reset; older forms name only the window. A total limit never resets, so a lookup (`GET /key`)
 * decides when the bench ends. A lookup also decides if the named reset is in the past or too far
 * in the future, since then the message is wrong.
 * @param nowMs epoch milliseconds
 */
export function keyLimitTerm(message: string, nowMs: number): BenchTerm {
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

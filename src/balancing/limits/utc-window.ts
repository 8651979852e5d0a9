/** The fixed windows of OpenRouter's limits. They are aligned to UTC; weeks start on Monday. */
export type UtcWindow = 'minute' | 'day' | 'week' | 'month'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const WEEK_MS = 7 * DAY_MS

/** The epoch was a Thursday. This is the first Monday after it. */
const FIRST_MONDAY_MS = 4 * DAY_MS

/** The end of the window that contains `nowMs`, in epoch milliseconds; always after `nowMs`. */
export function endOfUtcWindow(window: UtcWindow, nowMs: number): number {
  switch (window) {
    case 'minute':
      return nextMultiple(MINUTE_MS, nowMs)
    case 'day':
      return nextMultiple(DAY_MS, nowMs)
    case 'week':
      return FIRST_MONDAY_MS + nextMultiple(WEEK_MS, nowMs - FIRST_MONDAY_MS)
    case 'month': {
      const now = new Date(nowMs)
      return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1)
    }
  }
}

/** Whether two moments are in the same window. */
export function isSameWindow(window: UtcWindow | 'total', aMs: number, bMs: number): boolean {
  return window === 'total' || endOfUtcWindow(window, aMs) === endOfUtcWindow(window, bMs)
}

function nextMultiple(lengthMs: number, nowMs: number): number {
  return (Math.floor(nowMs / lengthMs) + 1) * lengthMs
}

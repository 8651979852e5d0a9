import type { Account } from './world.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
/** A new account's requests per model and minute. */
const NEW_ACCOUNT_RPM = 20

interface Window {
  startMs: number
  used: number
}

/** Fixed windows by name. OpenRouter counts by clock minutes and UTC days, not sliding windows. */
export type RateWindows = Map<string, Window>

/** An exceeded limit, as the 429 reports it. */
export interface Passed {
  readonly limit: 'free-day' | 'free-minute' | 'new-account'
  readonly perWindow: number
  readonly resetAtMs: number
}

function used(windows: RateWindows, name: string, lengthMs: number, nowMs: number): Window {
  const startMs = Math.floor(nowMs / lengthMs) * lengthMs
  const known = windows.get(name)
  if (known !== undefined && known.startMs === startMs) return known
  const fresh = { startMs, used: 0 }
  windows.set(name, fresh)
  return fresh
}

/** Requests to free models per day: more for accounts that have bought at least nine credits. */
export function freePerDay(account: Account): number {
  return account.freePerDay ?? (account.purchasedUsd >= 9 ? 1000 : 50)
}

/** The account's free requests of this UTC day, refused ones included. */
export function freeUsedToday(windows: RateWindows, account: Account, nowMs: number): number {
  return used(windows, `free-day/${account.id}`, DAY_MS, nowMs).used
}

/**
 * Counts a request and returns the limit that it exceeds, or null. A refused request counts too:
 * OpenRouter's own counter was seen at 1060 of 1000.
 */
export function countRequest(
  windows: RateWindows,
  account: Account,
  model: { id: string; free: boolean },
  nowMs: number,
): Passed | null {
  const count = (limit: Passed['limit'], name: string, perWindow: number, lengthMs: number) => {
    const window = used(windows, `${limit}/${name}`, lengthMs, nowMs)
    window.used += 1
    const resetAtMs = window.startMs + lengthMs
    return window.used > perWindow ? { limit, perWindow, resetAtMs } : null
  }
  const passed: (Passed | null)[] = []
  if (model.free) {
    passed.push(count('free-day', account.id, freePerDay(account), DAY_MS))
    passed.push(count('free-minute', account.id, account.freePerMinute, MINUTE_MS))
  }
  if (account.isNew) {
    passed.push(count('new-account', `${account.id}/${model.id}`, NEW_ACCOUNT_RPM, MINUTE_MS))
  }
  return passed.find((limit) => limit !== null) ?? null
}

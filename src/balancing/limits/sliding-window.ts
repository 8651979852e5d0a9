/**
 * How much was taken within the last minute, exactly enough that no minute ever
 * holds more than a limit. Two counters that fade into each other (as many rate
 * limiters keep them) are smaller, but let bursts through at the seam; a log of
 * every request is exact, but has no bound. This is a log of tenths of seconds:
 * what was taken in one counts until the end of that tenth has left the window,
 * so it errs by a tenth, and always on the safe side.
 */
export interface SlidingWindow {
  /** In order of time; at most as many as there are slots in a window. */
  slots: WindowSlot[]
  total: number
}

export interface WindowSlot {
  readonly slot: number
  amount: number
}

export const WINDOW_MS = 60_000
export const SLOT_MS = 100

export function createWindow(): SlidingWindow {
  return { slots: [], total: 0 }
}

/** What counts at this moment. */
export function takenWithin(window: SlidingWindow, nowMs: number): number {
  const { slots } = window
  const gone = slots.findIndex(({ slot }) => leavesAtMs(slot) > nowMs)
  const past = gone === -1 ? slots.splice(0) : slots.splice(0, gone)
  for (const { amount } of past) window.total -= amount
  return window.total
}

export function take(window: SlidingWindow, amount: number, nowMs: number): void {
  if (amount <= 0) return
  takenWithin(window, nowMs)
  const last = window.slots.at(-1)
  // A clock that was set back must not bring the order of the slots into disorder.
  const slot = Math.max(Math.floor(nowMs / SLOT_MS), last?.slot ?? Number.NEGATIVE_INFINITY)
  if (last?.slot === slot) last.amount += amount
  else window.slots.push({ slot, amount })
  window.total += amount
}

/** What is written down of a window is by seconds: so many slots as one. */
export const SLOTS_PER_RECORD = 10

/**
 * Gives back part of what was taken at `takenAtMs`. What has left the window
 * since is not there to be given back, so nothing ever falls below zero. After a
 * restart it stands in the last slot of its second.
 */
export function giveBack(
  window: SlidingWindow,
  amount: number,
  takenAtMs: number,
  nowMs: number,
): void {
  takenWithin(window, nowMs)
  const slot = Math.floor(takenAtMs / SLOT_MS)
  const last = slot - (slot % SLOTS_PER_RECORD) + SLOTS_PER_RECORD - 1
  const found =
    leavesAtMs(slot) > nowMs
      ? window.slots.find((other) => other.slot === slot || other.slot === last)
      : undefined
  if (found === undefined || amount <= 0) return
  const given = Math.min(amount, found.amount)
  found.amount -= given
  window.total -= given
}

/**
 * The earliest moment at which `amount` more stays within `limit`; null if it
 * never does, since it is more than the limit by itself.
 */
export function fitsAtMs(
  window: SlidingWindow,
  limit: number,
  amount: number,
  nowMs: number,
): number | null {
  if (amount > limit) return null
  let over = takenWithin(window, nowMs) + amount - limit
  if (over <= 0) return nowMs
  for (const { slot, amount: leaving } of window.slots) {
    over -= leaving
    if (over <= 0) return leavesAtMs(slot)
  }
  return nowMs
}

function leavesAtMs(slot: number): number {
  return (slot + 1) * SLOT_MS + WINDOW_MS
}

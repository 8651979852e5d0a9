/**
 * How much was taken within the last minute, exact enough that no minute exceeds a limit.
 *
 * Many rate limiters weight two counters. That needs less memory, but it lets bursts through where
 * one counter replaces the other. A log of every request is exact, but its memory has no bound.
 * This is a log of slots of a tenth of a second. An amount counts until the end of its slot is a
 * minute old, in the latest slot until the latest amount is. So an amount counts up to a tenth of a
 * second too long, and never too short; and whoever finds no room is never told more than a minute.
 */
export interface SlidingWindow {
  /** In order of time; at most one per slot of the window. */
  slots: WindowSlot[]
  total: number
  /** When the latest amount was taken; infinity if that is not known, after a restart. */
  lastAtMs: number
  /**
   * No slot leaves before this moment, so that until then the total is right as it stands. A strategy
   * asks for the totals of a thousand keys, and most of them have not changed.
   */
  restsUntilMs: number
}

export interface WindowSlot {
  readonly slot: number
  amount: number
}

export const WINDOW_MS = 60_000
export const SLOT_MS = 100

/** A window in which nothing was taken. */
export function createWindow(): SlidingWindow {
  return { slots: [], total: 0, lastAtMs: 0, restsUntilMs: Number.POSITIVE_INFINITY }
}

/** A window in which these slots were taken, in order of time. */
export function restoreWindow(slots: readonly WindowSlot[]): SlidingWindow {
  const total = slots.reduce((sum, { amount }) => sum + amount, 0)
  const lastAtMs = Number.POSITIVE_INFINITY
  return { slots: slots.map((slot) => ({ ...slot })), total, lastAtMs, restsUntilMs: 0 }
}

/** What counts at this moment. Amortised constant time: each slot is passed over once. */
export function takenWithin(window: SlidingWindow, nowMs: number): number {
  if (nowMs < window.restsUntilMs) return window.total
  const { slots } = window
  // V8 trims the front of an array without moving the rest, which `splice` does not.
  for (let first = slots[0]; first !== undefined && leavesAtMs(window, first) <= nowMs; ) {
    window.total -= first.amount
    slots.shift()
    first = slots[0]
  }
  window.restsUntilMs = nextLeavesAtMs(window) ?? Number.POSITIVE_INFINITY
  return window.total
}

/** Whether `amount` more is within `limit` now. What was taken only shrinks by itself. */
export function fits(window: SlidingWindow, limit: number, amount: number, nowMs: number): boolean {
  return window.total + amount <= limit || takenWithin(window, nowMs) + amount <= limit
}

/** When the oldest slot leaves the window, and so something of the limit is free; null if it is empty. */
export function nextLeavesAtMs(window: SlidingWindow): number | null {
  const [first] = window.slots
  return first === undefined ? null : leavesAtMs(window, first)
}

export function take(window: SlidingWindow, amount: number, nowMs: number): void {
  if (amount <= 0) return
  takenWithin(window, nowMs)
  const last = window.slots.at(-1)
  // After the clock was set back, the last slot is used again, so the slots stay in order.
  const slot = Math.max(Math.floor(nowMs / SLOT_MS), last?.slot ?? Number.NEGATIVE_INFINITY)
  if (last?.slot === slot) {
    last.amount += amount
    window.lastAtMs = Math.max(window.lastAtMs, nowMs)
  } else {
    window.slots.push({ slot, amount })
    window.lastAtMs = nowMs
  }
  if (last === undefined) window.restsUntilMs = nowMs + WINDOW_MS
  window.total += amount
}

/** A checkpoint stores a window by seconds. It merges this many slots into one. */
export const SLOTS_PER_RECORD = 10

/**
 * Gives back part of what was taken at `takenAtMs`. An amount that has left the window is not given
 * back, so no slot falls below zero. After a restart the amount is in the last slot of its second,
 * so that slot is searched too.
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
  const isThere = endOfSlotMs(slot) + WINDOW_MS > nowMs
  const found = isThere ? (find(window, slot) ?? find(window, last)) : undefined
  if (found === undefined || amount <= 0) return
  const given = Math.min(amount, found.amount)
  found.amount -= given
  window.total -= given
}

/** By halves: a busy key has 600 slots, and each settlement looks for one of them. */
function find({ slots }: SlidingWindow, slot: number): WindowSlot | undefined {
  let from = 0
  let to = slots.length
  while (from < to) {
    const middle = (from + to) >>> 1
    if ((slots[middle] as WindowSlot).slot < slot) from = middle + 1
    else to = middle
  }
  return slots[from]?.slot === slot ? slots[from] : undefined
}

/**
 * The earliest moment, in epoch milliseconds, at which `amount` more stays within `limit`.
 * @returns null if the amount alone is more than the limit
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
  for (const slot of window.slots) {
    over -= slot.amount
    if (over <= 0) return leavesAtMs(window, slot)
  }
  return nowMs
}

function leavesAtMs({ slots, lastAtMs }: SlidingWindow, slot: WindowSlot): number {
  const endMs = endOfSlotMs(slot.slot)
  return WINDOW_MS + (slot === slots.at(-1) ? Math.min(endMs, lastAtMs) : endMs)
}

const endOfSlotMs = (slot: number): number => (slot + 1) * SLOT_MS

import { createWindow, fitsAtMs, type SlidingWindow, takenWithin } from './sliding-window.ts'

/** A limit per minute, with what has been taken of it. */
export interface Meter {
  readonly limit: number
  window: SlidingWindow
}

export function createMeter(limit: number | null): Meter | null {
  return limit === null ? null : { limit, window: createWindow() }
}

/** The share of the limit that is used, 0 to 1; more only where an estimate proved too low. */
export function shareUsed(meter: Meter, nowMs: number): number {
  return takenWithin(meter.window, nowMs) / meter.limit
}

/** The earliest moment at which `amount` more is within the limit; null if it never will be. */
export function roomAtMs(meter: Meter, amount: number, nowMs: number): number | null {
  return fitsAtMs(meter.window, meter.limit, amount, nowMs)
}

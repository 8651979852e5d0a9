import { createWindow, fitsAtMs, type SlidingWindow, takenWithin } from './sliding-window.ts'

/** A limit per minute, with what is used of it. */
export interface Meter {
  readonly limit: number
  window: SlidingWindow
}

/** A meter of which nothing is used; null without a limit. */
export function createMeter(limit: number | null): Meter | null {
  return limit === null ? null : { limit, window: createWindow() }
}

/** The used share of the limit, 0 to 1. It is above 1 only if an estimate was too low. */
export function shareUsed(meter: Meter, nowMs: number): number {
  return takenWithin(meter.window, nowMs) / meter.limit
}

/** What is left of the limit. It is negative only if an estimate was too low. */
export function leftOf({ limit, window }: Meter, nowMs: number): number {
  return limit - takenWithin(window, nowMs)
}

/** The earliest moment at which `amount` more fits the limit; null if it never fits. */
export function roomAtMs(meter: Meter, amount: number, nowMs: number): number | null {
  return fitsAtMs(meter.window, meter.limit, amount, nowMs)
}

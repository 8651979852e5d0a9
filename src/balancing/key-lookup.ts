import { type Bench, isActive } from './bench.ts'
import type { Lookup } from './settlement.ts'

/**
 * Whether `/key` has to be asked about a key. `out`: somebody has been handed the
 * duty; while its report may still come, nobody else is asked.
 */
export type LookupDuty =
  | { readonly kind: 'none' }
  | { readonly kind: 'due'; readonly atMs: number }
  | { readonly kind: 'out'; readonly overdueAtMs: number }

export const NOTHING_TO_LOOK_UP: LookupDuty = { kind: 'none' }

/** How long a suspected, rejected or spent key rests between two lookups of it. */
const LOOK_AGAIN_MS = { key_rejected: 60_000, key_spent: 300_000 } as const

/** A lookup that was handed out and not reported (the Worker died) is due again after this. */
const LOOKUP_TIMEOUT_MS = 30_000

export function isDue(duty: LookupDuty, nowMs: number): boolean {
  switch (duty.kind) {
    case 'none':
      return false
    case 'due':
      return nowMs >= duty.atMs
    case 'out':
      return nowMs >= duty.overdueAtMs
  }
}

export function takeOut(nowMs: number): LookupDuty {
  return { kind: 'out', overdueAtMs: nowMs + LOOKUP_TIMEOUT_MS }
}

/**
 * Makes a lookup due now, unless one is on its way already, or as soon as the
 * key has rested from the last one: a hundred requests that come back with a 401
 * one after another must not ask a hundred times.
 */
export function hurry(
  duty: LookupDuty,
  nowMs: number,
  lookedUpAtMs: number | null = null,
): LookupDuty {
  if (duty.kind === 'out') return duty
  const restedAtMs = lookedUpAtMs === null ? nowMs : lookedUpAtMs + LOOK_AGAIN_MS.key_rejected
  return { kind: 'due', atMs: Math.max(nowMs, restedAtMs) }
}

/** When a key with this bench is to be looked up next: never, where a lookup could not cure it. */
export function nextLookup(bench: Bench | null, nowMs: number): LookupDuty {
  if (!isActive(bench, nowMs)) return NOTHING_TO_LOOK_UP
  switch (bench.reason) {
    case 'key_rejected':
    case 'key_spent':
      return { kind: 'due', atMs: nowMs + LOOK_AGAIN_MS[bench.reason] }
    case 'account_out_of_credit':
    case 'account_rate_limited':
      return NOTHING_TO_LOOK_UP
  }
}

/**
 * A key's bench after `/key` answered. A 401 alone only makes a key suspected
 * (OpenRouter has answered 401 to valid keys for hours); this second,
 * independent answer decides, and a later one can always take it back.
 */
export function afterLookup(bench: Bench | null, lookup: Lookup, nowMs: number): Bench | null {
  switch (lookup.kind) {
    case 'valid': {
      const room = lookup.remainingUsd === null || lookup.remainingUsd > 0
      const cured = bench?.reason === 'key_rejected' || (bench?.reason === 'key_spent' && room)
      return cured ? null : bench
    }
    case 'rejected': {
      const known = bench?.reason === 'key_rejected' && bench.untilMs === null
      return known
        ? bench
        : {
            reason: 'key_rejected',
            untilMs: null,
            cure: 'lookup',
            provenance: 'upstream',
            sinceMs: nowMs,
          }
    }
    case 'unknown':
      return bench
  }
}

import type { AccountId, KeyId } from '../ids.ts'
import { endOfUtcWindow } from '../limits/utc-window.ts'
import { type Bench, cleared, isActive, later } from './bench.ts'

/** What a lookup by `GET /key` found. `unknown` if the lookup itself failed. */
export type KeyReport =
  | {
      readonly keyId: KeyId
      readonly kind: 'valid'
      /** The key's spending cap in USD, and what is left of it; null for a key without a cap. */
      readonly limitUsd: number | null
      readonly remainingUsd: number | null
      /** When the cap resets; null if it never does. */
      readonly resetsAtMs: number | null
      readonly expiresAtMs: number | null
      /** Who pays for the key, by OpenRouter's name. */
      readonly owner: AccountId | null
      /** The account's balance in USD; null if OpenRouter does not show it. */
      readonly balanceUsd: number | null
      readonly askedAtMs: number
      /**
       * The scope of the budget layer that leaves less than the cap does; null if the cap decides.
       * Like all fields below, an older release does not send it.
       */
      readonly layer?: string | null
      /** Who created the key, and its workspace, by OpenRouter's names. */
      readonly creator?: string | null
      readonly workspace?: string | null
      /** How many requests for free models the account has left today. */
      readonly freeRemaining?: number | null
      /** What the key has spent in the UTC day of the answer; null if it is not told. */
      readonly usageDailyUsd?: number | null
      /** Of the secret that was looked up. */
      readonly fingerprint?: string
    }
  | {
      readonly keyId: KeyId
      readonly kind: 'rejected'
      readonly askedAtMs: number
      readonly fingerprint?: string
    }
  | { readonly keyId: KeyId; readonly kind: 'unknown' }

/**
 * A key's bench after a key report.
 *
 * One 401 only makes a key suspected, because OpenRouter has answered 401 to valid keys for hours.
 * A key counts as rejected after two independent answers: a 401 to a request, and after that a 401
 * to this lookup. A later valid answer always ends the rejection. A 401 of `/key` alone, while
 * requests succeed, benches no key. An answer from before the bench says nothing about the bench.
 */
export function benchAfterReport(
  bench: Bench | null,
  lookup: KeyReport,
  nowMs: number,
): Bench | null {
  if (!isActive(bench, nowMs) || isBefore(lookup, bench)) return bench
  const isSuspected = bench.reason === 'key_rejected'
  switch (lookup.kind) {
    case 'unknown':
      return bench
    case 'valid':
      return isSuspected || (bench.reason === 'key_spent' && hasRoom(lookup))
        ? cleared(bench, nowMs)
        : bench
    case 'rejected':
      return isSuspected && bench.untilMs !== null ? rejection(bench, nowMs) : bench
  }
}

function isBefore(lookup: KeyReport, bench: Bench): boolean {
  return lookup.kind !== 'unknown' && lookup.askedAtMs < bench.sinceMs
}

function rejection({ hidden }: Bench, nowMs: number): Bench {
  return {
    reason: 'key_rejected',
    untilMs: null,
    cure: 'lookup',
    provenance: 'upstream',
    sinceMs: nowMs,
    hidden,
  }
}

/** Whether a report shows that the key may still spend something. */
export function hasRoom({ remainingUsd }: Extract<KeyReport, { kind: 'valid' }>): boolean {
  return remainingUsd === null || remainingUsd > 0
}

/**
 * The bench of an account's free models after a report with the account's counter. Without it the
 * first request after the last free one would only learn by a 429 that there are none left. The
 * counter ends only a bench that it began: it is a minute old, and it does not count by the minute.
 */
export function freeBenchAfterReport(
  bench: Bench | null,
  { freeRemaining, askedAtMs }: Extract<KeyReport, { kind: 'valid' }>,
  nowMs: number,
): Bench | null {
  if (freeRemaining === null || freeRemaining === undefined) return bench
  if (freeRemaining > 0) {
    const ends = isActive(bench, nowMs) && isOfCounter(bench) && askedAtMs >= bench.sinceMs
    return ends ? null : bench
  }
  const untilMs = endOfUtcWindow('day', askedAtMs)
  if (nowMs >= untilMs) return bench
  return later(bench, { ...COUNTED, untilMs, sinceMs: askedAtMs }, nowMs)
}

/** Its end is our own conclusion; that of a 429 is named by OpenRouter. */
const COUNTED = {
  reason: 'account_rate_limited',
  detail: 'free_tier_spent',
  cure: 'time',
  provenance: 'guess',
  hidden: null,
} as const

function isOfCounter({ detail, provenance }: Bench): boolean {
  return detail === COUNTED.detail && provenance === COUNTED.provenance
}

/**
 * The bench of an account that had no credit, after a report about one of its keys.
 *
 * `/key` shows a key's own cap and not the account's balance. So a key that had room all the time
 * proves nothing. Two things prove that the account has credit again: a positive balance, if
 * OpenRouter shows it, or else room now after a report without room during this bench.
 *
 * @param hadNoRoom whether a report since the bench began showed this very key without room
 */
export function accountBenchAfterReport(
  bench: Bench | null,
  hadNoRoom: boolean,
  lookup: KeyReport,
  nowMs: number,
): Bench | null {
  if (lookup.kind !== 'valid' || !isActive(bench, nowMs)) return bench
  if (bench.reason !== 'account_out_of_credit' || isBefore(lookup, bench)) return bench
  const { balanceUsd } = lookup
  const paidUp = balanceUsd === null ? hadNoRoom && hasRoom(lookup) : balanceUsd > 0
  return paidUp ? cleared(bench, nowMs) : bench
}

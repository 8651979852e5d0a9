import type { AccountId, KeyId } from '../ids.ts'
import { type Bench, cleared, isActive } from './bench.ts'

/** What `GET /key` said about a key. `unknown` when the lookup itself failed. */
export type KeyReport =
  | {
      readonly keyId: KeyId
      readonly kind: 'valid'
      /** The key's spending cap in USD, and what is left of it; null for a key without one. */
      readonly limitUsd: number | null
      readonly remainingUsd: number | null
      /** When the cap begins anew; null where it never does. */
      readonly resetsAtMs: number | null
      readonly expiresAtMs: number | null
      /** Who pays for the key, by OpenRouter's name for them. */
      readonly owner: AccountId | null
      /** What the account has left, where OpenRouter shows it; null where it doesn't. */
      readonly balanceUsd: number | null
      readonly askedAtMs: number
    }
  | { readonly keyId: KeyId; readonly kind: 'rejected'; readonly askedAtMs: number }
  | { readonly keyId: KeyId; readonly kind: 'unknown' }

/**
 * A key's bench after `/key` answered. A 401 alone only makes a key suspected
 * (OpenRouter has answered 401 to valid keys for hours): it takes a request's and,
 * after that, this second, independent one, and a later answer can always take it
 * back. A 401 of `/key` while requests are served condemns nobody. An answer from
 * before the bench says nothing about it.
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

/** Whether an answer shows a key that may spend something. */
export function hasRoom({ remainingUsd }: Extract<KeyReport, { kind: 'valid' }>): boolean {
  return remainingUsd === null || remainingUsd > 0
}

/**
 * The bench of an account that had no credit, after an answer about one of its
 * keys. `/key` shows a key's own cap and not the account's balance: a key that
 * has had room all the while proves nothing, one that had none before and has
 * some now does, and so does a balance, where OpenRouter shows it.
 *
 * @param hadNoRoom whether an answer since the bench began showed a key without room
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

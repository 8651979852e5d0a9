/**
 * What a key may still spend: the amount of the last lookup, less the spending that was settled
 * since. This is about the key's own cap, because `/key` does not show its account's balance.
 */
export type Credit =
  | { readonly kind: 'unknown' }
  | {
      readonly kind: 'known'
      /** The cap in USD; null for a key without a cap. */
      readonly limitUsd: number | null
      /** What is left of the cap, in USD, never below zero; null for a key without a cap. */
      readonly remainingUsd: number | null
      /** When the cap resets; null if it never does. */
      readonly resetsAtMs: number | null
      /** When OpenRouter was asked. */
      readonly asOfMs: number
      /** Whether the latest lookup failed. */
      readonly stale: boolean
      /** The scope of the budget layer that these amounts are of; null if they are the cap's. */
      readonly layer?: string | null
    }

export const UNKNOWN_CREDIT: Credit = { kind: 'unknown' }

/** The credit as of now. After its reset a cap is whole again, even before the next lookup. */
export function creditAsOf(credit: Credit, nowMs: number): Credit {
  if (credit.kind === 'unknown') return credit
  const { resetsAtMs } = credit
  return resetsAtMs === null || nowMs < resetsAtMs
    ? credit
    : { ...credit, remainingUsd: credit.limitUsd, resetsAtMs: null }
}

/** The credit after an answer that cost `costUsd`. */
export function afterSpending(credit: Credit, costUsd: number, nowMs: number): Credit {
  const now = creditAsOf(credit, nowMs)
  if (now.kind === 'unknown' || now.remainingUsd === null) return now
  return { ...now, remainingUsd: Math.max(0, now.remainingUsd - costUsd) }
}

/** A failed lookup proves nothing. The last answer stays, and is marked as stale. */
export function afterFailedLookup(credit: Credit): Credit {
  return credit.kind === 'unknown' ? credit : { ...credit, stale: true }
}

/**
 * What a key can spend on new requests, in USD: what is left, less the expected cost of its running
 * requests. Without this subtraction every choice between two settlements would go to the same key,
 * which would then spend more than it has.
 *
 * @param expectedUsd what the key's running requests will probably cost
 * @returns infinity for a key without a cap, null if the credit is unknown
 */
export function spendableUsd(credit: Credit, expectedUsd: number, nowMs: number): number | null {
  const now = creditAsOf(credit, nowMs)
  if (now.kind === 'unknown') return null
  return now.remainingUsd === null
    ? Number.POSITIVE_INFINITY
    : Math.max(0, now.remainingUsd - expectedUsd)
}

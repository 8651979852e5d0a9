/**
 * What a key may still spend, as `/key` last said, less what was seen to be spent
 * since. It is the key's own cap: `/key` does not show its account's balance.
 */
export type Credit =
  | { readonly kind: 'unknown' }
  | {
      readonly kind: 'known'
      /** The cap in USD; null for a key without one. */
      readonly limitUsd: number | null
      /** What is left of it; null for a key without one. Never below zero. */
      readonly remainingUsd: number | null
      /** When the cap begins anew; null where it never does. */
      readonly resetsAtMs: number | null
      /** When OpenRouter was asked. */
      readonly asOfMs: number
      /** Whether the latest attempt to ask again has failed. */
      readonly stale: boolean
    }

export const UNKNOWN_CREDIT: Credit = { kind: 'unknown' }

/** The credit as of now: past its reset a cap is whole again, whether or not anybody has asked. */
export function creditAsOf(credit: Credit, nowMs: number): Credit {
  if (credit.kind === 'unknown') return credit
  const { resetsAtMs } = credit
  return resetsAtMs === null || nowMs < resetsAtMs
    ? credit
    : { ...credit, remainingUsd: credit.limitUsd, resetsAtMs: null }
}

/** Takes what an answer cost from what is known. */
export function afterSpending(credit: Credit, costUsd: number, nowMs: number): Credit {
  const now = creditAsOf(credit, nowMs)
  if (now.kind === 'unknown' || now.remainingUsd === null) return now
  return { ...now, remainingUsd: Math.max(0, now.remainingUsd - costUsd) }
}

/** A lookup that failed proves nothing: the last answer stands, marked as old. */
export function afterFailedLookup(credit: Credit): Credit {
  return credit.kind === 'unknown' ? credit : { ...credit, stale: true }
}

/**
 * The dollars to reckon with: what is left, less what running requests will
 * probably take. Without that last part every choice between two settlements
 * would go to the same key, and drain it past its end.
 *
 * @param expectedUsd what the key's running requests will cost, by experience
 * @returns infinity for a key without a cap, null where nothing is known
 */
export function spendableUsd(credit: Credit, expectedUsd: number, nowMs: number): number | null {
  const now = creditAsOf(credit, nowMs)
  if (now.kind === 'unknown') return null
  return now.remainingUsd === null
    ? Number.POSITIVE_INFINITY
    : Math.max(0, now.remainingUsd - expectedUsd)
}

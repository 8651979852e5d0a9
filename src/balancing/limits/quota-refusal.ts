import type { QuotaOwner, SpendPeriod } from './quota-charge.ts'

/** Why a client's request is refused, for its answer. Money is in nano-dollars. */
export type QuotaRefusal =
  | {
      readonly kind: 'rate'
      readonly owner: QuotaOwner
      readonly limit: 'rpm' | 'tpm' | 'rpd' | 'max_concurrent'
      readonly max: number
      readonly remaining: number
      /** When it may have room again, in epoch milliseconds; null if nobody knows, or never. */
      readonly resetsAtMs: number | null
    }
  | {
      readonly kind: 'budget'
      readonly owner: QuotaOwner
      readonly period: SpendPeriod
      readonly limitNanos: number
      readonly spentNanos: number
      readonly reservedNanos: number
      readonly resetsAtMs: number | null
      readonly onExceeded: 'reject' | 'fallback_model'
      /**
       * Whether the client's running requests hold what this one lacks: it may be there when they end.
       * An object of an older release does not say.
       */
      readonly isPassing?: boolean
    }
  | { readonly kind: 'unpriceable'; readonly owner: QuotaOwner }
  /** The client is none any more, and its Worker has not heard of it. */
  | { readonly kind: 'revoked' }

/**
 * Of two refusals the one that lasts longer: what is told of the other would be over too early. If they
 * last equally long it is the first.
 */
export function longerRefusal(
  one: QuotaRefusal | null,
  other: QuotaRefusal | null,
): QuotaRefusal | null {
  if (one === null || other === null) return one ?? other
  return lastsUntilMs(other) > lastsUntilMs(one) ? other : one
}

/** Running requests may end at any moment. What has no end of its own, no time cures. */
function lastsUntilMs(refusal: QuotaRefusal): number {
  switch (refusal.kind) {
    case 'rate':
      if (refusal.limit === 'max_concurrent') return 0
      return refusal.resetsAtMs ?? Number.POSITIVE_INFINITY
    case 'budget':
      return refusal.isPassing === true ? 0 : (refusal.resetsAtMs ?? Number.POSITIVE_INFINITY)
    case 'unpriceable':
    case 'revoked':
      return Number.POSITIVE_INFINITY
  }
}

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

import type { ClientId, GroupId } from '../ids.ts'

/** What a budget's amount is counted over. Days, weeks and months are UTC windows. */
export const SPEND_PERIODS = ['day', 'week', 'month', 'total'] as const

export type SpendPeriod = (typeof SPEND_PERIODS)[number]

/** Whose limits they are. */
export type QuotaOwner = `client:${string}` | `group:${string}`

/** Whose budget it is: also that of an upstream key with `max_spend`. */
export type BudgetOwner = QuotaOwner | `key:${string}`

export const isOfKey = (owner: BudgetOwner): boolean => owner.startsWith('key:')

/** An amount that a lease holds of one budget until it is settled. */
export interface Hold {
  readonly owner: BudgetOwner
  /** An owner has one budget for each period at most. */
  readonly period: SpendPeriod
  /** Whole nano-dollars. */
  readonly nanos: number
}

/**
 * What a request takes over of the holds of a lease that was held ahead for any of its kind: no more
 * than it can cost itself. Worker and pool both know it by this, and need not tell each other.
 * @param costNanos null or undefined if that has no bound
 */
export function holdsOf(
  holds: readonly Hold[],
  costNanos: number | null | undefined,
): readonly Hold[] {
  if (costNanos === null || costNanos === undefined) return holds
  return holds.map((hold) => ({ ...hold, nanos: Math.min(hold.nanos, costNanos) }))
}

/**
 * What a lease has taken of the limits of its client and of its client's group. It names them, so it
 * can be stored, and be given back although their limits have changed meanwhile.
 */
export interface QuotaCharge {
  readonly clientId: ClientId
  readonly groupId: GroupId | null
  /** 1 for the first attempt of a request; further attempts are no further requests. */
  readonly requests: 0 | 1
  readonly tokens: number
  readonly chargedAtMs: number
  readonly holds: readonly Hold[]
}

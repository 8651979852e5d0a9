import type { CostBound } from '../../balancing/clients/budget.ts'
import type { Refusal } from '../../balancing/lease-request.ts'

/** What a request can cost, as far as that is known. */
export interface CostEstimate {
  /** The most that it can cost; see `LeaseRequest.costNanos`. */
  readonly nanos: CostBound
  /** Whether its isolate has no prices yet and is reading them, so that it may have a bound soon. */
  readonly isPending: boolean
}

/**
 * How long to wait before a request asks its client's budget again.
 *
 * A budget may refuse a request only because of what is reserved: by the client's other requests, of
 * which most cost less than their bound, or by this one, while its isolate has no prices yet. Refused at
 * once, a burst would leave most of a small budget unspent. So such a request waits as it would for a
 * key, and asks again, each time later: what it waits for is the end of an answer, of which no call tells.
 *
 * @param waits how often it has waited before
 * @returns milliseconds; null if waiting does not help
 */
export function budgetWaitMs(
  { quota }: Refusal,
  cost: CostEstimate | null,
  waits: number,
  random: () => number,
): number | null {
  const isPending = cost?.isPending ?? false
  const mayHelp =
    quota?.kind === 'budget'
      ? quota.spentNanos < quota.limitNanos && (isPending || quota.isPassing)
      : quota?.kind === 'unpriceable' && isPending
  return mayHelp ? Math.min(BASE_MS * 2 ** waits, MAX_MS) * (1 + random()) : null
}

/** About ten calls of the object within the ten seconds of a queue. */
const BASE_MS = 50
const MAX_MS = 1_500

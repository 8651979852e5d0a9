/**
 * Why a key may not serve a request: a closed list. A key that several reasons
 * exclude is reported under the first of them.
 */
export const REASONS = [
  'disabled',
  'already_tried',
  'key_rejected',
  'key_spent',
  'account_out_of_credit',
  'account_rate_limited',
  'breaker_open',
  'half_open_busy',
  'at_max_concurrent',
] as const

export type Reason = (typeof REASONS)[number]

/** How many keys each reason kept from serving. Only reasons that occurred are present. */
export type ReasonCounts = Partial<Record<Reason, number>>

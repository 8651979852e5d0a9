/**
 * Why a key may not serve a request: a closed list. If several reasons exclude a key, the pool
 * reports the reason that comes first in this list.
 */
export const REASONS = [
  'disabled',
  'paused',
  'draining',
  'not_in_route',
  'already_tried',
  'key_rejected',
  'key_spent',
  'account_out_of_credit',
  'account_rate_limited',
  'below_min_credit',
  'breaker_open',
  'half_open_busy',
  'at_max_concurrent',
  'at_rpm',
  'at_tpm',
  'at_max_spend',
  'not_for_client',
  'key_rate_limited',
  'key_suspected',
  'too_large_for_key',
  'too_large_for_account',
  'budget_layer_spent',
  'free_tier_spent',
  'provider_key_failed',
  'kept_for_interactive',
] as const

export type Reason = (typeof REASONS)[number]

/** How many keys each reason excluded. Only reasons that occurred are present. */
export type ReasonCounts = Partial<Record<Reason, number>>

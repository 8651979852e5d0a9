import type { Reason } from '../../../balancing/reasons.ts'
import type { KeySnapshot } from '../../../balancing/snapshot.ts'

/** Why a key may not serve, for people: a title, and what ends it. */
export const REASON_WORDS: Readonly<Record<Reason, readonly [title: string, ending: string]>> = {
  disabled: ['disabled', 'Its configuration says so.'],
  paused: ['paused', 'An operator has paused it.'],
  draining: ['draining', 'Its running requests end, then it is paused.'],
  not_in_route: ['not in the route', 'The request’s route names other keys.'],
  already_tried: ['tried already', 'An attempt of the same request has failed with it.'],
  key_rejected: [
    'rejected by OpenRouter',
    'Revoked, expired or mistyped: replace it. It is looked up again and again.',
  ],
  key_spent: ['key’s cap is spent', 'Raise its cap at OpenRouter, or wait for the reset.'],
  account_out_of_credit: ['account is out of credit', 'Buy credits. A lookup notices it.'],
  account_rate_limited: ['account is rate limited', 'OpenRouter said when to come back.'],
  below_min_credit: ['below min_credit', 'It has less credit than its configuration asks for.'],
  breaker_open: ['breaker is open', 'It failed several times in a row. Then one request tries it.'],
  half_open_busy: ['on probation', 'One request is trying it now.'],
  at_max_concurrent: ['at max_concurrent', 'It is free again when a request ends.'],
  at_rpm: ['at its rpm', 'Requests of the last 60 seconds leave the window.'],
  at_tpm: ['at its tpm', 'Tokens of the last 60 seconds leave the window.'],
  at_max_spend: [
    'at its max_spend',
    'The gateway’s own cap: raise it, or wait for the period to end.',
  ],
  not_for_client: ['not for this client', 'The client or its group may use other keys only.'],
  key_rate_limited: ['key is rate limited', 'OpenRouter said when to come back.'],
  key_suspected: [
    'suspected',
    'It was refused once in a way that others were not; a lookup decides.',
  ],
  too_large_for_key: ['too large for the key', 'The request costs more than the key’s cap leaves.'],
  too_large_for_account: [
    'too large for the account',
    'The request costs more than the account has.',
  ],
  budget_layer_spent: [
    'a budget at OpenRouter is spent',
    'Its workspace or guardrail has a limit of its own.',
  ],
  free_tier_spent: ['free requests are spent', 'The account’s daily free requests are used up.'],
  kept_for_interactive: ['kept for interactive requests', 'Batches take only what others leave.'],
  provider_key_failed: [
    'a provider key failed',
    'The account’s own key at a provider does not work.',
  ],
}

/**
 * How a key stands, the most urgent first: out until somebody acts, out until a moment, in recovery,
 * soon over, out because an operator wanted it, and well.
 */
export type Standing = 'lost' | 'out' | 'recovering' | 'expiring' | 'off' | 'well'

const ORDER: readonly Standing[] = ['lost', 'out', 'recovering', 'expiring', 'off', 'well']

const WANTED: ReadonlySet<Reason> = new Set<Reason>(['disabled', 'paused', 'draining'])

export function standingOf({ reason, clearsAtMs, breaker, expiresSoon }: KeySnapshot): Standing {
  if (reason !== null) {
    if (WANTED.has(reason)) return 'off'
    return clearsAtMs === null ? 'lost' : 'out'
  }
  if (breaker !== 'closed') return 'recovering'
  return expiresSoon ? 'expiring' : 'well'
}

/** Keys by urgency; of equal ones the one that is out for longer goes first, then the pool's order. */
export function byUrgency(keys: readonly KeySnapshot[]): KeySnapshot[] {
  const rank = (key: KeySnapshot) => ORDER.indexOf(standingOf(key))
  return keys.toSorted((a, b) => rank(a) - rank(b) || (b.clearsAtMs ?? 0) - (a.clearsAtMs ?? 0))
}

/** The number of keys that nobody took out of use on purpose, and that serve nobody. */
export function outCount(keys: readonly KeySnapshot[]): number {
  return keys.filter((key) => ['lost', 'out'].includes(standingOf(key))).length
}

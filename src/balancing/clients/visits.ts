import type { ClientId } from '../ids.ts'
import { longerRefusal, type QuotaRefusal } from '../limits/quota-refusal.ts'
import { type Clients, isRevoked, limitedQuotas } from './clients.ts'
import { takeRates, visitRefusal } from './quota.ts'

/** A request that gets an answer which somebody else has paid for: it needs no key and no money. */
export interface Visit {
  readonly clientId: ClientId
}

/** Judges a visit by the limits of its client and its group, and counts it if they admit it. */
export function visit(clients: Clients, { clientId }: Visit, nowMs: number): QuotaRefusal | null {
  if (isRevoked(clients, clientId)) return { kind: 'revoked' }
  const limited = limitedQuotas(clients, clientId)
  const refusal = limited.map((quota) => visitRefusal(quota, nowMs)).reduce(longerRefusal, null)
  if (refusal !== null) return refusal
  for (const quota of limited) takeRates(quota, { requests: 1, tokens: 0 }, nowMs)
  return null
}

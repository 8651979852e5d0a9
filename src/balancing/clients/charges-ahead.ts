import type { ClientId } from '../ids.ts'
import type { Lease } from '../limits/leases.ts'
import { holdsOf, type QuotaCharge } from '../limits/quota-charge.ts'
import type { QuotaRefusal } from '../limits/quota-refusal.ts'
import { release } from './budget.ts'
import { quotaOf } from './client-records.ts'
import { type Clients, chargedQuotas, quotasOf } from './clients.ts'
import { giveBackRates, heldOf, takeRates } from './quota.ts'

/**
 * What leases ahead hold of the limits of clients. It counts like what runs, so the limits hold
 * exactly. In return no request may be refused for the sake of one that has yet to come: the leases
 * are called back, and the request is told to ask again.
 */

/** For so long they are called back, and none is held anew: more than an isolate needs to hear of it. */
const CALL_MS = 2_000

/** Whether leases ahead are held for a client now, or somebody has gone without for want of them. */
export function mayHoldAhead(clients: Clients, id: ClientId, nowMs: number): boolean {
  return quotasOf(clients, id).every((quota) => nowMs >= quota.aheadRestsUntilMs)
}

/** Notes that a lease is held ahead. */
export function noteAhead(clients: Clients, charge: QuotaCharge, untilMs: number): void {
  for (const quota of chargedQuotas(clients, charge)) quota.aheadUntilMs = untilMs
}

/**
 * Calls the leases ahead back that hold of what a request was refused for. It looks at all leases only
 * until the last lease ahead has ended, and while none is held anew: for a client that sends on and on,
 * that is soon.
 * @returns whether there are any
 */
export function callBack(
  clients: Clients,
  leases: Iterable<Lease>,
  refusal: QuotaRefusal,
  nowMs: number,
): boolean {
  const quota =
    refusal.kind === 'revoked' || isForGood(refusal) ? undefined : quotaOf(clients, refusal.owner)
  if (quota === undefined || nowMs >= quota.aheadUntilMs) return false
  const holders = [...leases]
    .filter(({ kind }) => kind === 'reserved')
    .flatMap(({ charge }) => (charge === null ? [] : [charge]))
    .filter((charge) => chargedQuotas(clients, charge).includes(quota))
  quota.aheadUntilMs = holders.length === 0 ? 0 : quota.aheadUntilMs
  if (holders.length === 0) return false
  quota.aheadRestsUntilMs = nowMs + CALL_MS
  for (const { clientId } of holders) clients.calledBack.set(clientId, nowMs + CALL_MS)
  return true
}

/** Whether a request alone is above a limit. */
function isForGood(refusal: Exclude<QuotaRefusal, { kind: 'revoked' }>): boolean {
  if (refusal.kind !== 'rate') return refusal.kind === 'unpriceable'
  return refusal.resetsAtMs === null && refusal.limit !== 'max_concurrent'
}

/** The clients whose leases ahead every isolate is to give back. */
export function calledBack({ calledBack }: Clients, nowMs: number): readonly ClientId[] {
  for (const [id, untilMs] of calledBack) if (nowMs >= untilMs) calledBack.delete(id)
  return [...calledBack.keys()]
}

/** What the pool is told of the request of a lease that was held ahead. */
interface Begun {
  readonly tokens: number
  readonly costNanos?: number | null
}

/**
 * Charges a lease that was held ahead for the request that it has got: by what this one may take, and
 * as of now. A minute that began when the lease was held would end before that of the upstream call.
 * @param standing `given_up` if the minute was given back meanwhile, since no word of a request came
 */
export function chargeForRequest(
  clients: Clients,
  { charge, standing }: { readonly charge: QuotaCharge; readonly standing: 'held' | 'given_up' },
  { tokens, costNanos }: Begun,
  nowMs: number,
): QuotaCharge {
  const holds = holdsOf(charge.holds, costNanos)
  const now = { ...charge, tokens, holds, chargedAtMs: nowMs }
  for (const quota of chargedQuotas(clients, charge)) {
    if (standing === 'held') giveBackRates(quota, charge, nowMs)
    takeRates(quota, now, nowMs)
    const left = new Map(heldOf(quota, now))
    for (const [budget, nanos] of heldOf(quota, charge)) {
      release(budget, nanos - (left.get(budget) ?? 0))
    }
  }
  return now
}

import { quotaOf, quotas } from '../../../src/balancing/clients/client-records.ts'
import type { LeaseId } from '../../../src/balancing/ids.ts'
import type { Lease } from '../../../src/balancing/limits/leases.ts'
import type { QuotaCharge, QuotaOwner } from '../../../src/balancing/limits/quota-charge.ts'
import { WINDOW_MS } from '../../../src/balancing/limits/sliding-window.ts'
import type { PoolState } from '../../../src/balancing/pool-state.ts'
import { letTimePass } from '../../../src/balancing/serving/lease-end.ts'
import { ExactMinute } from '../../balancing/exact-minute.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedWorld } from './observed-world.ts'

/** A revoked client key is refused everywhere after so long. */
const REVOKED_MS = 60_000

/** 14. Limits of clients and groups hold, and nothing of them is taken when nobody sends. */
export function quotasHold(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  let minutes = new Map<QuotaOwner, ExactMinute>()
  const revokedAtMs = new Map<string, number>()
  const minuteOf = (owner: QuotaOwner) => {
    const known = minutes.get(owner) ?? new ExactMinute()
    minutes.set(owner, known)
    return known
  }

  /** Who waited before the step. He was charged when he came. */
  let waiting: ReadonlySet<LeaseId> = new Set()

  const checkGrant = ({ state, nowMs }: ObjectStep, { id, charge }: Lease) => {
    if (charge === null) return
    for (const owner of ownersOf(charge)) {
      const minute = minuteOf(owner)
      minute.forget(nowMs - 2 * WINDOW_MS)
      if (charge.requests === 1) minute.grant(id, 0, charge.chargedAtMs)
      const { requests } = minute.since(nowMs - WINDOW_MS)
      const rpm = quotaOf(state.clients, owner)?.terms.rpm ?? Number.POSITIVE_INFINITY
      if (requests > rpm) accuse(14, `${owner} is over its rpm: ${requests}`)
    }
  }

  /**
   * Who is charged takes one of what may run at once. Later more may run: the lease of an isolate that was
   * silent counts again when it is heard of.
   */
  const checkConcurrency = (step: ObjectStep, granted: readonly Lease[]) => {
    const { queue, clients } = step.state
    const charged = [
      ...granted,
      ...[...queue.waiters.values()].map(({ request, charge }) => ({
        id: request.leaseId,
        charge,
      })),
    ]
    for (const { id, charge } of charged) {
      if (charge === null || waiting.has(id)) continue
      for (const owner of ownersOf(charge)) {
        const quota = quotaOf(clients, owner)
        const most = quota?.terms.maxConcurrent ?? Number.POSITIVE_INFINITY
        if (quota === undefined || quota.inFlight <= most) continue
        accuse(14, `${owner} is over its max_concurrent: ${quota.inFlight}`)
      }
    }
  }

  return {
    before({ state: { queue } }) {
      waiting = new Set(queue.waiters.keys())
    },
    born(_state, _life, how) {
      if (how !== 'eviction') minutes = new Map()
    },
    after(step, { granted, ended }) {
      if (step.kind === 'claim') return
      for (const id of unusedOf(step, ended)) for (const minute of minutes.values()) minute.undo(id)
      for (const lease of granted) checkGrant(step, lease)
      checkConcurrency(step, granted)
      checkInFlight(step.state, accuse)
    },
    called({ id, plan, sentAtMs }) {
      const sinceMs = revokedAtMs.get(plan.client)
      if (sinceMs !== undefined && sentAtMs >= sinceMs + REVOKED_MS) {
        accuse(14, `${id} is of ${plan.client}, who was revoked ${sentAtMs - sinceMs} ms before`)
      }
    },
    ordered(order) {
      if (order.kind === 'remove_client') revokedAtMs.set(order.id, world().time.nowMs())
    },
    atRest() {
      const { object, time } = world()
      letTimePass(object.state, time.nowMs())
      for (const { owner, inFlight, budgets } of quotas(object.state.clients)) {
        if (inFlight !== 0) accuse(14, `at rest ${owner} has ${inFlight} in flight`)
        for (const { reservedNanos, terms } of budgets) {
          if (reservedNanos === 0) continue
          accuse(14, `at rest ${owner} holds ${reservedNanos} of its ${terms.period}`)
        }
      }
      checkSpends(object.state, accuse)
    },
  }
}

/** At rest nothing is held of a key's `max_spend`. */
function checkSpends({ keys }: PoolState, accuse: Accuse): void {
  for (const { id, spend } of keys.values()) {
    const nanos = spend?.reservedNanos ?? 0
    if (nanos !== 0) accuse(14, `at rest ${nanos} of the max_spend of ${id} are held`)
  }
}

function checkInFlight(state: PoolState, accuse: Accuse): void {
  const counts = new Map<QuotaOwner, number>()
  const live = [...state.leases.live.values(), ...state.queue.waiters.values()]
  for (const { charge } of live) {
    for (const owner of charge === null ? [] : ownersOf(charge)) {
      counts.set(owner, (counts.get(owner) ?? 0) + 1)
    }
  }
  for (const { owner, inFlight } of quotas(state.clients)) {
    const count = counts.get(owner) ?? 0
    if (inFlight !== count) accuse(14, `${owner} counts ${inFlight} in flight, and has ${count}`)
  }
}

/** The leases that ended in this step without a call: told so, or reserved and never told of. */
function unusedOf({ request }: ObjectStep, ended: readonly Lease[]): ReadonlySet<LeaseId> {
  const settlements = request?.settlements ?? []
  const told = new Set(settlements.map(({ leaseId }) => leaseId))
  const unused = new Set(settlements.filter((one) => one.unused).map(({ leaseId }) => leaseId))
  for (const { id, kind } of ended) if (kind === 'reserved' && !told.has(id)) unused.add(id)
  return unused
}

export function ownersOf({ clientId, groupId }: QuotaCharge): readonly QuotaOwner[] {
  return groupId === null ? [`client:${clientId}`] : [`client:${clientId}`, `group:${groupId}`]
}

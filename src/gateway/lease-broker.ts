import { type AccountId, type KeyId, keyId, type LeaseId, leaseId } from '../balancing/ids.ts'
import type { Refusal, Want } from '../balancing/pool.ts'
import type { Settlement } from '../balancing/settlement.ts'
import type { PoolClient } from '../key-pool/client.ts'
import type { ExchangeReply, ExchangeRequest } from '../key-pool/protocol.ts'
import type { KeyLookups } from './key-lookups.ts'
import type { KeyRing } from './key-ring.ts'
import { type Ports, sleep } from './ports.ts'

/** Permission for one attempt. `leaseId` is null when the pool could not be asked. */
export interface Leased {
  readonly kind: 'leased'
  readonly keyId: KeyId
  readonly accountId: AccountId
  readonly leaseId: LeaseId | null
}

export type Acquired =
  | Leased
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The pool can't be reached, and this gateway is told not to go on without it, or can't. */
  | { readonly kind: 'no_pool' }

export interface LeaseBroker {
  /** Gives back and takes in one step; the settlement is sent whatever comes of the want. */
  acquire(want: Omit<Want, 'leaseId'>, settlements: readonly Settlement[]): Promise<Acquired>
  /** Gives a lease back. Tries twice: a lost settlement holds capacity until the lease expires. */
  settle(settlements: readonly Settlement[]): Promise<void>
}

const SETTLE_AGAIN_MS = 1_000

/**
 * Leases from the pool object, or, while that can't be reached and the policy is
 * `open`, keys in turn from the isolate's own ring.
 *
 * One broker serves one request: an object that does not answer costs a request two seconds, so
 * that its next attempts go without, and it is the next request that asks again.
 *
 * @param background keeps the Worker alive for work that nobody waits for
 */
export function createLeaseBroker(
  ports: Ports,
  pool: PoolClient,
  ring: KeyRing,
  lookups: KeyLookups,
  onPoolUnavailable: 'open' | 'closed',
  background: (work: Promise<void>) => void,
): LeaseBroker {
  let isUnreachable = false
  const exchange = async (request: Omit<ExchangeRequest, 'version'>) => {
    const answer = await pool.exchange({ version: 1, ...request })
    isUnreachable = answer.kind === 'unavailable'
    return answer.kind === 'answer' ? answer.value : null
  }
  const takeDuties = (reply: ExchangeReply) => {
    if (reply.lookups.length > 0) background(report(reply.lookups))
  }
  const report = async (keys: readonly KeyId[]) => {
    const found = await lookups(keys)
    const answer = await exchange({ wants: [], settlements: [], lookups: found })
    // The reply may hand out more: whatever was due beyond what fits in one step.
    if (answer !== null) takeDuties(answer)
  }
  const send = async (settlements: readonly Settlement[]) => {
    const answer = await exchange({ wants: [], settlements, lookups: [] })
    if (answer !== null) takeDuties(answer)
    return answer !== null
  }
  const settle = async (settlements: readonly Settlement[]) => {
    if (settlements.length === 0 || (await send(settlements))) return
    await sleep(ports, SETTLE_AGAIN_MS, new AbortController().signal)
    await send(settlements)
  }
  const withoutPool = (want: Omit<Want, 'leaseId'>): Acquired => {
    if (onPoolUnavailable === 'closed') return { kind: 'no_pool' }
    const key = ring.next(want.triedKeys, want.excludedAccounts, ports.nowMs())
    return key === null ? { kind: 'no_pool' } : { kind: 'leased', ...key, leaseId: null }
  }

  return {
    settle,
    async acquire(want, settlements) {
      if (isUnreachable) {
        background(settle(settlements))
        return withoutPool(want)
      }
      const id = leaseId(ports.uniqueId())
      const wants = [{ ...want, leaseId: id }]
      const answer = await exchange({ wants, settlements, lookups: [] })
      if (answer !== null) takeDuties(answer)
      const decision = answer?.decisions[0]
      if (decision?.kind === 'grant') return { ...decision, kind: 'leased' }
      if (decision?.kind === 'refusal') return { kind: 'refused', refusal: decision }
      // The object may have granted what we did not hear of; that capacity is not to be lost.
      background(settle([...settlements, unheard(id)]))
      return withoutPool(want)
    },
  }
}

/** Ends a lease that was asked for and never heard of. */
function unheard(id: LeaseId): Settlement {
  return { leaseId: id, keyId: keyId(''), outcome: 'ignorable', benches: [], suspect: false }
}

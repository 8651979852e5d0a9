import type { Caller } from '../../balancing/clients/caller.ts'
import type { LeaseRequest } from '../../balancing/lease-request.ts'
import type { RingBounds } from './key-ring.ts'

/** A lease request without its id, and with what the isolate itself has to know of it. */
export interface LeaseDraft extends Omit<LeaseRequest, 'leaseId'>, Pick<RingBounds, 'routeKeys'> {
  readonly caller: Caller
  /** The place of its route in the configuration: what has the same has the same keys to choose from. */
  readonly routeIndex: number
}

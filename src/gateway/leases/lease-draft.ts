import type { LeaseRequest } from '../../balancing/lease-request.ts'
import type { RingBounds } from './key-ring.ts'

/** A lease request without its id, and with the route's keys, which the ring needs. */
export type LeaseDraft = Omit<LeaseRequest, 'leaseId'> & Pick<RingBounds, 'routeKeys'>

import type { LeaseOrder } from '../../balancing/limits/lease-order.ts'
import type { ExchangeReply, ExchangeRequest } from '../../key-pool/protocol.ts'
import type { IsolateLeases } from './isolate-leases.ts'
import { dropOverdue, type LaneOrder, stockLeases, takeOrders } from './lease-stock.ts'
import { oweSettlement, type Parcel, putBack, takeParcel, unusedLease } from './outbox.ts'

/** What an exchange carries for the whole isolate, beside what its own request wants. */
export interface Cargo {
  readonly fields: Pick<ExchangeRequest, 'settlements' | 'isolate' | 'begins' | 'orders'>
  readonly parcel: Parcel
  readonly orders: readonly LaneOrder[]
}

/**
 * Takes along what the isolate owes, the leases that it did not use, and the orders that are due.
 * @param uniqueId gives the name of each order
 */
export function loadCargo(leases: IsolateLeases, nowMs: number, uniqueId: () => string): Cargo {
  const { stock, outbox, isolate } = leases
  for (const { leaseId } of dropOverdue(stock, nowMs)) {
    oweSettlement(outbox, unusedLease(leaseId), nowMs)
  }
  const parcel = takeParcel(outbox, nowMs)
  const orders = takeOrders(stock, nowMs)
  const orderOf = ({ lane, count }: LaneOrder): LeaseOrder => {
    const { asked, models, account } = lane.kind
    return { isolate, idPrefix: uniqueId(), asked, models, account, count, tokens: lane.tokens }
  }
  const fields = {
    settlements: parcel.settlements.map(({ item }) => item),
    // Only of an isolate that has had leases ahead does the pool want to know whether it lives.
    ...(stock.filledAtMs === Number.NEGATIVE_INFINITY ? {} : { isolate }),
    ...(parcel.begins.length === 0 ? {} : { begins: parcel.begins.map(({ item }) => item) }),
    ...(orders.length === 0 ? {} : { orders: orders.map(orderOf) }),
  }
  return { fields, parcel, orders }
}

/** Puts what came back into the stock. An object of an earlier release fills no orders. */
export function unloadCargo(
  leases: IsolateLeases,
  { orders }: Cargo,
  reply: ExchangeReply,
  nowMs: number,
): void {
  leases.heardAtMs = nowMs
  for (const [at, { lane }] of orders.entries()) {
    stockLeases(leases.stock, lane, reply.ahead?.[at] ?? [], nowMs)
  }
}

/**
 * Keeps what could not be delivered for the next exchange. Leases that were ordered and may have been
 * granted end by themselves.
 * @param wasSent false if the object was not even called
 */
export function returnCargo(
  { stock, outbox }: IsolateLeases,
  { parcel, orders }: Cargo,
  wasSent: boolean,
  nowMs: number,
): void {
  putBack(outbox, parcel, wasSent, nowMs)
  for (const { lane } of orders) stockLeases(stock, lane, [], nowMs)
}

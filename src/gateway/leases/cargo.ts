import type { LeaseOrder } from '../../balancing/limits/lease-order.ts'
import type { ExchangeReply, ExchangeRequest } from '../../key-pool/protocol.ts'
import { type IsolateLeases, NONE_HALTED, takeNumbers } from './isolate-leases.ts'
import {
  dropAll,
  dropClients,
  dropKey,
  dropOverdue,
  type LaneOrder,
  mostOf,
  stockLeases,
  takeOrders,
} from './lease-stock.ts'
import { oweSettlement, type Parcel, putBack, takeParcel, unusedAhead } from './outbox.ts'

/** What an exchange carries for the whole isolate, beside what its own request wants. */
export interface Cargo {
  readonly fields: Pick<
    ExchangeRequest,
    'settlements' | 'isolate' | 'begins' | 'orders' | 'requests' | 'cache'
  >
  readonly parcel: Parcel
  readonly orders: readonly LaneOrder[]
}

/** Takes along what the isolate owes, the leases that it did not use, and the orders that are due. */
export function loadCargo(leases: IsolateLeases, nowMs: number): Cargo {
  const { stock, outbox, isolate } = leases
  for (const lease of dropOverdue(stock, nowMs)) oweSettlement(outbox, unusedAhead(lease), nowMs)
  leases.toldAtMs = nowMs
  const parcel = takeParcel(outbox, nowMs)
  const orders = takeOrders(stock, nowMs)
  const orderOf = ({ lane, count }: LaneOrder): LeaseOrder => {
    const { asked, models, account, client, isBounded } = lane.kind
    const firstNumber = takeNumbers(leases, count)
    const names = { isolate, firstNumber, idPrefix: `${isolate}:${firstNumber}` }
    const most = mostOf(lane)
    const costNanos = isBounded ? most.costNanos : null
    return {
      ...{ ...names, asked, models, account, count, tokens: most.tokens },
      costNanos,
      ...(client === null ? {} : { clientId: client }),
    }
  }
  const fields = {
    settlements: parcel.settlements.map(({ item }) => item),
    isolate,
    ...(parcel.begins.length === 0 ? {} : { begins: parcel.begins.map(({ item }) => item) }),
    ...(parcel.requests.length === 0 ? {} : { requests: parcel.requests.map(({ item }) => item) }),
    ...(parcel.cache.length === 0 ? {} : { cache: parcel.cache.map(({ item }) => item) }),
    ...(orders.length === 0 ? {} : { orders: orders.map(orderOf) }),
  }
  return { fields, parcel, orders }
}

/**
 * Puts what came back into the stock. An object of an earlier release fills no orders. While somebody
 * waits for a key, nothing stays in the stock.
 * @returns whether leases are to be given back at once
 */
export function unloadCargo(
  leases: IsolateLeases,
  { orders }: Cargo,
  reply: ExchangeReply,
  nowMs: number,
): boolean {
  const { stock, outbox } = leases
  leases.heardAtMs = nowMs
  leases.clientsVersion = Math.max(leases.clientsVersion, reply.clientsVersion ?? 0)
  const unused = reply.waiting === true ? [...dropAll(stock, nowMs)] : []
  const { calledBack, haltedKeys } = reply
  leases.halted = haltedKeys === undefined ? NONE_HALTED : new Set(haltedKeys)
  for (const key of leases.halted) unused.push(...dropKey(stock, key))
  if (calledBack !== undefined) unused.push(...dropClients(stock, calledBack, nowMs))
  for (const [at, { lane }] of orders.entries()) {
    unused.push(...stockLeases(stock, lane, reply.ahead?.[at] ?? [], nowMs))
  }
  for (const lease of unused) oweSettlement(outbox, unusedAhead(lease), nowMs)
  return unused.length > 0
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

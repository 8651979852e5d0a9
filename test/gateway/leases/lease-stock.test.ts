import { describe, expect, it } from 'vitest'
import { accountId, clientId, keyId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import type { LeaseAhead } from '../../../src/balancing/limits/lease-order.ts'
import {
  countRequest,
  createLeaseStock,
  dropAll,
  dropClients,
  dropKey,
  dropOverdue,
  type Lane,
  type LeaseStock,
  laneFor,
  leasesToOrder,
  stockLeases,
  takeLease,
  takeOrders,
} from '../../../src/gateway/leases/lease-stock.ts'

const T = 1_700_000_000_000

const kindOf = (model: string, account: string | null = null) => ({
  routeIndex: 0,
  asked: modelId(model),
  models: [modelId(model)] as const,
  account: account === null ? null : accountId(account),
  client: null,
  isBounded: true,
})

const leaseOf = (name: string, tokens = 1_000, key = 'a'): LeaseAhead => ({
  leaseId: leaseId(name),
  keyId: keyId(key),
  accountId: accountId('acme'),
  model: modelId('m'),
  grantedAtMs: T,
  tokens,
})

const need = (tokens: number) => ({ tokens, account: null, costNanos: 0 })

const laneIn = (stock: LeaseStock, model = 'm') => laneFor(stock, kindOf(model), T).lane

/** Lets so many requests come in each of some seconds, from a moment on. */
function demand(lane: Lane, requests: number, { atMs = T, seconds = 2 } = {}) {
  for (let i = 0; i < requests * seconds; i++) {
    countRequest(lane, need(100), atMs + Math.floor((i * 1_000) / requests))
  }
}

const idOf = (lease: LeaseAhead | null) => lease?.leaseId ?? null

describe('a lane', () => {
  it.each([
    { requests: 15, ordered: 0, why: 'it can afford to ask' },
    { requests: 20, ordered: 20, why: 'it orders what it uses in a second' },
    { requests: 500, ordered: 32, why: 'and no more than 32' },
  ])('with $requests requests a second orders $ordered: $why', ({ requests, ordered }) => {
    const lane = laneIn(createLeaseStock())
    demand(lane, requests)
    expect(leasesToOrder(lane, T + 1_999)).toBe(ordered)
  })

  it('orders nothing for a burst out of nowhere, nor for one that is over', () => {
    const lane = laneIn(createLeaseStock())
    for (let i = 0; i < 100; i++) countRequest(lane, need(100), T)
    expect(leasesToOrder(lane, T + 10)).toBe(0)
    expect(leasesToOrder(lane, T + 2_000)).toBe(0)
  })

  it('orders within its first second once more requests come than a burst has', () => {
    const lane = laneIn(createLeaseStock())
    for (let ms = 0; ms < 60; ms++) countRequest(lane, need(100), T + ms)
    expect(leasesToOrder(lane, T + 40)).toBe(0)
    expect(leasesToOrder(lane, T + 60)).toBe(32)
    const slow = laneIn(createLeaseStock())
    for (let ms = 0; ms < 900; ms += 60) countRequest(slow, need(100), T + ms)
    expect(leasesToOrder(slow, T + 900)).toBe(0)
  })

  it('orders again when half are used, not while an order is out, and again if its answer is lost', () => {
    const stock = createLeaseStock()
    const lane = laneIn(stock)
    demand(lane, 20)
    expect(takeOrders(stock, T + 1_999)).toEqual([{ lane, count: 20 }])
    expect(leasesToOrder(lane, T + 1_999)).toBe(0)
    demand(lane, 20, { atMs: T + 2_000, seconds: 3 })
    expect(leasesToOrder(lane, T + 4_999)).toBeGreaterThan(0)
    takeOrders(stock, T + 4_999)
    const leases = Array.from({ length: 20 }, (_, i) => leaseOf(`l${i}`))
    stockLeases(stock, lane, leases, T + 4_999)
    expect(leasesToOrder(lane, T + 4_999)).toBe(0)
    for (let i = 0; i < 10; i++) takeLease(lane, need(100), T + 4_999)
    expect(leasesToOrder(lane, T + 4_999)).toBeGreaterThan(0)
  })

  it('rests for half a second after the pool had nothing to spare', () => {
    const stock = createLeaseStock()
    const lane = laneIn(stock)
    demand(lane, 20, { seconds: 3 })
    takeOrders(stock, T + 2_100)
    stockLeases(stock, lane, [], T + 2_110)
    expect(leasesToOrder(lane, T + 2_600)).toBe(0)
    expect(leasesToOrder(lane, T + 2_620)).toBeGreaterThan(0)
  })

  it('gives back what it had ordered before others had to go without', () => {
    const stock = createLeaseStock()
    const lane = laneIn(stock)
    demand(lane, 20, { seconds: 3 })
    takeOrders(stock, T + 2_100)
    expect(dropAll(stock, T + 2_105)).toEqual([])
    expect(stockLeases(stock, lane, [leaseOf('late')], T + 2_110).map(idOf)).toEqual(['late'])
    expect(takeLease(lane, need(1), T + 2_110)).toBeNull()
    takeOrders(stock, T + 2_700)
    expect(stockLeases(stock, lane, [leaseOf('next')], T + 2_710)).toEqual([])
    expect(idOf(takeLease(lane, need(1), T + 2_710))).toBe('next')
    stockLeases(stock, lane, [leaseOf('idle')], T + 2_720)
    expect(dropAll(stock, T + 2_730).map(idOf)).toEqual(['idle'])
  })

  it('hands leases out in the order in which the pool granted them', () => {
    const stock = createLeaseStock()
    const lane = laneIn(stock)
    stockLeases(stock, lane, [leaseOf('first'), leaseOf('second')], T)
    expect(idOf(takeLease(lane, need(1), T))).toBe('first')
    expect(idOf(takeLease(lane, need(1), T))).toBe('second')
    expect(takeLease(lane, need(1), T)).toBeNull()
  })

  it('gives a request no lease for fewer tokens than it takes', () => {
    const stock = createLeaseStock()
    const lane = laneIn(stock)
    stockLeases(stock, lane, [leaseOf('small', 100), leaseOf('large', 900)], T)
    expect(idOf(takeLease(lane, need(500), T))).toBe('large')
    expect(takeLease(lane, need(500), T)).toBeNull()
    expect(idOf(takeLease(lane, need(50), T))).toBe('small')
  })

  it('gives a request no lease that holds less money than it may cost', () => {
    const stock = createLeaseStock()
    const lane = laneIn(stock)
    const costing = (costNanos: number) => ({ tokens: 0, account: null, costNanos })
    for (let i = 0; i < 60; i++) {
      countRequest(lane, costing(i === 10 ? 5_000 : 2_000), T + i * 50)
    }
    takeOrders(stock, T + 3_000)
    stockLeases(stock, lane, [leaseOf('2 000')], T + 3_001)
    for (let i = 0; i < 20; i++) countRequest(lane, costing(i * 200), T + 3_000 + i * 50)
    takeOrders(stock, T + 4_000)
    stockLeases(stock, lane, [leaseOf('3 800')], T + 4_001)
    expect(takeLease(lane, costing(3_801), T + 4_001)).toBeNull()
    expect(idOf(takeLease(lane, costing(3_800), T + 4_001))).toBe('3 800')
    expect(idOf(takeLease(lane, costing(2_000), T + 4_001))).toBe('2 000')
  })

  it('is one of its own for each client with limits, and for requests whose cost has no bound', () => {
    const stock = createLeaseStock()
    const of = (given: object) => laneFor(stock, { ...kindOf('m'), ...given }, T).lane
    stockLeases(stock, of({ client: clientId('app') }), [leaseOf('of app')], T)
    expect(takeLease(of({}), need(1), T)).toBeNull()
    expect(takeLease(of({ client: clientId('other') }), need(1), T)).toBeNull()
    expect(takeLease(of({ client: clientId('app'), isBounded: false }), need(1), T)).toBeNull()
    expect(dropClients(stock, [clientId('other')], T)).toEqual([])
    expect(dropClients(stock, [clientId('app')], T).map(idOf)).toEqual(['of app'])
  })

  it('gives back what it had ordered before its client went without', () => {
    const stock = createLeaseStock()
    const { lane } = laneFor(stock, { ...kindOf('m'), client: clientId('app') }, T)
    demand(lane, 20, { seconds: 3 })
    takeOrders(stock, T + 2_100)
    dropClients(stock, [clientId('app')], T + 2_105)
    expect(stockLeases(stock, lane, [leaseOf('late')], T + 2_110).map(idOf)).toEqual(['late'])
  })

  it('counts the life of a lease from its order, not from its answer', () => {
    const stock = createLeaseStock()
    const lane = laneIn(stock)
    demand(lane, 20)
    const orderedAtMs = T + 1_999
    takeOrders(stock, orderedAtMs)
    stockLeases(stock, lane, [leaseOf('late')], orderedAtMs + 1_400)
    expect(takeLease(lane, need(1), orderedAtMs + 1_500)).toBeNull()
    expect(dropOverdue(stock, orderedAtMs + 1_500).map(idOf)).toEqual(['late'])
    expect(dropOverdue(stock, orderedAtMs + 1_500)).toEqual([])
  })

  it('is one of its own for each model and for each account of a conversation', () => {
    const stock = createLeaseStock()
    stockLeases(stock, laneFor(stock, kindOf('m', 'acme'), T).lane, [leaseOf('of acme')], T)
    expect(takeLease(laneFor(stock, kindOf('m'), T).lane, need(1), T)).toBeNull()
    expect(takeLease(laneFor(stock, kindOf('n', 'acme'), T).lane, need(1), T)).toBeNull()
    expect(idOf(takeLease(laneFor(stock, kindOf('m', 'acme'), T).lane, need(1), T))).toBe('of acme')
  })
})

it('a key that fails takes its leases out of every lane, and no others', () => {
  const stock = createLeaseStock()
  const [m, n] = [laneIn(stock, 'm'), laneIn(stock, 'n')]
  stockLeases(stock, m, [leaseOf('1', 9, 'bad'), leaseOf('2', 9, 'good')], T)
  stockLeases(stock, n, [leaseOf('3', 9, 'bad')], T)
  expect(dropKey(stock, keyId('bad')).map(idOf).toSorted()).toEqual(['1', '3'])
  expect(idOf(takeLease(m, need(1), T))).toBe('2')
  expect(takeLease(n, need(1), T)).toBeNull()
})

it('invented model names cost a bounded number of lanes, and what they held is returned', () => {
  const stock = createLeaseStock()
  const oldest = laneFor(stock, kindOf('oldest'), T - 1).lane
  stockLeases(stock, oldest, [leaseOf('held')], T)
  let returned: string[] = []
  for (let i = 0; i < 1_000; i++) {
    const found = laneFor(stock, kindOf(`invented/${i}`), T + i)
    returned = [...returned, ...found.returned.map(({ leaseId: id }) => id)]
  }
  expect(stock.lanes.size).toBe(64)
  expect(returned).toEqual(['held'])
})

import { expect, it } from 'vitest'
import {
  accountId,
  clientId,
  groupId,
  isolateId,
  keyId,
  leaseId,
  modelId,
} from '../../../src/balancing/ids.ts'
import type { LeaseBegin } from '../../../src/balancing/limits/lease-order.ts'
import { SETTLED_MS } from '../../../src/balancing/limits/settled-leases.ts'
import {
  createOutbox,
  flushDue,
  isEmpty,
  type Outbox,
  oweBeginAnew,
  oweSettlement,
  type Parcel,
  putBack,
  takeParcel,
  unusedAhead,
  unusedLease,
} from '../../../src/gateway/leases/outbox.ts'

const T = 1_700_000_000_000

function owing(...names: string[]): Outbox {
  const outbox = createOutbox()
  for (const name of names) oweSettlement(outbox, unusedLease(leaseId(name)), T)
  return outbox
}

const beginOf = (name: string, leaseMs: number): LeaseBegin => ({
  leaseId: leaseId(name),
  keyId: keyId('a'),
  model: modelId('m'),
  grantedAtMs: T,
  isolate: isolateId('one'),
  clientId: clientId('c'),
  tokens: 0,
  leaseMs,
  conversation: null,
})

const namesIn = ({ settlements }: Parcel) => settlements.map(({ item }) => item.leaseId)

it('what is owed goes with one exchange, once', () => {
  const outbox = owing('a', 'b')
  expect(namesIn(takeParcel(outbox, T))).toEqual(['a', 'b'])
  expect(isEmpty(outbox)).toBe(true)
  expect(namesIn(takeParcel(outbox, T))).toEqual([])
})

it('what could not be delivered goes first the next time, and is given up after three tries', () => {
  const outbox = owing('a')
  putBack(outbox, takeParcel(outbox, T), true, T + 10)
  oweSettlement(outbox, unusedLease(leaseId('b')), T + 20)
  const second = takeParcel(outbox, T)
  expect(namesIn(second)).toEqual(['a', 'b'])
  putBack(outbox, second, true, T + 30)
  const third = takeParcel(outbox, T)
  expect(namesIn(third)).toEqual(['a', 'b'])
  putBack(outbox, third, true, T + 40)
  expect(namesIn(takeParcel(outbox, T))).toEqual(['b'])
})

it('what the pool should know at once stays so when it could not be delivered', () => {
  const outbox = owing('a')
  outbox.isUrgent = true
  const parcel = takeParcel(outbox, T)
  expect(outbox.isUrgent).toBe(false)
  putBack(outbox, parcel, true, T + 10)
  expect(outbox.isUrgent).toBe(true)
  for (let i = 0; i < 2; i++) putBack(outbox, takeParcel(outbox, T), true, T + 20)
  expect(isEmpty(outbox) && outbox.isUrgent).toBe(false)
})

it('however often the word of one lease is owed in an outage, it is sent once, as it was last', () => {
  const outbox = createOutbox()
  for (let s = 0; s < 20; s++) {
    for (const name of ['a', 'b']) oweBeginAnew(outbox, beginOf(name, 30_000 - s * 1_000), T)
    const parcel = takeParcel(outbox, T)
    oweBeginAnew(outbox, beginOf('a', 29_500 - s * 1_000), T)
    putBack(outbox, parcel, false, T)
  }
  const told = takeParcel(outbox, T).begins.map(({ item }) => [item.leaseId, item.leaseMs])
  expect(told.toSorted()).toEqual([
    ['a', 10_500],
    ['b', 11_000],
  ])
})

it('while the object is not even called, nothing is given up for a minute', () => {
  const outbox = owing('a')
  for (let i = 1; i < 20; i++) putBack(outbox, takeParcel(outbox, T), false, T + i * 3_000)
  expect(namesIn(takeParcel(outbox, T))).toEqual(['a'])
  oweSettlement(outbox, unusedLease(leaseId('late')), T)
  putBack(outbox, takeParcel(outbox, T), false, T + 60_000)
  expect(isEmpty(outbox)).toBe(true)
})

it('nothing is repeated for nearly as long as the pool remembers a settlement', () => {
  const outbox = owing('a')
  putBack(outbox, takeParcel(outbox, T), false, T + SETTLED_MS / 2)
  expect(isEmpty(outbox)).toBe(true)
})

it('what may have arrived is not sent again once the object may have forgotten it', () => {
  const after = (restMs: number) => {
    const outbox = owing('a')
    putBack(outbox, takeParcel(outbox, T), true, T + 2_000)
    return namesIn(takeParcel(outbox, T + restMs))
  }
  expect(after(59_000)).toEqual(['a'])
  expect(after(60_000)).toEqual([])
  // The object remembers an ended lease for two minutes.
  expect(after(10 * 3_600_000)).toEqual([])
})

it('it holds a bounded number, and the newest', () => {
  const outbox = owing(...Array.from({ length: 1_500 }, (_, i) => `${i}`))
  putBack(outbox, takeParcel(outbox, T), false, T)
  const kept = namesIn(takeParcel(outbox, T))
  expect(kept).toHaveLength(1_000)
  expect(kept.at(-1)).toBe('1499')
})

it('one request flushes it for all; if that request has died, another takes over', () => {
  const outbox = owing('a')
  expect(flushDue(outbox, T)).toBe('soon')
  outbox.flushAtMs = T + 250
  expect(flushDue(outbox, T + 100)).toBe('by_another')
  expect(flushDue(outbox, T + 290)).toBe('by_another')
  expect(flushDue(outbox, T + 301)).toBe('soon')
})

it('a full one is flushed at once', () => {
  const outbox = owing(...Array.from({ length: 64 }, (_, i) => `${i}`))
  outbox.flushAtMs = T + 250
  expect(flushDue(outbox, T)).toBe('now')
})

it('a lease of the stock that no request came for says what it held of budgets', () => {
  const ahead = {
    leaseId: leaseId('isolate:1'),
    keyId: keyId('a'),
    accountId: accountId('acme'),
    model: modelId('vendor/model'),
    grantedAtMs: T,
    tokens: 10,
  }
  expect(unusedAhead(ahead)).toEqual(unusedLease(ahead.leaseId))
  const holds = [
    { owner: 'group:team', period: 'day', nanos: 5 },
    { owner: 'client:app', period: 'day', nanos: 5 },
  ] as const
  const held = { groupId: groupId('team'), holds }
  const { lease, unused } = unusedAhead({ ...ahead, held })
  expect(unused).toBe(true)
  expect(lease).toEqual({ clientId: 'app', model: ahead.model, grantedAtMs: T, tokens: 10, held })
})

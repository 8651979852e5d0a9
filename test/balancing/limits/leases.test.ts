import { describe, expect, it } from 'vitest'
import { clientId, isolateId, keyId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import {
  close,
  createLeases,
  expire,
  expireOf,
  hasEnded,
  isSettled,
  type Lease,
  lostLease,
  open,
} from '../../../src/balancing/limits/leases.ts'
import { entriesOf } from '../../../src/balancing/limits/rotating-map.ts'

const T = 1_000_000

const lease = (name: string, expiresAtMs: number): Lease => ({
  kind: 'running',
  id: leaseId(name),
  keyId: keyId('key'),
  clientId: clientId('client'),
  model: modelId('vendor/model'),
  grantedAtMs: T,
  chargedAtMs: T,
  isolate: null,
  charge: null,
  keyHold: null,
  expiresAtMs,
  tokens: 0,
  unclaimedMs: null,
  panic: false,
  epoch: 0,
  attempt: 'first',
  isBatch: false,
})

function withOpen(...names: string[]) {
  const leases = createLeases()
  for (const name of names) open(leases, lease(name, T + 1_000))
  return leases
}

describe('the leases of an isolate that has fallen silent', () => {
  const DEAD = isolateId('dead')
  const of = (name: string, more: Partial<Extract<Lease, { kind: 'running' }>>): Lease =>
    ({ ...lease(name, T + 1_000), isolate: DEAD, ...more }) as Lease

  it('end at once, and owe their usage', () => {
    const leases = createLeases()
    open(leases, of('running', {}))
    open(leases, { ...of('reserved', {}), kind: 'reserved' } as Lease)
    expect(expireOf(leases, new Set([DEAD]), T + 5).map(({ id }) => id)).toEqual([
      'running',
      'reserved',
    ])
    expect(leases.live.size).toBe(0)
    expect(lostLease(leases, leaseId('running'))?.expiresAtMs).toBe(T + 5)
    expect(close(leases, leaseId('running'), T + 6).kind).toBe('expired')
  })

  it.each([
    ['of another isolate', { isolate: isolateId('alive') }],
    ['of an isolate without a name', { isolate: null }],
    ['that its waiter has yet to fetch', { unclaimedMs: 5_000 }],
  ])('are not those %s', (_, more) => {
    const leases = createLeases()
    open(leases, of('other', more))
    expect(expireOf(leases, new Set([DEAD]), T)).toEqual([])
    expect([leases.live.size, hasEnded(leases, leaseId('other'))]).toEqual([1, false])
    expect(lostLease(leases, leaseId('other'))).toBeNull()
  })
})

describe('a lease', () => {
  it('is closed by its first settlement, and the second is a duplicate', () => {
    const leases = withOpen('a')
    expect(close(leases, leaseId('a'), T)).toEqual({ kind: 'live', lease: lease('a', T + 1_000) })
    expect(close(leases, leaseId('a'), T).kind).toBe('duplicate')
    expect(close(leases, leaseId('a'), T + 60_000).kind).toBe('duplicate')
  })

  it('expires when its time is over, once', () => {
    const leases = withOpen('a')
    expect(expire(leases, T + 999)).toEqual([])
    expect(expire(leases, T + 1_000).map(({ id }) => id)).toEqual(['a'])
    expect(expire(leases, T + 1_000)).toEqual([])
    expect(leases.live.size).toBe(0)
  })

  it('that was settled in time never expires', () => {
    const leases = withOpen('a')
    close(leases, leaseId('a'), T + 1)
    expect(expire(leases, T + 10_000)).toEqual([])
  })

  it('that expired still owes its usage: its first late settlement counts, the second does not', () => {
    const leases = withOpen('a')
    expire(leases, T + 1_000)
    expect(close(leases, leaseId('a'), T + 5_000)).toMatchObject({
      kind: 'expired',
      lease: { id: 'a' },
    })
    expect(close(leases, leaseId('a'), T + 5_001).kind).toBe('duplicate')
  })

  it('that nobody remembers is forgotten once, and a duplicate from then on', () => {
    const leases = createLeases()
    expect(close(leases, leaseId('before the restart'), T).kind).toBe('forgotten')
    expect(close(leases, leaseId('before the restart'), T + 1).kind).toBe('duplicate')
  })
})

it('ends each of many leases at its own time, in whatever order they were opened', () => {
  const leases = createLeases()
  const lengths = [700, 100, 900, 300, 500]
  for (const ms of lengths) open(leases, lease(`${ms}`, T + ms))
  const ends = [99, 100, 350, 650, 899, 900].map((ms) => expire(leases, T + ms).map(({ id }) => id))
  expect(ends).toEqual([[], ['100'], ['300'], ['500'], ['700'], ['900']])
})

it('keeps count of a lease opened after others have expired', () => {
  const leases = withOpen('a')
  expire(leases, T + 1_000)
  open(leases, lease('b', T + 1_500))
  expect(expire(leases, T + 1_500).map(({ id }) => id)).toEqual(['b'])
})

/** An id as Workers make them. */
const numbered = (number: number, isolate = 'isolate') => leaseId(`${isolate}:${number}`)

describe('memory', () => {
  it('remembers a settlement for two minutes, longer than anybody repeats one', () => {
    const leases = withOpen('a', 'isolate:1')
    for (const id of ['a', 'isolate:1']) close(leases, leaseId(id), T)
    for (const id of ['b', 'isolate:1000']) close(leases, leaseId(id), T + 60_000)
    expect(close(leases, leaseId('a'), T + 60_000).kind).toBe('duplicate')
    close(leases, numbered(1_000), T + 120_000)
    expect(close(leases, numbered(1), T + 120_000).kind).toBe('duplicate')
  })

  it('remembers it at any rate of requests: one settlement for each lease, none twice', () => {
    const leases = createLeases()
    // 4,000 a second, for as long as a Worker may repeat one.
    for (let i = 0; i < 240_000; i++) close(leases, numbered(i), T + i / 4)
    const again = [0, 1, 777, 119_999, 239_999].map((i) => close(leases, numbered(i), T + 62_000))
    expect(again.map(({ kind }) => kind)).toEqual(again.map(() => 'duplicate'))
    expect(close(leases, numbered(240_000), T + 62_000).kind).toBe('forgotten')
  })

  it('tells isolates apart, and numbers that were never granted from those that were', () => {
    const leases = createLeases()
    for (const number of [0, 31, 32, 255, 256, 5_000_000]) {
      close(leases, numbered(number, 'one'), T)
    }
    const settled = (isolate: string) =>
      [0, 1, 30, 31, 32, 33, 254, 255, 256, 257, 4_999_999, 5_000_000].filter((number) =>
        isSettled(leases, numbered(number, isolate)),
      )
    expect(settled('one')).toEqual([0, 31, 32, 255, 256, 5_000_000])
    expect(settled('other')).toEqual([])
  })

  it('takes any other text for what it is: 01 is not 1', () => {
    const ids = ['i:1', 'i:01', 'i:', 'i', ':1', 'i:1:1', 'i:-1', 'i:1e3', `i:${'9'.repeat(16)}`]
    for (const id of ids) {
      const leases = createLeases()
      close(leases, leaseId(id), T)
      expect(ids.filter((other) => isSettled(leases, leaseId(other)))).toEqual([id])
    }
  })

  it('a stream of many minutes is settled once, among leases that are much younger', () => {
    const leases = createLeases()
    open(leases, { ...lease('isolate:3', T + 3_600_000) })
    for (let i = 4; i < 4_000; i++) close(leases, numbered(i), T + i * 300)
    const endMs = T + 4_000 * 300
    expect(close(leases, numbered(3), endMs).kind).toBe('live')
    expect(close(leases, numbered(3), endMs + 60_000).kind).toBe('duplicate')
  })

  it('does not grow with the leases of a day', () => {
    const leases = createLeases()
    for (let i = 0; i < 100_000; i++) {
      open(leases, lease(`isolate:${i}`, T + i * 1_000 + 500))
      close(leases, numbered(i), T + i * 1_000)
    }
    const [[, blocks] = []] = entriesOf(leases.settled.numbered)
    expect(leases.live.size).toBe(0)
    expect(blocks && entriesOf(blocks).length).toBeLessThanOrEqual(3)
  })

  it('is bounded for ids of earlier releases, and keeps the latest', () => {
    const leases = createLeases()
    for (let i = 0; i < 201_000; i++) close(leases, leaseId(`${i}`), T)
    expect(entriesOf(leases.settled.others).length).toBeLessThanOrEqual(200_000)
    expect(close(leases, leaseId('110000'), T).kind).toBe('duplicate')
  })

  it('of leases that expire and are never settled, it is bounded too', () => {
    const leases = createLeases()
    for (let i = 0; i < 22_000; i++) {
      open(leases, lease(`isolate:${i}`, T))
      expire(leases, T + 1)
    }
    expect(entriesOf(leases.owed).length).toBeLessThanOrEqual(20_000)
  })
})

import { describe, expect, it } from 'vitest'
import { clientId, keyId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import {
  close,
  createLeases,
  expire,
  type Lease,
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
  expiresAtMs,
  tokens: 0,
  unclaimedMs: null,
  panic: false,
  epoch: 0,
  attempt: 'first',
})

function withOpen(...names: string[]) {
  const leases = createLeases()
  for (const name of names) open(leases, lease(name, T + 1_000))
  return leases
}

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

describe('memory', () => {
  it('remembers a settlement for two minutes, longer than anybody repeats one', () => {
    const leases = withOpen('a')
    close(leases, leaseId('a'), T)
    close(leases, leaseId('other'), T + 120_000)
    expect(close(leases, leaseId('a'), T + 120_000).kind).toBe('duplicate')
  })

  it('does not grow with the leases of a day', () => {
    const leases = createLeases()
    for (let i = 0; i < 1_000; i++) {
      open(leases, lease(`${i}`, T + i * 1_000 + 500))
      close(leases, leaseId(`${i}`), T + i * 1_000)
    }
    expect(leases.live.size).toBe(0)
    expect(entriesOf(leases.ended).length).toBeLessThanOrEqual(242)
  })

  it('is bounded at any rate of requests, and keeps the latest', () => {
    const leases = createLeases()
    for (let i = 0; i < 160_000; i++) close(leases, leaseId(`${i}`), T)
    expect(entriesOf(leases.ended).length).toBeLessThanOrEqual(100_000)
    expect(close(leases, leaseId('110000'), T).kind).toBe('duplicate')
  })
})

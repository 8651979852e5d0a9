import { describe, expect, it } from 'vitest'
import { DAY_MS } from '../../../src/balancing/accounting/ledger.ts'
import { clientId, isolateId, keyId, leaseId } from '../../../src/balancing/ids.ts'
import { owe } from '../../../src/balancing/limits/leases.ts'
import { entriesOf } from '../../../src/balancing/limits/rotating-map.ts'
import { type CountersRecord, checkpoint } from '../../../src/balancing/records/checkpoint.ts'
import { restore } from '../../../src/balancing/records/restore.ts'
import { takeLookupDuties } from '../../../src/balancing/serving/duty-hand-out.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { orderOnly } from '../operators/operator-order.ts'
import { drivePool, type KeySpec, usageOf } from '../pool-driver.ts'
import { storedPool } from './stored-pool.ts'

const limited: BenchOrder = {
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'for', forMs: 3_600_000 },
}

it('a breaker whose probe is out is probed again after a restart, once', () => {
  const pool = storedPool(['a'])
  pool.trip('a')
  pool.wait(60_000)
  pool.grant()
  expect(pool.key('a').breaker.kind).toBe('half_open')
  pool.state.changes.keys.add(keyId('a'))
  pool.write()
  const next = pool.restart()
  const probe = next.grant({ lease: 'probe' })
  expect(next.refusal({ lease: 'other' }).reasons).toEqual({ half_open_busy: 1 })
  // The cooldown that it had doubles when the probe fails.
  next.fail(probe)
  next.wait(119_999)
  expect(next.refusal({ lease: 'early' }).reasons).toEqual({ breaker_open: 1 })
  next.wait(1)
  expect(next.grant({ lease: 'late' }).keyId).toBe('a')
})

describe('a lease of a checkpoint that is not the last state', () => {
  const restarted = (ranMs: number, leaseMs: number) => {
    const pool = storedPool([{ id: 'a', maxConcurrent: 1 }])
    pool.grant({ leaseMs })
    pool.wait(ranMs)
    pool.writeCheckpoint()
    pool.outdate()
    return pool.restart()
  }

  it.each([
    ['for ten seconds at least', 1_000, 600_000, 10_000],
    ['for as long as it had run', 60_000, 600_000, 60_000],
    ['to its end, if that is sooner', 60_000, 65_000, 5_000],
  ])('holds its capacity %s', (_, ranMs, leaseMs, heldMs) => {
    const next = restarted(ranMs, leaseMs)
    next.wait(heldMs - 1)
    expect(next.ask({ lease: 'early' }).kind).toBe('refusal')
    next.wait(1)
    expect(next.ask({ lease: 'late' }).kind).toBe('grant')
  })
})

it('the lease of an isolate that is not heard of again ends soon after a restart', () => {
  const pool = storedPool([{ id: 'a', maxConcurrent: 1 }])
  const { state } = pool
  pool.grant({ lease: 'b:1' })
  const [lease] = state.leases.live.values()
  if (lease === undefined) throw new Error('no lease')
  state.leases.live.set(lease.id, { ...lease, isolate: isolateId('b') })
  pool.writeCheckpoint()
  const next = pool.restart()
  next.wait(2_799)
  expect(next.ask({ lease: 'early' }).kind).toBe('refusal')
  next.wait(1)
  expect(next.ask({ lease: 'late' }).kind).toBe('grant')
})

it('the youngest 2,000 leases that owe their settlement are stored', () => {
  const pool = storedPool(['a'])
  pool.grant({ lease: 'first' })
  const [lease] = pool.state.leases.live.values()
  if (lease === undefined) throw new Error('no lease')
  for (let i = 0; i <= 2_000; i++)
    owe(pool.state.leases, { ...lease, id: leaseId(`owed:${i}`) }, pool.now())
  const { leases } = checkpoint(pool.state, pool.now())
  const owed = leases.filter((one) => one.owed)
  expect([owed.length, owed[0]?.id, owed.at(-1)?.id]).toEqual([2_000, 'owed:1', 'owed:2000'])
})

it('a lease of a key that is gone is booked for its client', () => {
  const pool = storedPool(['a', 'b'])
  const lease = pool.grantOf('a', { client: 'carol' })
  pool.writeCheckpoint()
  const next = pool.restart(['b'])
  next.give(lease, { usage: usageOf(1, 1, 0.5) })
  expect(next.state.ledger.byClient.get(clientId('carol'))?.total.costUsd).toBe(0.5)
})

it('what an owed lease holds is no part of what its key holds', () => {
  const keys: readonly KeySpec[] = [{ id: 'a', maxSpend: { usd: 10, period: 'day' } }]
  const pool = storedPool(keys)
  pool.grant({ boundUsd: 0.5, leaseMs: 1_000 })
  pool.wait(1_000)
  pool.wake()
  pool.write()
  pool.writeCheckpoint()
  const next = pool.restart()
  expect(entriesOf(next.state.leases.owed)).toHaveLength(1)
  expect(next.key('a')).toMatchObject({ inFlight: 0, spend: { reservedNanos: 0 } })
})

describe('the sums of whoever is gone', () => {
  const pool = storedPool(['a', 'b'], {
    clients: [
      { id: 'client', group: 'team' },
      { id: 'stays', group: 'rest' },
    ],
    groups: [{ id: 'team' }, { id: 'rest' }],
  })
  pool.give(pool.grantOf('a'))
  pool.give(pool.grantOf('b', { client: 'stays' }))
  pool.writeCheckpoint()
  const next = pool.restart(['b'], {
    clients: [{ id: 'stays', group: 'rest' }],
    groups: [{ id: 'rest' }],
  })

  it.each([
    ['are kept for 35 days', 34, ['a', 'b'], ['client', 'stays'], ['team', 'rest']],
    ['and not for longer', 35, ['b'], ['stays'], ['rest']],
  ])('%s', (_, days, keys, clients, groups) => {
    const { counters } = checkpoint(next.state, next.now() + days * DAY_MS)
    const ids = (of: readonly (readonly [string, unknown])[] = []) => of.map(([id]) => id)
    expect(ids(counters.byKey).toSorted()).toEqual(keys)
    expect(ids(counters.byClient)).toEqual(clients)
    expect(ids(counters.byGroup)).toEqual(groups)
  })
})

describe('the times of attempts', () => {
  it.each([
    ['none', {}, []],
    ['to the first output', { firstOutputMs: 10 }, ['a']],
    ['of whole answers', { tookMs: 10 }, ['a']],
    ['of both', { firstOutputMs: 10, tookMs: 10 }, ['a']],
  ])('%s', (_, told, ids) => {
    const pool = storedPool(['a', 'b'])
    pool.give(pool.grantOf('a'), told)
    pool.writeCheckpoint()
    const { counters } = pool.load().checkpoint
    expect(counters?.times?.map(([id]) => id)).toEqual(ids)
    expect(pool.restart(['b']).key('b').times.answer.sumMs).toBe(0)
  })
})

describe('limits of the minute', () => {
  const meters = (specs: readonly KeySpec[], ask: object) => {
    const pool = storedPool(specs)
    pool.grant({ tokens: 10, ...ask })
    pool.writeCheckpoint()
    return { pool, stored: pool.load().checkpoint.meters }
  }

  it.each<[string, KeySpec, object, object[]]>([
    ['nothing of a key without', { id: 'a' }, {}, []],
    ['requests', { id: 'a', rpm: 10 }, {}, [{ rpm: [{ amount: 1 }], tpm: [] }]],
    ['tokens', { id: 'a', tpm: 99 }, {}, [{ rpm: [], tpm: [{ amount: 10 }] }]],
    [
      'what batches have',
      { id: 'a', tpm: 99 },
      { class: 'batch' },
      [{ batch: { rpm: [], tpm: [{ amount: 10 }] } }],
    ],
  ])('are stored: %s', (_, spec, ask, records) => {
    expect(meters([spec], ask).stored).toMatchObject(records)
  })

  it('are stored by whole seconds', () => {
    const pool = storedPool([{ id: 'a', rpm: 10 }])
    for (const ms of [0, 300, 300, 500]) {
      pool.wait(ms)
      pool.grant()
    }
    const [record] = checkpoint(pool.state, pool.now()).meters
    expect(record?.rpm.map(({ amount }) => amount)).toEqual([3, 1])
    expect(record).not.toHaveProperty('batch')
  })

  it('of batches are not lost because as many requests as tokens were taken', () => {
    const { stored } = meters([{ id: 'a', rpm: 10, tpm: 99 }], { class: 'batch', tokens: 1 })
    expect(stored?.[0]?.batch?.rpm).toHaveLength(1)
  })

  it('hold that are new, and those that are gone do not', () => {
    const { pool } = meters([{ id: 'a', rpm: 10 }], { class: 'batch' })
    const next = pool.restart([{ id: 'a', tpm: 99 }])
    expect(next.key('a')).toMatchObject({ rpm: null, tpm: { window: { total: 0 } } })
    expect(next.key('a').batch).toMatchObject({ rpm: { total: 0 }, tpm: { total: 0 } })
    expect(pool.restart(['b']).key('b').rpm).toBeNull()
  })

  it('count whole seconds, so that nothing counts for too short a time', () => {
    const { pool } = meters([{ id: 'a', rpm: 1 }], {})
    const next = pool.restart()
    next.wait(59_999)
    expect(next.refusal({ lease: 'early' }).reasons).toEqual({ at_rpm: 1 })
    next.wait(1_001)
    expect(next.ask({ lease: 'late' }).kind).toBe('grant')
  })
})

describe('the lookup of a key', () => {
  const due = (order: BenchOrder, suspect = false) => {
    const pool = storedPool(['a'])
    const lease = pool.grant()
    takeLookupDuties(pool.state, pool.now())
    pool.lookUp('a', 50)
    pool.wait(1)
    pool.give(lease, { outcome: 'failure', fault: 'key', benches: [order], suspect })
    pool.write()
    pool.writeCheckpoint()
    const next = pool.restart()
    return takeLookupDuties(next.state, next.now()).length
  }
  const rejected = (lapseMs: number | null): BenchOrder => ({
    scope: 'key',
    reason: 'key_rejected',
    term: { kind: 'lookup', lapseMs },
  })

  it('is due at once if the key is suspected', () => {
    expect(due({ ...rejected(null), term: { kind: 'for', forMs: 60_000 } })).toBe(1)
  })

  it('is not if it is rejected for good, or benched for another reason', () => {
    expect(due(rejected(null))).toBe(0)
    expect(due(limited)).toBe(0)
  })
})

describe('a route', () => {
  const asked = { model: 'cheap/model', lease: 'next' } as const
  const cheap = { models: ['cheap/*'], strategy: 'credit-threshold' } as const
  const moved = () => {
    const pool = storedPool(['a', 'b', 'c'], { routes: [cheap] })
    pool.lookUp('a', 0.5)
    for (const id of ['b', 'c']) pool.lookUp(id, 50)
    pool.give(pool.grant({ model: 'cheap/model' }))
    pool.writeCheckpoint()
    return pool
  }

  it('goes on with its key, wherever that stands now', () => {
    const next = moved().restart(['c', 'a', 'b'], { routes: [{ models: ['first/*'] }, cheap] })
    expect(next.grant(asked).keyId).toBe('b')
  })

  it('begins with its first key if that key is gone, or if it is another route', () => {
    const pool = moved()
    expect(pool.restart(['c', 'd'], { routes: [cheap] }).grant(asked).keyId).toBe('c')
    const other = { ...cheap, models: ['cheap/*', 'dear/*'] } as const
    expect(pool.restart(['c', 'b'], { routes: [other] }).grant(asked).keyId).toBe('c')
  })
})

it('an order to halt a key holds for its next secret, and what it was benched for does not', () => {
  const pool = storedPool([{ id: 'a', fingerprint: 'old' }, 'b'])
  pool.shrug(pool.grantOf('a'), limited)
  orderOnly(pool, 'pause', 'a')
  pool.write()
  expect(pool.restart().key('a').bench).toEqual(pool.key('a').bench)
  const next = pool.restart([{ id: 'a', fingerprint: 'new' }, 'b'])
  expect(next.refusal({ tried: ['b'], lease: 'early' }).reasons).toEqual({
    already_tried: 1,
    paused: 1,
  })
  orderOnly(next, 'resume', 'a')
  expect(next.grantOf('a', { lease: 'next' }).keyId).toBe('a')
})

describe('rows of an earlier release', () => {
  it('that hold no checkpoint leave a pool in which nothing has happened', () => {
    const pool = storedPool(['a'])
    const next = pool.restart()
    expect(checkpoint(next.state, 0)).toEqual(checkpoint(drivePool(['a']).state, 0))
  })

  it('whose counters know less begin with nothing of that', () => {
    const pool = storedPool(['a'], {
      groups: [{ id: 'team' }],
      clients: [{ id: 'client', group: 'team' }],
    })
    pool.give(pool.grant(), { firstOutputMs: 10, usage: usageOf(1, 1, 0.5) })
    pool.writeCheckpoint()
    const { checkpoint: stored, ...records } = pool.load()
    const { requests, byGroup, times, minute, cache, ...known } = stored.counters ?? {}
    const next = drivePool(['a'])
    const counters = { ...known, savedAtMs: null } as CountersRecord
    restore(next.state, { ...records, checkpoint: { counters } }, next.now())
    expect(next.key('a')).toMatchObject({
      tally: { total: { costUsd: 0.5 } },
      times: { firstOutput: { sumMs: 0 } },
    })
    expect(next.state.ledger.byGroup.size).toBe(0)
    expect(next.state.minutes.running).toBeNull()
    // Nobody knows when it was made, so nothing was settled before it.
    expect(next.state.restoredAtMs).toBe(Number.NEGATIVE_INFINITY)
  })
})

import { describe, expect, it } from 'vitest'
import { clientId, isolateId, leaseId } from '../../src/balancing/ids.ts'
import { acquire, claim, takeDecided, wakeAtMs } from '../../src/balancing/pool.ts'
import { drivePool, leaseRequestOf, type PoolDriver } from './pool-driver.ts'
import { storedPool } from './records/stored-pool.ts'

const CLIENT = { clients: [{ id: 'client', rpm: 100 }] }

/** A pool of one lease, which is out, and a request that waits for it. */
function waited(ask = {}, setup = {}) {
  const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], { ...CLIENT, ...setup })
  const running = pool.grant({ leaseMs: 60_000 })
  const { leaseId: id } = pool.waiting({ lease: 'waits', ...ask })
  return { pool, running, id, ask: () => claim(pool.state, id, pool.now()) }
}

const clientOf = ({ state }: PoolDriver) => state.clients.byId.get(clientId('client'))?.quota

describe('a request that waits', () => {
  it('is told so until its time is over, and is refused then, once', () => {
    const { pool, ask } = waited()
    pool.wait(9_999)
    expect(ask()).toEqual({ kind: 'waiting', leaseId: 'waits' })
    pool.wait(1)
    expect(clientOf(pool)?.inFlight).toBe(2)
    expect(ask()).toMatchObject({ kind: 'refusal', reasons: { at_max_concurrent: 1 } })
    // What it had taken of its client's limits is free with that.
    expect(clientOf(pool)?.inFlight).toBe(1)
    expect([pool.state.queue.size, ask()]).toEqual([0, null])
  })

  it.each([
    ['no longer than it wants', 3_000, 3_000],
    ['no longer than the pool lets it', 60_000, 10_000],
  ])('waits %s', (_, waitMs, ms) => {
    const { pool, ask } = waited({ waitMs })
    pool.wait(ms - 1)
    expect(ask()?.kind).toBe('waiting')
    pool.wait(1)
    expect(ask()?.kind).toBe('refusal')
  })

  it('gets the key when it is free, and is told of that once to whoever holds its call', () => {
    const { pool, running, ask } = waited()
    pool.give(running)
    expect(takeDecided(pool.state)).toEqual([])
    pool.wake()
    expect(takeDecided(pool.state)).toEqual(['waits'])
    expect(takeDecided(pool.state)).toEqual([])
    expect(ask()).toMatchObject({ kind: 'grant', keyId: 'a', leaseId: 'waits' })
  })

  it('has five seconds to fetch its lease', () => {
    const { pool, running, ask } = waited()
    pool.give(running)
    pool.wake()
    pool.wait(5_000)
    pool.wake()
    expect(ask()).toMatchObject({ kind: 'refusal', cause: 'ended' })
    expect(pool.key('a').inFlight).toBe(0)
  })

  it('has it from then on for as long as it asked, however often it asks', () => {
    const { pool, running, id, ask } = waited({ leaseMs: 60_000 })
    pool.give(running)
    pool.wake()
    pool.wait(4_000)
    const fetchedAtMs = pool.now()
    for (let i = 0; i < 2; i++) {
      expect(ask()?.kind).toBe('grant')
      expect(pool.state.leases.live.get(id)?.expiresAtMs).toBe(fetchedAtMs + 60_000)
      pool.wait(1_000)
    }
  })

  it('has batches keep away from its key', () => {
    const { pool, running } = waited()
    pool.give(running)
    pool.wake()
    expect(pool.key('a').batch.yieldsUntilMs).toBe(pool.now() + 2_000)
  })

  it('takes its turn of a strategy that counts turns', () => {
    const served = (waits: boolean) => {
      const keys = [
        { id: 'a', maxConcurrent: 1 },
        { id: 'b', disabled: true },
      ]
      const pool = drivePool(keys, { strategy: 'weighted' })
      const [route] = pool.state.routes
      const running = pool.grant()
      if (waits) pool.waiting({ lease: 'waits' })
      pool.give(running)
      if (waits) pool.wake()
      else pool.grant()
      return [...route.memory.smoothedWeights]
    }
    expect(served(true)).toEqual(served(false))
  })
})

describe('a lease that was asked for before', () => {
  it('of a key that is gone has ended', () => {
    const pool = storedPool(['a', 'b'])
    pool.grantOf('a', { lease: 'mine' })
    pool.writeCheckpoint()
    const next = pool.restart(['b'])
    expect(next.refusal({ lease: 'mine' })).toMatchObject({ cause: 'ended' })
  })

  it('is the same lease, also of a batch', () => {
    const pool = drivePool(['a', 'b'])
    const lease = pool.grant({ lease: 'mine', class: 'batch' })
    expect(pool.grant({ lease: 'mine', class: 'batch' })).toEqual(lease)
    expect(pool.key(lease.keyId).inFlight).toBe(1)
  })

  it('is that of its isolate, which is silent for three seconds at most', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    const request = { ...leaseRequestOf({}, 'other:1'), isolate: isolateId('other') }
    const asked = () => acquire(pool.state, request, pool.now(), () => 0.5)
    expect(asked().kind).toBe('grant')
    pool.wait(2_700)
    expect(asked().kind).toBe('grant')
    pool.wait(2_700)
    expect(pool.refusal().reasons).toEqual({ at_max_concurrent: 1 })
    pool.wait(100)
    expect(pool.ask().kind).toBe('grant')
  })
})

describe('when the pool is to wake', () => {
  it('is never while nobody waits, and when a lease expires in somebody’s time', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    pool.grant({ leaseMs: 4_000 })
    expect(wakeAtMs(pool.state)).toBeNull()
    pool.waiting({ waitMs: 4_000, lease: 'short' })
    expect(wakeAtMs(pool.state)).toBeNull()
    pool.waiting({ waitMs: 4_001, lease: 'long' })
    expect(wakeAtMs(pool.state)).toBe(pool.now() + 4_000)
  })
})

it('leases ahead are not called back for a batch', () => {
  const pool = drivePool(['a'], { clients: [{ id: 'client', maxConcurrent: 1 }] })
  pool.grant()
  const quota = clientOf(pool)
  if (quota === undefined) throw new Error('no client')
  quota.aheadUntilMs = Number.POSITIVE_INFINITY
  pool.refusal({ class: 'batch' })
  expect(quota.aheadUntilMs).toBe(Number.POSITIVE_INFINITY)
  pool.refusal()
  expect(quota.aheadUntilMs).toBe(0)
})

it('a retry is one only of the model that failed: another one is paid by nobody', () => {
  const setup = { retryBudget: { ratio: 0, minPerSecond: 0 } }
  const pool = drivePool(['a'], setup)
  const models = ['vendor/model', 'vendor/other']
  expect(pool.refusal({ attempt: 'retry', models }).cause).toBe('retry_budget')
  const bench = { scope: 'account_model', reason: 'account_rate_limited' } as const
  pool.shrug(pool.grant(), { ...bench, term: { kind: 'for', forMs: 60_000 } })
  const moved = pool.grant({ attempt: 'retry', models, lease: 'moved' })
  expect(moved.model).toBe('vendor/other')
  expect(pool.state.leases.live.get(leaseId('moved'))).toMatchObject({ attempt: 'move' })
})

it('a request that pays in serves a retry that waits for that, in the same step', () => {
  const setup = { retryBudget: { ratio: 1, minPerSecond: 0 } }
  const keys = ['a', 'b'].map((id) => ({ id, maxConcurrent: 1 }))
  const pool = drivePool(keys, setup)
  const running = ['a', 'b'].map((id) => pool.grantOf(id, { attempt: 'move' }))
  pool.waiting({ attempt: 'retry', lease: 'retry' })
  for (const lease of running) pool.give(lease)
  pool.wake()
  expect(pool.state.leases.live.size).toBe(0)
  pool.grant({ lease: 'pays' })
  expect([...pool.state.leases.live.keys()]).toEqual(['pays', 'retry'])
})

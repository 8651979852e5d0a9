import { describe, expect, it } from 'vitest'
import { clientId, keyId, leaseId } from '../../../src/balancing/ids.ts'
import { checkpoint, keyRecord } from '../../../src/balancing/records/checkpoint.ts'
import { restore } from '../../../src/balancing/records/restore.ts'
import { settle } from '../../../src/balancing/serving/lease-end.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { drivePool, type KeySpec, type PoolDriver, usageOf } from '../pool-driver.ts'

const USAGE = usageOf(100, 50, 0.5)

/** The pool after a crash, from the checkpoint that was made last. */
function restarted(pool: PoolDriver, written: unknown, keys: readonly KeySpec[]): PoolDriver {
  const next = drivePool(keys)
  next.at(pool.now())
  restore(
    next.state,
    {
      keys: new Map([...pool.state.keys].map(([id, key]) => [id, keyRecord(key)])),
      accounts: new Map(),
      models: [],
      spends: new Map(),
      ...{ budgets: new Map(), clients: [], groups: [], audit: [], alerts: [], deliveries: [] },
      checkpoint: JSON.parse(JSON.stringify(written)),
      outdated: true,
    },
    next.now(),
  )
  return next
}

const spentBy = (pool: PoolDriver, client = 'tester') =>
  pool.state.ledger.byClient.get(clientId(client))?.total.costUsd ?? 0

function settlementOf(grant: ReturnType<PoolDriver['grant']>, more: object = {}): Settlement {
  const { leaseId: id, keyId: key, model, grantedAtMs = 0 } = grant
  const lease = { clientId: clientId('tester'), model, grantedAtMs, tokens: 0 }
  const outcome = { outcome: 'success', benches: [], suspect: false, usage: USAGE } as const
  return { leaseId: id, keyId: key, lease, ...outcome, ...more }
}

const send = (pool: PoolDriver, settlement: Settlement) =>
  settle(pool.state, settlement, pool.now(), Math.random)

describe('what a client has spent is booked', () => {
  it('if the key of the lease is gone', () => {
    const pool = drivePool(['a', 'b'])
    const grant = pool.grantOf('b', { client: 'tester' })
    const next = restarted(pool, checkpoint(pool.state, pool.now()), [{ id: 'a' }])
    send(next, settlementOf(grant))
    expect(spentBy(next)).toBe(0.5)
    expect(next.state.ledger.byModel.get('vendor/model')?.total.costUsd).toBe(0.5)
    expect(next.state.ledger.byKey.get(keyId('b'))?.total.attempts).toBe(0)
  })

  it('if the lease was granted after the last checkpoint before a crash', () => {
    const pool = drivePool(['a'])
    const written = checkpoint(pool.state, pool.now())
    pool.wait(1_000)
    const grant = pool.grant({ client: 'tester' })
    const next = restarted(pool, written, [{ id: 'a' }])
    send(next, settlementOf(grant))
    expect(spentBy(next)).toBe(0.5)
  })

  it('once, if the settlement is sent again across a checkpoint and a restart', () => {
    const pool = drivePool(['a'])
    const grant = pool.grant({ client: 'tester' })
    send(pool, settlementOf(grant))
    pool.wait(1_000)
    const next = restarted(pool, checkpoint(pool.state, pool.now()), [{ id: 'a' }])
    send(next, settlementOf(grant))
    expect(spentBy(next)).toBe(0.5)
    expect(next.state.ledger.all.total.attempts).toBe(1)
  })
})

it('a stream that was cut takes from the credit what its tokens usually cost', () => {
  const pool = drivePool(['a'])
  pool.lookUp('a', 10)
  pool.give(pool.grant(), { usage: usageOf(100, 100, 1) })
  const cut = { ...usageOf(300, 100, 0), estimated: true }
  pool.give(pool.grant(), { outcome: 'ignorable', fault: 'nobody', usage: cut })
  expect(pool.key('a').credit).toMatchObject({ remainingUsd: 7 })
  // What was really charged is not known: nothing is booked.
  expect(pool.state.ledger.all.total.costUsd).toBe(1)
})

describe('a lease that was never used', () => {
  it('gives back requests and tokens, and counts as no attempt', () => {
    const pool = drivePool([{ id: 'a', rpm: 1, tpm: 1_000 }])
    const grant = pool.grant({ tokens: 900 })
    pool.give(grant, { outcome: 'ignorable', fault: 'nobody', unused: true })
    expect(pool.state.ledger.all.total.attempts).toBe(0)
    expect(pool.grant({ tokens: 900 }).keyId).toBe('a')
  })

  it('teaches nothing about how long leases last', () => {
    const pool = drivePool(['a'])
    const grant = pool.grant()
    pool.wait(50)
    pool.give(grant, { outcome: 'ignorable', fault: 'nobody', unused: true })
    expect(pool.key('a').meanHoldMs).toBeNull()
  })

  it('pays nothing into the retry budget, and gives a retry back', () => {
    const empty = { retryBudget: { ratio: 1, minPerSecond: 0 } }
    const pool = drivePool(['a', 'b'], empty)
    pool.give(pool.grant(), { outcome: 'ignorable', fault: 'nobody', unused: true })
    expect(pool.refusal({ attempt: 'retry' }).cause).toBe('retry_budget')
    pool.give(pool.grant())
    const retry = pool.grant({ attempt: 'retry' })
    pool.give(retry, { outcome: 'ignorable', fault: 'nobody', unused: true })
    expect(pool.grant({ attempt: 'retry' }).kind).toBe('grant')
  })
})

it('five hundred invented names take no place from models that answer', () => {
  const pool = drivePool(['a'])
  for (let i = 0; i < 600; i++) pool.shrug(pool.grant({ models: [`invented/${i}`] }))
  pool.give(pool.grant({ models: ['vendor/real'] }), { usage: USAGE })
  const { byModel, all } = pool.state.ledger
  expect(byModel.get('vendor/real')?.total).toMatchObject({ attempts: 1, costUsd: 0.5 })
  expect(byModel.size).toBeLessThanOrEqual(501)
  const counted = [...byModel.values()].reduce((sum, { total }) => sum + total.attempts, 0)
  expect(counted).toBe(all.total.attempts)
})

it('an attempt of an unknown key and an unknown lease is nothing', () => {
  const pool = drivePool(['a'])
  const nothing = { outcome: 'ignorable', benches: [], suspect: false } as const
  send(pool, { leaseId: leaseId('unheard'), keyId: keyId(''), ...nothing })
  expect(pool.state.ledger.all.total.attempts).toBe(0)
})

import { describe, expect, it } from 'vitest'
import { takeChanges } from '../../src/balancing/records/changed-records.ts'
import type { BenchOrder } from '../../src/balancing/settlement.ts'
import { snapshot } from '../../src/balancing/snapshot.ts'
import { drivePool, usageOf } from './pool-driver.ts'

const MINUTE_MS = 60_000

function bench(reason: BenchOrder['reason'], untilMs: number): BenchOrder {
  return { scope: 'key', reason, term: { kind: 'until', untilMs } }
}

describe('settling', () => {
  it('counts an attempt under its key, model and client, once', () => {
    const pool = drivePool(['a'])
    const lease = pool.grant({ client: 'app', model: 'vendor/x' })
    for (let i = 0; i < 3; i++) pool.give(lease, { usage: usageOf(10, 5, 0.25) })
    const { all, byKey, byModel, byClient } = pool.state.ledger
    for (const tallies of [[all], byKey.values(), byModel.values(), byClient.values()]) {
      expect([...tallies].map(({ total }) => total)).toMatchObject([
        { attempts: 1, successes: 1, promptTokens: 10, completionTokens: 5, costUsd: 0.25 },
      ])
    }
    expect([[...byKey.keys()], [...byModel.keys()], [...byClient.keys()]]).toEqual([
      ['a'],
      ['vendor/x'],
      ['app'],
    ])
  })

  it('after the lease expired still counts what was used, and frees nothing twice', () => {
    const pool = drivePool(['a'])
    const lease = pool.grant({ leaseMs: 1_000 })
    pool.wait(2_000)
    pool.give(lease, { usage: usageOf(10, 5, 0.25) })
    pool.give(lease, { usage: usageOf(10, 5, 0.25) })
    expect(pool.key('a').inFlight).toBe(0)
    expect(snapshot(pool.state, pool.now()).keys).toMatchObject([{ total: { promptTokens: 10 } }])
  })

  it('a lease from before a restart counts for the key that its settlement names', () => {
    const pool = drivePool(['a', 'b'])
    const before = drivePool(['a', 'b']).grantOf('b', { lease: 'old' })
    pool.give(before, { usage: usageOf(10, 5, 0.25) })
    pool.give(before, { usage: usageOf(10, 5, 0.25) })
    const { keys } = snapshot(pool.state, pool.now())
    expect(keys.map(({ total, inFlight }) => [total.attempts, inFlight])).toEqual([
      [0, 0],
      [1, 0],
    ])
  })

  it('a lease on a key that is no longer configured does nothing', () => {
    const pool = drivePool(['a'])
    pool.fail(drivePool(['gone']).grant({ lease: 'old' }))
    expect(snapshot(pool.state, pool.now()).keys).toMatchObject([
      { id: 'a', total: { attempts: 0 } },
    ])
  })

  it('a caller’s mistake marks no key, however often it is sent', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant())
    const { breaker, bench: benched, strikes, lookup } = pool.key('a')
    for (let i = 0; i < 1_000; i++) pool.shrug(pool.grant())
    expect(pool.key('a')).toMatchObject({ breaker, bench: benched, strikes, lookup, inFlight: 0 })
  })

  it('keeps the note of what a key can still afford', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant(), { outcome: 'ignorable', fault: 'key', affordableTokens: 812 })
    expect(snapshot(pool.state, pool.now()).keys).toMatchObject([
      { affordableTokens: 812, reason: null },
    ])
  })
})

describe('what has to be written down', () => {
  it('is nothing for a request that goes well', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant(), { usage: usageOf(1, 1, 1) })
    expect(takeChanges(pool.state)).toEqual({
      ...{ keys: [], accounts: [], models: null, spends: new Map() },
      ...{ budgets: new Map(), clients: new Map(), groups: new Map(), audit: new Map() },
      ...{ alerts: new Map(), deliveries: new Map() },
    })
  })

  it('is the key whose breaker or bench moved and the account whose bench did, once', () => {
    const pool = drivePool([{ id: 'a', account: 'acme' }, 'b'])
    pool.fail(pool.grantOf('a'))
    pool.shrug(pool.grantOf('b'), { ...bench('account_rate_limited', 1), scope: 'account' })
    const { keys, accounts } = takeChanges(pool.state)
    expect(keys.map(({ id }) => id)).toEqual(['a'])
    expect(accounts.map(({ id }) => id)).toEqual(['account-of-b'])
    expect(takeChanges(pool.state)).toEqual({
      ...{ keys: [], accounts: [], models: null, spends: new Map() },
      ...{ budgets: new Map(), clients: new Map(), groups: new Map(), audit: new Map() },
      ...{ alerts: new Map(), deliveries: new Map() },
    })
  })

  it('includes a key that a lookup rejected or cured', () => {
    const pool = drivePool(['a'])
    pool.shrug(pool.grant(), bench('key_spent', pool.now() + MINUTE_MS))
    takeChanges(pool.state)
    pool.lookUp('a', 1)
    expect(takeChanges(pool.state).keys.map(({ id }) => id)).toEqual(['a'])
  })
})

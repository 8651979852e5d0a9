import { describe, expect, it } from 'vitest'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { creditThreshold } from '../../../src/balancing/strategies/credit-threshold.ts'
import { drivePool, type PoolDriver, usageOf } from '../pool-driver.ts'
import { choiceOf, creditOf, keyAt } from './strategy-driver.ts'

const THRESHOLD_USD = 1

function poolWith(credits: Record<string, number | null>): PoolDriver {
  const pool = drivePool(Object.keys(credits), {
    strategy: 'credit-threshold',
    credit: { thresholdUsd: THRESHOLD_USD },
  })
  for (const [id, remainingUsd] of Object.entries(credits)) pool.lookUp(id, remainingUsd)
  return pool
}

/** Sends requests of one price, one after another. Returns the ids of the keys that served. */
function spend(pool: PoolDriver, requests: number, costUsd: number): string {
  return Array.from({ length: requests }, () => {
    const lease = pool.grant()
    pool.give(lease, { usage: usageOf(10, 10, costUsd) })
    return lease.keyId
  }).join('')
}

/** Reports a new lookup, which is later than the last one. */
function topUp(pool: PoolDriver, id: string, remainingUsd: number): void {
  pool.wait(1)
  pool.lookUp(id, remainingUsd)
}

const away = (pool: PoolDriver, forMs: number): BenchOrder => ({
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'until', untilMs: pool.now() + forMs },
})

describe('credit-threshold', () => {
  it('begins with the first configured key, however much others have', () => {
    expect(spend(poolWith({ a: 5, b: 50, c: null }), 3, 0)).toBe('aaa')
  })

  it('stays while the key has the threshold or more, and moves on when it has less', () => {
    const pool = poolWith({ a: 3, b: 9, c: 9 })
    // Key a has 3, 2, 1 and then 0 dollars left.
    expect(spend(pool, 6, 1)).toBe('aaabbb')
  })

  it('stays where it moved to when the key before is topped up', () => {
    const pool = poolWith({ a: 2.5, b: 4.5, c: 9 })
    expect(spend(pool, 3, 1)).toBe('aab')
    topUp(pool, 'a', 90)
    expect(spend(pool, 6, 1)).toBe('bbbccc')
  })

  it('goes round: after the last key comes the first that has enough', () => {
    const pool = poolWith({ a: 1.5, b: 1.5, c: 1.5 })
    expect(spend(pool, 3, 1)).toBe('abc')
    topUp(pool, 'a', 9)
    topUp(pool, 'b', 9)
    expect(spend(pool, 2, 1)).toBe('aa')
  })

  it('passes over keys that have too little, or of which nothing is known', () => {
    const pool = drivePool(['a', 'poor', 'unknown', 'd'], { strategy: 'credit-threshold' })
    pool.lookUp('a', 1)
    pool.lookUp('poor', 0.5)
    pool.lookUp('d', 5)
    expect([pool.grant(), pool.grant()].map(({ keyId }) => keyId)).toEqual(['a', 'a'])
    topUp(pool, 'a', 0.9)
    expect(pool.grant().keyId).toBe('d')
  })

  it('stays on an uncapped key for ever', () => {
    expect(spend(poolWith({ a: 1, b: null, c: 9 }), 30, 1)).toBe(`a${'b'.repeat(29)}`)
  })

  it('stays on the first key while nothing is known of any', () => {
    const pool = drivePool(['a', 'b'], { strategy: 'credit-threshold' })
    expect(spend(pool, 3, 1)).toBe('aaa')
  })

  it('takes the key with most when all are below', () => {
    const pool = poolWith({ a: 0.3, b: 0.9, c: 0.5 })
    expect(spend(pool, 4, 0.125)).toBe('bbbb')
    expect(spend(pool, 1, 0.125)).toBe('c')
    topUp(pool, 'c', 5)
    expect(spend(pool, 2, 0.125)).toBe('cc')
  })

  it('reckons with what runs, so that a burst does not spend a key past the threshold', () => {
    const pool = poolWith({ a: 5, b: 50 })
    spend(pool, 1, 1)
    const burst = Array.from({ length: 10 }, () => pool.grant().keyId).join('')
    // Key a has four dollars left, and each request will probably cost one.
    expect(burst).toBe('aaaabbbbbb')
  })

  it('has the next key stand in for one that is away, and comes back to it', () => {
    const pool = poolWith({ a: 9, b: 9, c: 9 })
    pool.shrug(pool.grant(), away(pool, 5_000))
    expect(spend(pool, 3, 1)).toBe('bbb')
    pool.wait(5_000)
    expect(spend(pool, 3, 1)).toBe('aaa')
  })

  it('lets nobody stand in who has too little while another has enough', () => {
    const pool = poolWith({ a: 9, b: 0.5, c: 9 })
    pool.shrug(pool.grant(), away(pool, 5_000))
    expect(spend(pool, 2, 1)).toBe('cc')
    pool.wait(5_000)
    expect(spend(pool, 2, 1)).toBe('aa')
  })

  it('moves on from a key for its credit even when that fell while it was away', () => {
    const pool = poolWith({ a: 9, b: 9 })
    pool.shrug(pool.grant(), away(pool, 5_000))
    pool.wait(5_000)
    topUp(pool, 'a', 0.5)
    expect(spend(pool, 1, 1)).toBe('b')
    topUp(pool, 'a', 90)
    expect(spend(pool, 1, 1)).toBe('b')
  })

  it('moves on for good from a key that was spent to nothing at once', () => {
    const pool = poolWith({ a: 2, b: 9 })
    expect(spend(pool, 3, 1)).toBe('aab')
    topUp(pool, 'a', 90)
    expect(spend(pool, 1, 1)).toBe('b')
  })

  it('stays where it moved to in a route that does not have the first key', () => {
    const routes = [{ models: ['*'], keys: ['b', 'c'] }] as const
    const pool = drivePool(['a', 'b', 'c'], { strategy: 'credit-threshold', routes })
    pool.lookUp('b', 1.5)
    pool.lookUp('c', 9)
    expect(spend(pool, 2, 1)).toBe('bc')
    topUp(pool, 'b', 90)
    expect(spend(pool, 1, 1)).toBe('c')
  })

  it('moves each route on by itself', () => {
    const routes = [{ models: ['mine'], strategy: 'credit-threshold' }] as const
    const pool = drivePool(['a', 'b'], { strategy: 'credit-threshold', routes })
    pool.lookUp('a', 1.5)
    pool.lookUp('b', 9)
    pool.give(pool.grant({ model: 'mine' }), { usage: usageOf(1, 1, 1) })
    expect(pool.grant({ model: 'mine' }).keyId).toBe('b')
    topUp(pool, 'a', 90)
    expect(pool.grant({ model: 'mine' }).keyId).toBe('b')
    expect(pool.grant({ model: 'yours' }).keyId).toBe('a')
  })

  it('scores what a key has left', () => {
    const choice = choiceOf(1, { meanCostUsd: 0.5 })
    const key = keyAt(0, { credit: creditOf(3), inFlight: 2 })
    expect(creditThreshold.score(key, choice)).toBe(2)
    expect(creditThreshold.score(keyAt(0), choice)).toBeNull()
  })
})

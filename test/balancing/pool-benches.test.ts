import { describe, expect, it } from 'vitest'
import type { BenchOrder } from '../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver } from './pool-driver.ts'

const until = (scope: BenchOrder['scope'], untilMs: number): BenchOrder => ({
  scope,
  reason: 'account_rate_limited',
  term: { kind: 'until', untilMs },
})

const BACKOFF: BenchOrder = {
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'backoff', baseMs: 1_000, maxMs: 60_000 },
}

const twoAccounts = () =>
  drivePool([
    { id: 'a1', account: 'a' },
    { id: 'a2', account: 'a' },
    { id: 'b1', account: 'b' },
  ])

/** The keys that serve a model now, in order of their ids. */
function served(pool: PoolDriver, model: string): string[] {
  const leases = Array.from({ length: 12 }, () => pool.grant({ model }))
  for (const lease of leases) pool.give(lease)
  return [...new Set(leases.map(({ keyId }) => keyId))].toSorted()
}

describe('a bench of', () => {
  it('a key excludes that key alone', () => {
    const pool = twoAccounts()
    pool.shrug(pool.grantOf('a1'), until('key', pool.now() + 5_000))
    expect(served(pool, 'm')).toEqual(['a2', 'b1'])
  })

  it('an account excludes every key of it', () => {
    const pool = twoAccounts()
    pool.shrug(pool.grantOf('a1'), until('account', pool.now() + 5_000))
    expect(served(pool, 'm')).toEqual(['b1'])
  })

  it('an account’s free tier excludes its keys for :free models only', () => {
    const pool = twoAccounts()
    pool.shrug(pool.grantOf('a1', { model: 'm:free' }), until('account_free', pool.now() + 5_000))
    expect(served(pool, 'm:free')).toEqual(['b1'])
    expect(served(pool, 'other:free')).toEqual(['b1'])
    expect(served(pool, 'm')).toEqual(['a1', 'a2', 'b1'])
  })

  it('an account’s free tier excludes the very model that was refused, whatever its name', () => {
    const pool = twoAccounts()
    pool.shrug(pool.grantOf('a1', { model: 'm' }), until('account_free', pool.now() + 5_000))
    expect(served(pool, 'm')).toEqual(['b1'])
    expect(served(pool, 'other:free')).toEqual(['b1'])
    expect(served(pool, 'n')).toEqual(['a1', 'a2', 'b1'])
    pool.wait(5_000)
    expect(served(pool, 'm')).toEqual(['a1', 'a2', 'b1'])
  })

  it('one model of an account excludes its keys for that model only', () => {
    const pool = twoAccounts()
    pool.shrug(pool.grantOf('a1', { model: 'm' }), until('account_model', pool.now() + 5_000))
    expect(served(pool, 'm')).toEqual(['b1'])
    expect(served(pool, 'n')).toEqual(['a1', 'a2', 'b1'])
  })

  it('a model excludes nobody: it only chooses between the models of a route', () => {
    const pool = twoAccounts()
    pool.shrug(pool.grantOf('a1', { model: 'm' }), until('model', pool.now() + 5_000))
    expect(served(pool, 'm')).toEqual(['a1', 'a2', 'b1'])
  })

  it.each(['key', 'account', 'account_free', 'account_model'] as const)(
    '%s ends at the moment that the refusal names, and not a millisecond before',
    (scope) => {
      const pool = drivePool(['a'])
      pool.shrug(pool.grant({ model: 'm:free' }), until(scope, pool.now() + 7_000))
      const retryAtMs = pool.refusal({ model: 'm:free' }).retryAtMs
      expect(retryAtMs).toBe(pool.now() + 7_000)
      pool.wait(6_999)
      pool.refusal({ model: 'm:free' })
      pool.wait(1)
      expect(pool.grant({ model: 'm:free' }).keyId).toBe('a')
    },
  )
})

describe('a lookup that shows that one bench is over', () => {
  const REJECTED: BenchOrder = {
    scope: 'key',
    reason: 'key_rejected',
    term: { kind: 'for', forMs: 60_000 },
  }
  const SPENT: BenchOrder = {
    scope: 'key',
    reason: 'key_spent',
    term: { kind: 'lookup', lapseMs: null },
  }
  const BROKE: BenchOrder = {
    scope: 'account',
    reason: 'account_out_of_credit',
    term: { kind: 'lookup', lapseMs: 300_000 },
  }
  const limited = (scope: 'key' | 'account', untilMs: number): BenchOrder => ({
    scope,
    reason: 'account_rate_limited',
    term: { kind: 'until', untilMs },
  })

  it.each([
    ['a key that was rejected', REJECTED, 'key'],
    ['a spent key', SPENT, 'key'],
    ['an account without credit', BROKE, 'account'],
  ] as const)('does not end the limit that %s has besides', (_, order, scope) => {
    for (const limitFirst of [true, false]) {
      const pool = drivePool(['a'])
      const [first, second] = [pool.grant(), pool.grant()]
      const limit = limited(scope, pool.now() + 50_000)
      pool.shrug(first, limitFirst ? limit : order)
      pool.shrug(second, limitFirst ? order : limit)
      pool.wait(1_000)
      pool.lookUp('a', 5, { balanceUsd: 10 })
      expect(pool.refusal()).toMatchObject({
        reasons: { account_rate_limited: 1 },
        retryAtMs: pool.now() + 49_000,
      })
      pool.wait(49_000)
      expect(pool.grant().keyId).toBe('a')
    }
  })

  it('ends both where a lookup can clear both', () => {
    const pool = drivePool(['a'])
    const [first, second] = [pool.grant(), pool.grant()]
    pool.shrug(first, REJECTED)
    pool.shrug(second, SPENT)
    pool.wait(1_000)
    pool.lookUp('a', 5)
    expect(pool.grant().keyId).toBe('a')
  })
})

describe('the moment that a refusal names', () => {
  it('is when the first key is free', () => {
    const pool = drivePool(['a', 'b', 'c'])
    for (const [id, ms] of [
      ['a', 9_000],
      ['b', 4_000],
      ['c', 6_000],
    ] as const) {
      pool.shrug(pool.grantOf(id), until('key', pool.now() + ms))
    }
    expect(pool.refusal().retryAtMs).toBe(pool.now() + 4_000)
    pool.wait(4_000)
    expect(pool.grant().keyId).toBe('b')
  })

  it('is when the last of a key’s benches is over', () => {
    const pool = drivePool(['a'])
    const [one, other] = [pool.grant(), pool.grant()]
    pool.shrug(one, until('key', pool.now() + 9_000))
    pool.shrug(other, until('account', pool.now() + 4_000))
    expect(pool.refusal().retryAtMs).toBe(pool.now() + 9_000)
  })

  it('is none when no passing of time frees a key', () => {
    const pool = drivePool(['a', { id: 'b', disabled: true }])
    pool.shrug(pool.grant(), {
      scope: 'account',
      reason: 'account_out_of_credit',
      term: { kind: 'lookup', lapseMs: 300_000 },
    })
    expect(pool.refusal()).toMatchObject({
      reasons: { disabled: 1, account_out_of_credit: 1 },
      retryAtMs: null,
    })
  })

  it('does not wait for a breaker that panic will ignore by then', () => {
    // Three rate limits bench the only key for 30 s and open its breaker for 60 s.
    const pool = drivePool(['a'], { panicRatio: 0.5 })
    const leases = [pool.grant(), pool.grant(), pool.grant()]
    for (const lease of leases) pool.fail(lease, until('key', pool.now() + 30_000))
    expect(pool.refusal()).toMatchObject({
      reasons: { account_rate_limited: 1 },
      retryAtMs: pool.now() + 30_000,
    })
    pool.wait(29_999)
    pool.refusal()
    pool.wait(1)
    expect(pool.grant().keyId).toBe('a')
  })

  it('waits for the breaker too where panic is turned off', () => {
    const pool = drivePool(['a'])
    const leases = [pool.grant(), pool.grant(), pool.grant()]
    for (const lease of leases) pool.fail(lease, until('key', pool.now() + 30_000))
    expect(pool.refusal().retryAtMs).toBe(pool.now() + 60_000)
    pool.wait(59_999)
    pool.refusal()
    pool.wait(1)
    expect(pool.grant().keyId).toBe('a')
  })
})

it('an account out of money is tried again after its bench lapses', () => {
  const pool = drivePool(['a'])
  const term = { kind: 'lookup', lapseMs: 300_000 } as const
  pool.shrug(pool.grant(), { scope: 'account', reason: 'account_out_of_credit', term })
  pool.wait(299_999)
  pool.refusal()
  // The lapse is a guess, so jitter adds up to a fifth.
  pool.wait(60_001)
  expect(pool.grant().keyId).toBe('a')
})

it('a bench is never shortened by a later order with an earlier end', () => {
  const pool = drivePool(['a'])
  const [one, other] = [pool.grant(), pool.grant()]
  pool.shrug(one, until('account', pool.now() + 9_000))
  pool.shrug(other, until('account', pool.now() + 1_000))
  expect(pool.refusal().retryAtMs).toBe(pool.now() + 9_000)
})

describe('backing off from rate limits that name no reset', () => {
  /** How long the key is still benched, in milliseconds. */
  const benchedForMs = (pool: PoolDriver) => (pool.refusal().retryAtMs ?? 0) - pool.now()
  const gentle = () =>
    drivePool(
      ['a'],
      { breaker: { failures: 100, windowMs: 60_000, cooldownMs: 1, maxCooldownMs: 1 } },
      () => 0,
    )

  function comeBackAndFail(pool: PoolDriver): void {
    pool.wait(benchedForMs(pool))
    const lease = pool.grant()
    pool.wait(100)
    pool.fail(lease, BACKOFF)
  }

  it('doubles from a second to a minute', () => {
    const pool = gentle()
    pool.fail(pool.grant(), BACKOFF)
    const lengths = [benchedForMs(pool)]
    for (let i = 0; i < 7; i++) {
      comeBackAndFail(pool)
      lengths.push(benchedForMs(pool))
    }
    expect(lengths).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
  })

  it('takes ten requests that were out together for one strike', () => {
    const pool = gentle()
    const out = Array.from({ length: 10 }, () => pool.grant())
    pool.wait(200)
    for (const lease of out) {
      pool.fail(lease, BACKOFF)
      pool.wait(1)
    }
    expect(benchedForMs(pool)).toBeLessThanOrEqual(1_000)
    comeBackAndFail(pool)
    expect(benchedForMs(pool)).toBe(2_000)
  })

  it('takes them for one strike even when all of it happens in one millisecond', () => {
    const pool = gentle()
    const out = Array.from({ length: 10 }, () => pool.grant())
    for (const lease of out) pool.fail(lease, BACKOFF)
    expect(benchedForMs(pool)).toBe(1_000)
  })

  it('begins anew after a success', () => {
    const pool = gentle()
    pool.fail(pool.grant(), BACKOFF)
    comeBackAndFail(pool)
    pool.wait(benchedForMs(pool))
    const good = pool.grant()
    pool.wait(100)
    pool.give(good)
    pool.fail(pool.grant(), BACKOFF)
    expect(benchedForMs(pool)).toBe(1_000)
  })

  it('does not begin anew because a long answer from before the limit ends well', () => {
    const pool = gentle()
    const long = pool.grant()
    pool.wait(100)
    pool.fail(pool.grant(), BACKOFF)
    comeBackAndFail(pool)
    pool.give(long)
    comeBackAndFail(pool)
    expect(benchedForMs(pool)).toBe(4_000)
  })
})

it('remembers a bounded number of models, whatever callers make up', () => {
  const pool = drivePool([{ id: 'a', account: 'acme' }])
  const account = pool.key('a').account
  for (let i = 0; i < 2_000; i++) {
    const lease = pool.grant({ model: `made/up-${i}` })
    const untilMs = pool.now() + 5_000
    pool.shrug(lease, until('account_model', untilMs), until('model', untilMs))
  }
  expect(account.modelBenches.size).toBeLessThanOrEqual(500)
  expect(pool.state.modelBenches.size).toBeLessThanOrEqual(500)
  pool.wait(5_000)
  pool.shrug(pool.grant({ model: 'real' }), until('account_model', pool.now() + 5_000))
  expect(pool.refusal({ model: 'real' }).reasons).toEqual({ account_rate_limited: 1 })
})

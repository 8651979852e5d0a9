import { describe, expect, it } from 'vitest'
import { snapshot } from '../../../src/balancing/snapshot.ts'
import { drivePool, type KeySpec, type PoolDriver } from '../pool-driver.ts'

const breakerOf = (pool: PoolDriver, id: string) =>
  snapshot(pool.state, pool.now()).keys.find((key) => key.id === id)?.breaker

describe('panic', () => {
  it('takes the key that is well while it has room, and the sick ones only after that', () => {
    const pool = drivePool(['a', 'b', { id: 'well', maxConcurrent: 5 }], { panicRatio: 0.5 })
    pool.trip('a')
    pool.trip('b')
    const served = Array.from({ length: 7 }, () => pool.grant().keyId)
    expect(served.slice(0, 5)).toEqual(['well', 'well', 'well', 'well', 'well'])
    expect(new Set(served.slice(5))).toEqual(new Set(['a', 'b']))
  })

  it('costs a good model nothing while two keys of three fail at once', () => {
    const pool = drivePool(['a', 'b', 'well'], { panicRatio: 0.5 })
    pool.trip('a')
    pool.trip('b')
    let failed = 0
    // For nearly a cooldown: nothing but the well key is used.
    for (let i = 0; i < 590; i++) {
      const grant = pool.grant()
      if (grant.keyId === 'well') pool.give(grant)
      else failed += 1
      pool.wait(100)
    }
    expect(failed).toBe(0)
  })

  it.each([0.5, 1] as const)('with every breaker open uses all keys alike (ratio %d)', (ratio) => {
    const pool = drivePool(['a', 'b', 'c'], { panicRatio: ratio, strategy: 'round-robin' })
    for (const id of ['a', 'b', 'c']) pool.trip(id)
    expect(new Set([1, 2, 3].map(() => pool.grant().keyId))).toEqual(new Set(['a', 'b', 'c']))
  })
})

describe('a key that has recovered', () => {
  /** A key with three slow requests under way, that failed meanwhile and has just recovered. */
  function recovered(keys: readonly (string | KeySpec)[] = ['a', 'b']) {
    const pool = drivePool(keys)
    const slow = [1, 2, 3].map(() => pool.grantOf('a', { models: ['only/a'] }))
    pool.trip('a')
    pool.wait(60_000)
    pool.give(pool.grantOf('a'))
    expect(breakerOf(pool, 'a')).toBe('closed')
    pool.wait(60_000)
    return { pool, slow }
  }

  it('is not judged by requests that began before it recovered', () => {
    const { pool, slow } = recovered()
    for (const lease of slow) pool.fail(lease)
    expect(breakerOf(pool, 'a')).toBe('closed')
    expect(pool.key('a').inFlight).toBe(0)
  })

  it('is benched by none of them', () => {
    const { pool, slow } = recovered()
    const term = { kind: 'until', untilMs: pool.now() + 600_000 } as const
    for (const lease of slow) {
      pool.fail(lease, { scope: 'key', reason: 'account_rate_limited', term })
    }
    expect(pool.grantOf('a').keyId).toBe('a')
  })

  it('is judged by those that began after', () => {
    const { pool } = recovered()
    for (let i = 0; i < 3; i++) pool.fail(pool.grantOf('a', { models: ['only/a'] }))
    expect(breakerOf(pool, 'a')).toBe('open')
  })
})

describe('a model’s bench', () => {
  const FALLBACK = {
    routes: [{ models: ['vendor/*'], fallback: ['vendor/second'] }],
  } as const
  const models = ['vendor/first', 'vendor/second'] as const
  const forADay = (pool: PoolDriver) =>
    ({
      scope: 'model',
      reason: 'account_rate_limited',
      term: { kind: 'until', untilMs: pool.now() + 86_400_000 },
    }) as const

  it('lasts five minutes at most, whatever one hint says', () => {
    const pool = drivePool(['a', 'b'], FALLBACK)
    pool.shrug(pool.grant({ models }), forADay(pool))
    expect(pool.grant({ models }).model).toBe('vendor/second')
    pool.wait(5 * 60_000)
    expect(pool.grant({ models }).model).toBe('vendor/first')
  })

  it('ends with the model’s first success', () => {
    const pool = drivePool(['a', 'b'], FALLBACK)
    const running = pool.grant({ models })
    pool.shrug(pool.grant({ models }), forADay(pool))
    pool.give(running)
    expect(pool.grant({ models }).model).toBe('vendor/first')
  })

  it('is written down when it begins and when it ends, and not with each failure', () => {
    const pool = drivePool(['a', 'b'], FALLBACK)
    const writes = () => {
      const { models: changed } = pool.state.changes
      pool.state.changes.models = false
      return changed
    }
    const leases = Array.from({ length: 20 }, () => pool.grant({ models }))
    const written = leases.map((lease) => {
      pool.shrug(lease, forADay(pool))
      return writes()
    })
    expect(written).toEqual([true, ...Array.from({ length: 19 }, () => false)])
    pool.give(pool.grant({ models: ['vendor/first'] }))
    expect(writes()).toBe(true)
  })

  it('is not written down where no fallback gives it a meaning', () => {
    const pool = drivePool(['a', 'b'])
    pool.shrug(pool.grant({ models: ['invented/model'] }), forADay(pool))
    expect(pool.state.changes.models).toBe(false)
  })
})

describe('an account', () => {
  const forAnHour = (pool: PoolDriver) =>
    ({
      scope: 'account',
      reason: 'account_rate_limited',
      term: { kind: 'until', untilMs: pool.now() + 3_600_000 },
    }) as const

  it('that is known keeps its bench when a key of it turns out to be another’s', () => {
    const pool = drivePool([
      { id: 'a', account: null },
      { id: 'b', account: null },
      { id: 'c', account: null },
    ])
    const owner = (id: string, name: string) => pool.lookUp(id, 10, { owner: name as never })
    owner('a', 'org-1')
    owner('b', 'org-1')
    owner('c', 'org-2')
    pool.shrug(pool.grantOf('a'), forAnHour(pool))
    pool.wait(60_000)
    owner('b', 'org-2')
    expect(pool.grantOf('c').keyId).toBe('c')
    expect(pool.grantOf('b').keyId).toBe('b')
    expect(pool.refusal({ tried: ['b', 'c'] }).reasons).toMatchObject({ account_rate_limited: 1 })
  })

  it('without credit is not cleared by a key of it that was never out', () => {
    const pool = drivePool([
      { id: 'spent', account: 'acme' },
      { id: 'rich', account: 'acme' },
    ])
    const term = { kind: 'lookup', lapseMs: null } as const
    const order = { scope: 'account', reason: 'account_out_of_credit', term } as const
    pool.shrug(pool.grantOf('spent'), order)
    pool.wait(1)
    pool.lookUp('spent', 0)
    pool.lookUp('rich', 50)
    expect(pool.refusal().reasons).toEqual({ account_out_of_credit: 2 })
    pool.wait(1)
    pool.lookUp('spent', 20)
    expect(pool.grant().kind).toBe('grant')
  })

  it('that is learned while a request is on its way is ruled out in it', () => {
    const pool = drivePool([
      { id: 'a', account: null },
      { id: 'b', account: null },
      { id: 'c', account: null },
    ])
    const { keyId, accountId } = pool.grantOf('a')
    for (const id of ['a', 'b']) pool.lookUp(id, 10, { owner: 'org-1' as never })
    const next = pool.grant({ tried: [keyId], notAccounts: [accountId] })
    expect(next.keyId).toBe('c')
  })
})

import { describe, expect, it } from 'vitest'
import { accountId } from '../../src/balancing/ids.ts'
import type { BenchOrder, BenchScope } from '../../src/balancing/settlement.ts'
import { drivePool, type KeySpec, type RouteSpec } from './pool-driver.ts'

const KEYS: readonly KeySpec[] = [
  { id: 'a', account: 'acme', tags: ['cheap'] },
  { id: 'b', account: 'acme', tags: ['cheap', 'batch'] },
  { id: 'c', account: 'globex' },
]

const served = (routes: readonly RouteSpec[], model: string, asked = model): string[] => {
  const pool = drivePool(KEYS, { strategy: 'round-robin', routes })
  const keys = Array.from({ length: 12 }, () => pool.grant({ model, asked }).keyId)
  return [...new Set<string>(keys)].toSorted()
}

describe('a route', () => {
  it.each([
    ['an id', ['c'], ['c']],
    ['a tag', ['tag:cheap'], ['a', 'b']],
    ['an account', ['account:globex'], ['c']],
    ['several of them', ['tag:batch', 'account:globex'], ['b', 'c']],
    ['nothing, which means all', null, ['a', 'b', 'c']],
  ])('takes the keys that are named by %s', (_, keys, expected) => {
    expect(served([{ models: ['vendor/x'], keys }], 'vendor/x')).toEqual(expected)
  })

  it('is the first that matches, by name or by beginning', () => {
    const routes: RouteSpec[] = [
      { models: ['vendor/special'], keys: ['a'] },
      { models: ['other/one', 'vendor/*'], keys: ['b'] },
      { models: ['vendor/special', 'v*'], keys: ['c'] },
    ]
    expect(served(routes, 'vendor/special')).toEqual(['a'])
    expect(served(routes, 'vendor/special-2')).toEqual(['b'])
    expect(served(routes, 'other/one')).toEqual(['b'])
    expect(served(routes, 'other/one-2')).toEqual(['a', 'b', 'c'])
    expect(served(routes, 'value/x')).toEqual(['c'])
    expect(served(routes, 'VENDOR/special')).toEqual(['a', 'b', 'c'])
  })

  it('may be for the caller’s name of a model, or for what that stands for', () => {
    const routes: RouteSpec[] = [{ models: ['fast'], keys: ['a'] }]
    expect(served(routes, 'vendor/x', 'fast')).toEqual(['a'])
    expect(served([{ models: ['vendor/x'], keys: ['b'] }], 'vendor/x', 'fast')).toEqual(['b'])
  })

  it('whose keys can’t serve is refused, with the others’ reason, however free those are', () => {
    const pool = drivePool([...KEYS.slice(0, 2), { id: 'c', disabled: true }], {
      routes: [{ models: ['vendor/x'], keys: ['c'] }],
    })
    expect(pool.refusal({ model: 'vendor/x' })).toMatchObject({
      reasons: { disabled: 1, not_in_route: 2 },
      retryAtMs: null,
    })
    pool.grant({ model: 'vendor/y' })
  })

  it('goes by its own strategy, and remembers its own turns', () => {
    const pool = drivePool(KEYS, {
      strategy: 'priority',
      routes: [{ models: ['turns/*'], strategy: 'round-robin' }],
    })
    const keys = (model: string) => Array.from({ length: 6 }, () => pool.grant({ model }).keyId)
    expect(new Set(keys('other/x'))).toEqual(new Set(['a']))
    const turns = keys('turns/x')
    expect(turns.slice(0, 3)).toEqual(turns.slice(3))
    expect(new Set(turns).size).toBe(3)
  })

  it('by account takes the keys that turn out to be the account’s', () => {
    const pool = drivePool(
      [
        { id: 'a', account: null },
        { id: 'b', account: 'acme' },
      ],
      {
        strategy: 'round-robin',
        routes: [{ models: ['vendor/x'], keys: ['account:acme'] }],
      },
    )
    const keys = () =>
      new Set(Array.from({ length: 6 }, () => pool.grant({ model: 'vendor/x' }).keyId))
    expect(keys().size).toBe(1)
    pool.lookUp('a', null, { owner: accountId('org-1') })
    pool.lookUp('b', null, { owner: accountId('org-1') })
    expect(keys().size).toBe(2)
  })

  it('is in panic by its own keys', () => {
    const pool = drivePool(KEYS, {
      panicRatio: 0.3,
      strategy: 'priority',
      routes: [{ models: ['vendor/x'], keys: ['tag:cheap'] }],
    })
    for (const id of ['a', 'b']) pool.trip(id)
    // No key of the route is closed: panic there. Of the pool's three keys one is closed: no panic.
    expect(pool.grant({ model: 'vendor/x' }).keyId).toBe('a')
    expect(pool.grant({ model: 'vendor/y' }).keyId).toBe('c')
  })
})

describe('several models', () => {
  const models = ['vendor/first', 'vendor/second', 'vendor/third']
  const benched = (scope: BenchScope, untilMs: number): BenchOrder => ({
    scope,
    reason: 'account_rate_limited',
    term: { kind: 'until', untilMs },
  })

  it('are taken in their order', () => {
    expect(drivePool(KEYS).grant({ models }).model).toBe('vendor/first')
  })

  it('that are benched come last, while their benches last', () => {
    const pool = drivePool(KEYS)
    const endsAtMs = pool.now() + 60_000
    pool.fail(pool.grant({ models }), benched('model', endsAtMs))
    expect(pool.grant({ models }).model).toBe('vendor/second')
    pool.fail(pool.grant({ models }), benched('model', endsAtMs))
    expect(pool.grant({ models }).model).toBe('vendor/third')
    pool.at(endsAtMs - 1)
    expect(pool.grant({ models }).model).toBe('vendor/third')
    pool.at(endsAtMs)
    expect(pool.grant({ models }).model).toBe('vendor/first')
  })

  it('that are all benched are taken in their order all the same', () => {
    const pool = drivePool(KEYS)
    for (const model of models) {
      pool.fail(pool.grant({ model }), benched('model', pool.now() + 60_000))
    }
    expect(pool.grant({ models }).model).toBe('vendor/first')
  })

  it('of which no key may serve the first are one less', () => {
    const pool = drivePool(['a'])
    pool.shrug(pool.grant({ models }), benched('account_model', pool.now() + 60_000))
    expect(pool.grant({ models }).model).toBe('vendor/second')
    expect(pool.refusal({ model: 'vendor/first' }).reasons).toEqual({ account_rate_limited: 1 })
    pool.wait(60_000)
    expect(pool.grant({ models }).model).toBe('vendor/first')
  })

  it('have the keys of the first one’s route', () => {
    const pool = drivePool(KEYS, {
      routes: [
        { models: ['vendor/first'], keys: ['c'] },
        { models: ['vendor/second'], keys: ['a'] },
      ],
    })
    pool.fail(pool.grant({ models }), benched('model', pool.now() + 60_000))
    expect(pool.grant({ models })).toMatchObject({ keyId: 'c', model: 'vendor/second' })
  })

  it('leave to the second every key that the first has tried', () => {
    const pool = drivePool(['a'])
    expect(pool.grant({ models, attempt: 'move', tried: ['a'] })).toMatchObject({
      keyId: 'a',
      model: 'vendor/second',
    })
  })
})

import { describe, expect, it } from 'vitest'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const DAY_MS = 24 * 3_600_000

/** Five keys of one account, of two members and two workspaces; one of which nothing is known. */
function anyPool(order: readonly string[] = ['a', 'b', 'c', 'd', 'new']): PoolDriver {
  const pool = drivePool(order.map((id) => ({ id, account: 'acme' })))
  pool.lookUp('a', null, { creator: 'ada', workspace: 'w1' })
  pool.lookUp('b', null, { creator: 'ada', workspace: 'w2' })
  pool.lookUp('c', null, { creator: 'bob', workspace: 'w1' })
  pool.lookUp('d', null, { creator: 'bob', workspace: 'w2' })
  return pool
}

const spent = (scope: BenchOrder['scope'], untilMs: number): BenchOrder => ({
  scope,
  reason: 'account_rate_limited',
  detail: 'budget_layer_spent',
  term: { kind: 'until', untilMs },
})

function servers(pool: PoolDriver): string[] {
  const ids = [...pool.state.keys.keys()]
  return ids.filter((id) => {
    const decided = pool.ask({ tried: ids.filter((other) => other !== id) })
    if (decided.kind === 'grant') pool.give(decided, { outcome: 'ignorable' })
    return decided.kind === 'grant'
  })
}

describe('a budget that is spent', () => {
  it.each([
    ['creator', 'a', ['c', 'd', 'new']],
    ['creator', 'd', ['a', 'b', 'new']],
    ['workspace', 'a', ['b', 'd', 'new']],
    ['workspace', 'd', ['a', 'c', 'new']],
    ['account', 'a', []],
    ['creator', 'new', ['a', 'b', 'c', 'd']],
  ] as const)('of the %s of %s leaves the keys that it does not cover', (scope, failed, left) => {
    for (const order of [undefined, ['new', 'd', 'c', 'b', 'a']]) {
      const pool = anyPool(order)
      const untilMs = pool.now() + 60_000
      pool.shrug(pool.grantOf(failed), spent(scope, untilMs))
      expect(servers(pool).toSorted()).toEqual(left)
      pool.at(untilMs)
      expect(servers(pool)).toHaveLength(5)
    }
  })

  it('is named, and written down once for all keys that it covers', () => {
    const pool = anyPool()
    takeChanges(pool.state)
    const untilMs = pool.now() + 60_000
    pool.shrug(pool.grantOf('a'), spent('workspace', untilMs))
    const { keys, accounts } = takeChanges(pool.state)
    expect([keys.length, accounts.map(({ id }) => id)]).toEqual([0, ['workspace/w1']])
    expect(pool.refusal({ tried: ['b', 'd', 'new'] })).toMatchObject({
      reasons: { budget_layer_spent: 2, already_tried: 3 },
    })
  })

  it('covers a key that comes into the group, and no key that leaves it', () => {
    const pool = anyPool()
    pool.shrug(pool.grantOf('a'), spent('creator', pool.now() + 60_000))
    pool.wait(1)
    pool.lookUp('new', null, { creator: 'ada' })
    pool.lookUp('b', null, { creator: 'bob' })
    expect(servers(pool)).toEqual(['b', 'c', 'd'])
    // An older Worker tells nothing of creators.
    pool.wait(1)
    pool.lookUp('b', null)
    expect(servers(pool)).toEqual(['b', 'c', 'd'])
  })
})

describe('a budget layer in the answer of a lookup', () => {
  it('excludes the key while it is spent, until its reset', () => {
    const pool = drivePool(['a', 'b'])
    const resetsAtMs = pool.now() + DAY_MS
    pool.lookUp('a', 0, { layer: 'member', resetsAtMs, limitUsd: 5 })
    expect(pool.refusal({ tried: ['b'] })).toMatchObject({
      reasons: { budget_layer_spent: 1, already_tried: 1 },
    })
    expect(pool.grant().keyId).toBe('b')
    pool.at(resetsAtMs)
    expect(pool.grantOf('a').keyId).toBe('a')
  })

  it('is not named where the cap decides, or where the key’s own min_credit does', () => {
    const pool = drivePool([{ id: 'a', minCredit: 2 }, 'b'])
    pool.lookUp('a', 1, { layer: 'member' })
    pool.lookUp('b', 0)
    expect(pool.refusal().reasons).toEqual({ below_min_credit: 2 })
  })
})

describe('the counter of free requests', () => {
  const FREE = { model: 'vendor/model:free' }
  const pooled = () =>
    drivePool([
      { id: 'a1', account: 'a' },
      { id: 'a2', account: 'a' },
    ])
  const MIDNIGHT = Date.UTC(2026, 0, 16)

  it('benches the account for free models until midnight, before the first 429', () => {
    const pool = pooled()
    pool.lookUp('a1', null, { freeRemaining: 0 })
    expect(pool.refusal(FREE)).toMatchObject({
      reasons: { free_tier_spent: 2 },
      // The other key has not been looked up yet. Its report may show that there are some left.
      retryAtMs: pool.now() + 1_000,
    })
    expect(pool.grant().kind).toBe('grant')
    pool.at(MIDNIGHT - 1)
    expect(pool.refusal(FREE).reasons).toEqual({ free_tier_spent: 2 })
    pool.at(MIDNIGHT)
    expect(pool.grant(FREE).kind).toBe('grant')
  })

  it.each(['vendor/model:free:online', 'openrouter/free'])('holds for %s as well', (model) => {
    const pool = pooled()
    pool.lookUp('a1', null, { freeRemaining: 0 })
    expect(pool.refusal({ model }).reasons).toEqual({ free_tier_spent: 2 })
  })

  it('ends what it began, by a later answer and not by an earlier one', () => {
    const pool = pooled()
    const askedAtMs = pool.now()
    pool.wait(1_000)
    pool.lookUp('a1', null, { freeRemaining: -1 })
    pool.lookUp('a2', null, { freeRemaining: 5, askedAtMs })
    expect(pool.refusal(FREE).reasons).toEqual({ free_tier_spent: 2 })
    pool.wait(1)
    pool.lookUp('a2', null, { freeRemaining: null })
    expect(pool.refusal(FREE).reasons).toEqual({ free_tier_spent: 2 })
    takeChanges(pool.state)
    pool.wait(1)
    pool.lookUp('a2', null, { freeRemaining: 5 })
    expect(pool.grant(FREE).kind).toBe('grant')
    expect(takeChanges(pool.state).accounts.map(({ id }) => id)).toEqual(['a'])
  })

  it('does not end what a 429 began: the counter is a minute old', () => {
    const pool = pooled()
    const order: BenchOrder = { ...spent('account_free', MIDNIGHT), detail: 'free_tier_spent' }
    pool.shrug(pool.grantOf('a1', FREE), order)
    pool.wait(5_000)
    pool.lookUp('a1', null, { freeRemaining: 0 })
    pool.lookUp('a2', null, { freeRemaining: 3 })
    expect(pool.refusal(FREE).reasons).toEqual({ free_tier_spent: 2 })
  })

  it('of yesterday says nothing', () => {
    const pool = pooled()
    pool.at(MIDNIGHT + 10)
    pool.lookUp('a1', null, { freeRemaining: 0, askedAtMs: MIDNIGHT - 10 })
    expect(pool.grant(FREE).kind).toBe('grant')
  })
})

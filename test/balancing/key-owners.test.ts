import { describe, expect, it } from 'vitest'
import { accountId } from '../../src/balancing/ids.ts'
import { takeChanges } from '../../src/balancing/records/changed-records.ts'
import { drivePool, type PoolDriver } from './pool-driver.ts'

const unnamed = (...ids: string[]) => ids.map((id) => ({ id, account: null }))
const learn = (pool: PoolDriver, id: string, owner: string) =>
  pool.lookUp(id, null, { owner: accountId(owner) })
const carried = (pool: PoolDriver) =>
  Object.fromEntries(
    [...pool.state.accounts.values()].map(({ id, load, keyCount }) => [
      id,
      [keyCount, load.inFlight],
    ]),
  )

describe('a key that turns out to be of another account', () => {
  it('takes what runs on it along, and leaves what others run', () => {
    const pool = drivePool(unnamed('a', 'b'))
    pool.grantOf('a')
    pool.grantOf('a')
    pool.grantOf('b')
    learn(pool, 'b', 'org')
    expect(carried(pool)).toEqual({ 'own/a': [1, 2], org: [1, 1] })
    learn(pool, 'a', 'org')
    expect(carried(pool)).toEqual({ org: [2, 3] })
  })

  it('takes no leases of batches along, which no conversation is kept from', () => {
    const pool = drivePool([{ id: 'a', account: null, maxConcurrent: 8 }])
    pool.grantOf('a')
    pool.wait(10_000)
    pool.grantOf('a', { class: 'batch' })
    learn(pool, 'a', 'org')
    expect(carried(pool)).toEqual({ org: [1, 1] })
  })

  it('is in the routes of its account, and no more in those of the other', () => {
    const routes = [{ models: ['vendor/*'] as const, keys: ['account:org-1'] }]
    const pool = drivePool([...unnamed('a'), { id: 'z', account: 'org-1', disabled: true }], {
      routes,
    })
    const models = ['vendor/model']
    expect(pool.refusal({ models }).reasons).not.toHaveProperty('at_rpm')
    learn(pool, 'a', 'org-1')
    expect(pool.grant({ models }).keyId).toBe('a')
    learn(pool, 'a', 'org-2')
    pool.refusal({ models })
  })

  it('follows no key of the owner that it had before', () => {
    const pool = drivePool([...unnamed('a'), { id: 'b', account: 'acme' }])
    learn(pool, 'a', 'org-1')
    learn(pool, 'a', 'org-2')
    learn(pool, 'b', 'org-1')
    expect(pool.key('a').account.id).toBe('org-2')
    learn(pool, 'a', 'org-1')
    expect(pool.key('a').account.id).toBe('acme')
  })
})

it('a lookup that names no creator leaves the key in its group', () => {
  const pool = drivePool(['a', 'b'])
  for (const id of ['a', 'b']) pool.lookUp(id, null, { creator: 'ada', workspace: 'w' })
  const before = [pool.key('a').creator, pool.key('a').workspace]
  expect(before.map((group) => group?.keyCount)).toEqual([2, 2])
  pool.lookUp('a', null, { creator: null })
  expect([pool.key('a').creator, pool.key('a').workspace]).toEqual(before)
})

it('a key that goes to another account leaves the others with what runs on them', () => {
  const pool = drivePool(unnamed('a', 'b'))
  for (const id of ['a', 'b']) {
    learn(pool, id, 'org-1')
    pool.grantOf(id)
  }
  learn(pool, 'a', 'org-2')
  expect(carried(pool)).toEqual({ 'org-1': [1, 1], 'org-2': [1, 1] })
})

it('a route that names a key and an account takes the keys that turn out to be of it', () => {
  const routes = [{ models: ['vendor/*'], keys: ['b', 'account:org'] }] as const
  const pool = drivePool(unnamed('a', 'b'), { routes })
  expect(pool.grant().keyId).toBe('b')
  expect(pool.refusal({ tried: ['b'] }).reasons).toMatchObject({ not_in_route: 1 })
  learn(pool, 'a', 'org')
  expect(pool.grantOf('a').keyId).toBe('a')
})

it('a key that comes to an account that is out is out with it at once', () => {
  const pool = drivePool(unnamed('a', 'b'))
  learn(pool, 'b', 'org')
  const bench = { scope: 'account', reason: 'account_rate_limited' } as const
  const lease = pool.grantOf('b')
  expect(pool.grantOf('a').keyId).toBe('a')
  pool.shrug(lease, { ...bench, term: { kind: 'for', forMs: 60_000 } })
  learn(pool, 'a', 'org')
  expect(pool.refusal().reasons).toEqual({ account_rate_limited: 2 })
})

it('the groups of a key are written when they are learned, and when they change', () => {
  const pool = drivePool(['a'])
  const written = (creator: string) => {
    pool.lookUp('a', null, { creator })
    return takeChanges(pool.state).keys.map(({ id }) => id)
  }
  expect([written('ada'), written('ada'), written('bob')]).toEqual([['a'], [], ['a']])
})

import { describe, expect, it } from 'vitest'
import { createAffinities, loadOf } from '../../../src/balancing/affinity/affinity.ts'
import {
  accountOf,
  type BudgetGroup,
  createAccount,
  groupOf,
  hasBenchedModel,
  merge,
  ownAccount,
  regroup,
} from '../../../src/balancing/health/account.ts'
import type { Bench } from '../../../src/balancing/health/bench.ts'
import { type AccountId, accountId, keyId, modelId } from '../../../src/balancing/ids.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import type { BenchOrder, BenchScope } from '../../../src/balancing/settlement.ts'
import { drivePool, type KeySpec, type PoolDriver, START_MS } from '../pool-driver.ts'

const owned = (id: string, account: string | null, owner: string | null) => ({
  id: keyId(id),
  config: { account: account === null ? null : accountId(account) },
  owner: owner === null ? null : accountId(owner),
})

/** The account of the first key, among all these keys. */
function accountOfFirst(...keys: readonly ReturnType<typeof owned>[]) {
  const [first] = keys
  return first === undefined ? null : accountOf(first, configuredFor(first, keys))
}

/** The accounts that are configured for keys of the same owner. */
function configuredFor(key: ReturnType<typeof owned>, keys: readonly ReturnType<typeof owned>[]) {
  const ofOwner = keys.filter(({ owner }) => owner === key.owner)
  return new Set(ofOwner.flatMap(({ config }) => config.account ?? []))
}

describe('the account of a key', () => {
  it('is as configured, whoever pays', () => {
    expect(accountOfFirst(owned('a', 'acme', null))).toBe('acme')
    expect(accountOfFirst(owned('a', 'acme', 'org-1'), owned('b', 'globex', 'org-1'))).toBe('acme')
  })

  it('is who pays, where the configuration does not say', () => {
    expect(accountOfFirst(owned('a', null, 'org-1'), owned('b', null, 'org-1'))).toBe('org-1')
  })

  it('is its own while nobody knows who pays', () => {
    const a = owned('a', null, null)
    const b = owned('b', null, null)
    expect(accountOf(a, configuredFor(a, [a, b]))).toBe(ownAccount(a.id))
    expect(accountOf(a, configuredFor(a, [a, b]))).not.toBe(accountOf(b, configuredFor(b, [a, b])))
  })

  it('is the configured one of a key that the same owner pays for', () => {
    expect(accountOfFirst(owned('a', null, 'org-1'), owned('b', 'acme', 'org-1'))).toBe('acme')
    expect(accountOfFirst(owned('a', null, 'org-1'), owned('b', 'acme', 'org-2'))).toBe('org-1')
    expect(accountOfFirst(owned('a', null, 'org-1'), owned('b', 'acme', null))).toBe('org-1')
  })

  it('is who pays where the configuration divides their keys into several accounts', () => {
    const [first, ...others] = [
      owned('a', null, 'org-1'),
      owned('b', 'team-b', 'org-1'),
      owned('c', 'team-c', 'org-1'),
    ] as const
    expect(accountOfFirst(first, ...others)).toBe('org-1')
  })

  it('cannot be mistaken for a configured one by the name of its key', () => {
    // A configured account has no slash in its name.
    expect(ownAccount(keyId('acme'))).toContain('/')
  })
})

const benchUntil = (untilMs: number | null): Bench => ({
  reason: 'account_rate_limited',
  untilMs,
  cure: 'time',
  provenance: 'upstream',
  sinceMs: START_MS,
  hidden: null,
})

const unbenched = () => createAccount(loadOf(createAffinities(0), accountId('acme')))

describe('an account with benched models', () => {
  it('has one as long as the last of them', () => {
    const account = unbenched()
    expect(hasBenchedModel(account, START_MS)).toBe(false)
    account.modelBenches.set(modelId('m1'), benchUntil(START_MS + 1_000))
    account.modelBenches.set(modelId('m2'), benchUntil(START_MS + 2_000))
    expect(hasBenchedModel(account, START_MS + 1_999)).toBe(true)
    expect(hasBenchedModel(account, START_MS + 2_000)).toBe(false)
  })

  it('keeps no bench that it has seen to be over', () => {
    const account = unbenched()
    account.modelBenches.set(modelId('m1'), benchUntil(START_MS + 1_000))
    account.modelBenches.set(modelId('m2'), benchUntil(START_MS + 2_000))
    hasBenchedModel(account, START_MS + 1_000)
    expect([...account.modelBenches.keys()]).toEqual(['m2'])
  })
})

describe('the keys of one budget', () => {
  const [ONE, OTHER] = [groupOf('creator', 'one'), groupOf('workspace', 'other')]

  it('are counted as they come and go, and a group without keys is forgotten', () => {
    const groups = new Map<AccountId, BudgetGroup>()
    const counts = () => Object.fromEntries([...groups].map(([id, { keyCount }]) => [id, keyCount]))
    const one = regroup(groups, null, ONE)
    expect(regroup(groups, null, ONE)).toBe(one)
    expect(counts()).toEqual({ [ONE]: 2 })
    expect(regroup(groups, one, ONE)).toBe(one)
    expect(counts()).toEqual({ [ONE]: 2 })
    expect(regroup(groups, one, OTHER)?.id).toBe(OTHER)
    expect(counts()).toEqual({ [ONE]: 1, [OTHER]: 1 })
    expect(regroup(groups, one, null)).toBeNull()
    expect(counts()).toEqual({ [OTHER]: 1 })
    expect(regroup(groups, null, null)).toBeNull()
    const other = groups.get(OTHER) ?? null
    expect(regroup(groups, other, OTHER)).toBe(other)
    expect(counts()).toEqual({ [OTHER]: 1 })
  })
})

describe('two accounts that turn out to be one', () => {
  it('are benched as the one of them that is benched for longer', () => {
    const from = createAccount(loadOf(createAffinities(0), accountId('from')))
    const into = createAccount(loadOf(createAffinities(0), accountId('into')))
    const [soon, late] = [benchUntil(START_MS + 1_000), benchUntil(START_MS + 9_000)]
    Object.assign(from, { bench: late, freeBench: soon })
    Object.assign(into, { bench: soon, freeBench: late })
    from.modelBenches.set(modelId('m1'), late).set(modelId('m2'), soon)
    into.modelBenches.set(modelId('m2'), late).set(modelId('m3'), soon)
    merge(from, into, START_MS)
    expect(into).toMatchObject({ bench: late, freeBench: late })
    expect(Object.fromEntries(into.modelBenches)).toEqual({ m1: late, m2: late, m3: soon })
  })

  it('keep no bench that neither of them has, and pass on none that is over', () => {
    const from = createAccount(loadOf(createAffinities(0), accountId('from')))
    const into = createAccount(loadOf(createAffinities(0), accountId('into')))
    merge(from, into, START_MS)
    expect(into).toMatchObject({ bench: null, freeBench: null })
    into.bench = benchUntil(START_MS + 1_000)
    from.bench = benchUntil(START_MS - 1)
    merge(from, into, START_MS)
    expect(into.bench?.untilMs).toBe(START_MS + 1_000)
  })

  it.each([
    [1, 2],
    [2, 1],
  ])('were reset when the later of them was (%i, %i)', (fromMs, intoMs) => {
    const [from, into] = [unbenched(), unbenched()]
    from.resetAtMs = fromMs
    into.resetAtMs = intoMs
    merge(from, into, START_MS)
    expect(into.resetAtMs).toBe(2)
  })

  it('have all keys without room that either had', () => {
    const [from, into] = [unbenched(), unbenched()]
    from.keysWithoutRoom.add(keyId('a'))
    into.keysWithoutRoom.add(keyId('b'))
    merge(from, into, START_MS)
    expect([...into.keysWithoutRoom].toSorted()).toEqual(['a', 'b'])
  })
})

const order = (scope: BenchScope, forMs: number): BenchOrder => ({
  scope,
  reason: 'account_rate_limited',
  term: { kind: 'until', untilMs: START_MS + forMs },
})

const unnamed = (...ids: string[]): KeySpec[] => ids.map((id) => ({ id, account: null }))

const learn = (pool: PoolDriver, id: string, owner: string | null) =>
  pool.lookUp(id, null, { owner: owner === null ? null : accountId(owner) })

const accountsOf = (pool: PoolDriver) =>
  [...pool.state.keys.values()].map(({ account }) => account.id)

describe('a pool that learns who pays', () => {
  it('benches all keys of an account once it knows them to be one', () => {
    const pool = drivePool(unnamed('a', 'b', 'c'))
    pool.shrug(pool.grantOf('a'), order('account', 60_000))
    expect(pool.grantOf('b').keyId).toBe('b')
    learn(pool, 'a', 'org-1')
    learn(pool, 'b', 'org-1')
    learn(pool, 'c', 'org-2')
    expect(pool.refusal({ tried: ['c'] }).reasons).toMatchObject({ account_rate_limited: 2 })
    expect(pool.grantOf('c').keyId).toBe('c')
  })

  it('keeps benches of single models and of the free tier through it', () => {
    const pool = drivePool(unnamed('a', 'b'))
    const lease = pool.grantOf('a', { model: 'm' })
    pool.shrug(lease, order('account_model', 60_000), order('account_free', 60_000))
    learn(pool, 'b', 'org-1')
    learn(pool, 'a', 'org-1')
    expect(pool.refusal({ model: 'm' }).reasons).toEqual({ account_rate_limited: 2 })
    expect(pool.refusal({ model: 'any:free' }).reasons).toEqual({ account_rate_limited: 2 })
    expect(pool.grantOf('b', { model: 'other' }).keyId).toBe('b')
  })

  it('does not go to another key of an account that was at fault', () => {
    const pool = drivePool(unnamed('a', 'b', 'c'))
    for (const id of ['a', 'b']) learn(pool, id, 'org-1')
    for (let i = 0; i < 5; i++) {
      expect(pool.grant({ tried: ['a'], notAccounts: ['org-1'] }).keyId).toBe('c')
    }
  })

  it('names the account in its grants, the learned as the configured', () => {
    const pool = drivePool([...unnamed('a'), { id: 'b', account: 'acme' }])
    learn(pool, 'a', 'org-1')
    learn(pool, 'b', 'org-2')
    expect(pool.grantOf('a').accountId).toBe('org-1')
    expect(pool.grantOf('b').accountId).toBe('acme')
  })

  it('gives a key to a configured account when it learns that both are one owner’s', () => {
    const pool = drivePool([...unnamed('a'), { id: 'b', account: 'acme' }])
    learn(pool, 'a', 'org-1')
    expect(accountsOf(pool)).toEqual(['org-1', 'acme'])
    learn(pool, 'b', 'org-1')
    expect(accountsOf(pool)).toEqual(['acme', 'acme'])
    pool.shrug(pool.grantOf('b'), order('account', 60_000))
    expect(pool.refusal().reasons).toEqual({ account_rate_limited: 2 })
  })

  it('forgets nothing when an answer does not say who pays', () => {
    const pool = drivePool(unnamed('a'))
    learn(pool, 'a', 'org-1')
    learn(pool, 'a', null)
    expect(accountsOf(pool)).toEqual(['org-1'])
  })

  it('keeps no account that no key belongs to', () => {
    const pool = drivePool(unnamed('a', 'b'))
    for (const id of ['a', 'b']) learn(pool, id, 'org-1')
    expect([...pool.state.accounts.keys()]).toEqual(['org-1'])
  })

  it('has what it learned written down, and only once', () => {
    const pool = drivePool(unnamed('a'))
    learn(pool, 'a', 'org-1')
    const { keys, accounts } = takeChanges(pool.state)
    expect(keys.map(({ owner }) => owner)).toEqual(['org-1'])
    expect(accounts.map(({ id }) => id)).toEqual(['org-1'])
    learn(pool, 'a', 'org-1')
    expect(takeChanges(pool.state)).toMatchObject({ keys: [], accounts: [], models: null })
  })

  it('comes to the same accounts in whatever order it learns', () => {
    const facts = [
      ['a', 'org-1'],
      ['b', 'org-1'],
      ['c', 'org-2'],
      ['d', 'org-2'],
    ] as const
    const learned = (order: readonly number[]) => {
      const pool = drivePool([...unnamed('a', 'b', 'c'), { id: 'd', account: 'acme' }])
      for (const i of order) {
        const [id, owner] = facts[i] ?? facts[0]
        learn(pool, id, owner)
      }
      return accountsOf(pool)
    }
    const expected = ['org-1', 'org-1', 'acme', 'acme']
    for (const order of [
      [0, 1, 2, 3],
      [3, 2, 1, 0],
      [2, 0, 3, 1],
      [3, 1, 0, 2],
    ]) {
      expect(learned(order)).toEqual(expected)
    }
  })
})

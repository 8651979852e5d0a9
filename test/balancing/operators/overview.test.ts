import { describe, expect, it } from 'vitest'
import { bookCache, NO_CACHE_COUNTERS } from '../../../src/balancing/accounting/cache-counters.ts'
import { MAX_SHOWN, overview } from '../../../src/balancing/operators/overview.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver, usageOf } from '../pool-driver.ts'

const shown = (pool: PoolDriver) => overview(pool.state, pool.now())

const DAY_MS = 24 * 60 * 60_000

describe('the overview of accounts', () => {
  const owners = { creator: 'maker', workspace: 'team' }

  it('adds up their keys: what runs, what was used in all and today, and who owns them', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'acme' },
      { id: 'own', account: null },
    ])
    for (const id of ['a', 'b']) pool.lookUp(id, 10, owners)
    pool.give(pool.grantOf('a'), { usage: usageOf(10, 1, 2) })
    pool.wait(DAY_MS)
    pool.give(pool.grantOf('b'), { usage: usageOf(5, 1, 1) })
    pool.grantOf('a')
    pool.grantOf('b')
    const both = {
      keys: ['a', 'b'],
      inFlight: 2,
      isOwn: false,
      total: { successes: 2, promptTokens: 15, costUsd: 3 },
      today: { successes: 1, promptTokens: 5, costUsd: 1 },
    }
    const { accounts } = shown(pool)
    expect(accounts.map(({ kind, keys }) => [kind, keys])).toEqual([
      ['account', ['a', 'b']],
      ['account', ['own']],
      ['creator', ['a', 'b']],
      ['workspace', ['a', 'b']],
    ])
    const [acme, own, ...groups] = accounts
    for (const group of [acme, ...groups]) expect(group).toMatchObject(both)
    expect(acme).toMatchObject({ id: 'acme', benches: [] })
    expect(own).toMatchObject({ isOwn: true, inFlight: 0, total: { attempts: 0 } })
  })

  it('tells what an account is out for: as a whole, for its free models, and for single models', () => {
    const pool = drivePool([{ id: 'a', account: 'acme' }])
    const sinceMs = pool.now()
    const term = { kind: 'until', untilMs: sinceMs + 60_000 } as const
    const benches: BenchOrder[] = [
      { scope: 'account', reason: 'account_out_of_credit', term },
      { scope: 'account_free', reason: 'account_rate_limited', term },
      { scope: 'account_model', reason: 'account_rate_limited', term },
    ]
    const leases = benches.map(() => pool.grant({ model: 'vendor/m' }))
    for (const [at, lease] of leases.entries()) pool.shrug(lease, benches[at] as BenchOrder)
    const when = { sinceMs, untilMs: sinceMs + 60_000 }
    expect(shown(pool).accounts[0]?.benches).toEqual([
      { of: 'account', model: null, reason: 'account_out_of_credit', ...when },
      { of: 'free_models', model: null, reason: 'account_rate_limited', ...when },
      { of: 'model', model: 'vendor/m', reason: 'account_rate_limited', ...when },
    ])
    pool.wait(60_000)
    expect(shown(pool).accounts[0]?.benches).toEqual([])
  })
})

describe('the overview of clients and groups', () => {
  // Of clients without limits nobody counts what runs.
  const limit = { maxConcurrent: 9 }
  const CLIENTS = Array.from({ length: MAX_SHOWN + 5 }, (_, i) => {
    return { id: `c${i}`, group: `g${i}`, ...limit }
  })

  it('shows those that use the most now, then today, and counts all', () => {
    const groups = CLIENTS.map(({ group }) => ({ id: group, ...limit }))
    const pool = drivePool(['a'], { clients: CLIENTS, groups })
    pool.grant({ client: 'c104' })
    pool.give(pool.grant({ client: 'c103' }), { usage: usageOf(1, 1, 4) })
    for (let i = 0; i < 2; i++) pool.give(pool.grant({ client: 'c102' }))
    const { clients, clientCount, groups: inGroups, groupCount } = shown(pool)
    expect([clientCount, groupCount]).toEqual([105, 105])
    for (const [list, first] of [
      [clients, ['c104', 'c102', 'c103']],
      [inGroups, ['g104', 'g102', 'g103']],
    ] as const) {
      expect(list).toHaveLength(MAX_SHOWN)
      expect(list.slice(0, 3).map(({ terms }) => terms.id)).toEqual(first)
      expect(list[2]).toMatchObject({ today: { attempts: 1, costUsd: 4 }, total: { costUsd: 4 } })
      expect(list[3]).toMatchObject({ today: { attempts: 0 }, total: { attempts: 0 } })
    }
  })

  it('is of today: what was used yesterday is in the total alone', () => {
    const pool = drivePool(['a'], { clients: [{ id: 'client' }] })
    pool.give(pool.grant(), { usage: usageOf(1, 1, 4) })
    pool.wait(DAY_MS)
    const { clients, total, today } = shown(pool)
    expect(clients[0]).toMatchObject({ total: { costUsd: 4 }, today: { costUsd: 0 } })
    expect([total.costUsd, today.costUsd]).toEqual([4, 0])
  })
})

describe('the overview of the queue', () => {
  it('shows its lanes, the largest first, and when the last of each gives up', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], {
      queue: { maxWaiting: 200, maxWaitMs: 9_000 },
    })
    pool.grant()
    pool.waiting({ client: 'small', model: 'm/x' })
    pool.wait(100)
    for (let i = 0; i < 3; i++) {
      pool.waiting({ client: 'large', model: 'm/y', waitMs: 5_000 })
      pool.wait(100)
    }
    const { queue } = shown(pool)
    expect(queue).toMatchObject({ waiting: 4, laneCount: 2, maxWaiting: 200, maxWaitMs: 9_000 })
    expect(queue.lanes).toEqual([
      { client: 'large', model: 'm/y', waiting: 3, lastDeadlineMs: pool.now() - 100 + 5_000 },
      { client: 'small', model: 'm/x', waiting: 1, lastDeadlineMs: pool.now() - 400 + 9_000 },
    ])
  })

  it('shows a hundred lanes, and counts all', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], { queue: { maxWaiting: 200 } })
    pool.grant()
    for (let i = 0; i < MAX_SHOWN + 1; i++) pool.waiting({ client: `c${i}` })
    const { queue } = shown(pool)
    expect([queue.lanes.length, queue.laneCount]).toEqual([MAX_SHOWN, MAX_SHOWN + 1])
  })

  it('is empty while nobody waits', () => {
    expect(shown(drivePool(['a'])).queue).toMatchObject({ waiting: 0, lanes: [], laneCount: 0 })
  })
})

it('the overview tells the routes, with how many keys each selects, and what was shared', () => {
  const pool = drivePool([{ id: 'a', tags: ['fast'] }, 'b'], {
    routes: [{ models: ['m/*'], keys: ['tag:fast'], strategy: 'priority', fallback: ['m/last'] }],
  })
  const counters = { ...NO_CACHE_COUNTERS, hits: 2 }
  bookCache(pool.state.cache, { mark: 'x', counters }, pool.now())
  const { routes, cache, nowMs } = shown(pool)
  expect(routes).toEqual([
    {
      ...{ models: ['m/*'], strategy: 'priority', affinity: 'session' },
      ...{ fallbackModels: ['m/last'], keyCount: 1 },
    },
    {
      ...{ models: ['*'], strategy: 'least-busy', affinity: 'session' },
      ...{ fallbackModels: [], keyCount: 2 },
    },
  ])
  expect([cache, nowMs]).toEqual([{ total: counters, today: counters }, pool.now()])
})

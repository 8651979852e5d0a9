import { describe, expect, it } from 'vitest'
import { noteBatch } from '../../src/balancing/batches/batch-progress.ts'
import type { BenchOrder } from '../../src/balancing/settlement.ts'
import { MAX_BUDGETS_SHOWN, snapshot, usableKeys } from '../../src/balancing/snapshot.ts'
import { budgetOf } from './clients/client-terms.ts'
import { drivePool, usageOf } from './pool-driver.ts'

const MINUTE_MS = 60_000

function bench(reason: BenchOrder['reason'], untilMs: number): BenchOrder {
  return { scope: 'key', reason, term: { kind: 'until', untilMs } }
}

describe('the snapshot', () => {
  it('counts a busy key as usable and an excluded one not, with the reason and its end', () => {
    const pool = drivePool([{ id: 'busy', maxConcurrent: 1 }, 'benched', 'tripped'])
    const untilMs = pool.now() + 5_000
    pool.grantOf('busy')
    pool.shrug(pool.grantOf('benched'), bench('key_spent', untilMs))
    pool.trip('tripped')
    expect(snapshot(pool.state, pool.now())).toMatchObject({
      panic: false,
      usable: 1,
      keys: [
        { id: 'busy', reason: null, clearsAtMs: null, inFlight: 1 },
        { id: 'benched', reason: 'key_spent', clearsAtMs: untilMs, breaker: 'closed' },
        { id: 'tripped', reason: 'breaker_open', clearsAtMs: pool.now() + MINUTE_MS },
      ],
    })
  })

  it('says panic, and counts the keys that panic lets serve', () => {
    const pool = drivePool(['a', 'b'], { panicRatio: 0.5 })
    pool.trip('a')
    pool.trip('b')
    expect(snapshot(pool.state, pool.now())).toMatchObject({ panic: true, usable: 2 })
  })

  it('shows what a key has left, when it expires, how fast it is and how full its limits are', () => {
    const pool = drivePool([{ id: 'a', rpm: 4, tpm: 1_000, maxConcurrent: 1 }, 'unknown'])
    const weekMs = 7 * 24 * 60 * MINUTE_MS
    const expiresAtMs = pool.now() + weekMs
    pool.lookUp('a', 10, { limitUsd: 20, expiresAtMs })
    const askedAtMs = pool.now()
    pool.give(pool.grantOf('a', { tokens: 800 }), {
      usage: usageOf(200, 50, 2.5),
      firstOutputMs: 300,
    })
    pool.grantOf('a', { tokens: 350 })
    pool.waiting({ tried: ['unknown'] })
    const shown = () => snapshot(pool.state, pool.now())
    expect(shown()).toMatchObject({
      waiting: 1,
      keys: [
        {
          credit: { limitUsd: 20, remainingUsd: 7.5, asOfMs: askedAtMs, stale: false },
          expiresAtMs,
          expiresSoon: false,
          latencyMs: 300,
          rpmUsed: 0.5,
          tpmUsed: 0.6,
        },
        { credit: null, expiresAtMs: null, expiresSoon: false, latencyMs: null, rpmUsed: null },
      ],
    })
    pool.wait(1)
    expect(shown().keys[0]?.expiresSoon).toBe(true)
  })

  it('names a key that has too little credit left, and a model that is benched for everybody', () => {
    const pool = drivePool([{ id: 'a', minCredit: 5 }, 'b'])
    const untilMs = pool.now() + 5_000
    pool.lookUp('a', 4, { resetsAtMs: pool.now() + MINUTE_MS })
    const term = { kind: 'until', untilMs } as const
    pool.shrug(pool.grant({ model: 'm' }), {
      scope: 'model',
      reason: 'account_rate_limited',
      term,
    })
    expect(snapshot(pool.state, pool.now())).toMatchObject({
      usable: 1,
      benchedModels: [{ model: 'm', untilMs }],
      keys: [
        { reason: 'below_min_credit', clearsAtMs: pool.now() + MINUTE_MS },
        { reason: null, clearsAtMs: null },
      ],
    })
    pool.wait(5_000)
    expect(snapshot(pool.state, pool.now()).benchedModels).toEqual([])
  })

  it('changes nothing', () => {
    const pool = drivePool([{ id: 'a', rpm: 5, tpm: 500 }, 'b'])
    pool.lookUp('b', 3)
    pool.give(pool.grantOf('a', { tokens: 20 }), { firstOutputMs: 10 })
    pool.trip('a')
    pool.wait(MINUTE_MS - 1)
    const before = structuredClone(pool.state)
    snapshot(pool.state, pool.now())
    expect(pool.state).toEqual(before)
  })
})

it('shows the batches that run, and how many of a key’s leases are theirs', () => {
  const pool = drivePool(['a'])
  const progress = {
    ...{ clientId: 'tester', status: 'in_progress', total: 9, completed: 1, failed: 1 },
    ...{ claimed: 3, expiresAtMs: 5_000 },
  }
  const { running } = pool.state.batches
  noteBatch(running, { id: 'batch_b', ...progress }, false, pool.now())
  noteBatch(running, { id: 'batch_a', ...progress }, false, pool.now())
  pool.grantOf('a')
  pool.grantOf('a', { class: 'batch' })
  const [key] = snapshot(pool.state, pool.now()).keys
  expect([key?.inFlight, key?.batchInFlight]).toEqual([2, 1])
  const ids = (atMs: number) => snapshot(pool.state, atMs).batches.map(({ id }) => id)
  expect(ids(pool.now())).toEqual(['batch_a', 'batch_b'])
  // One that has died, and will never say that it has ended.
  expect(ids(pool.now() + 3 * 60 * 60_000)).toEqual([])
  noteBatch(running, { id: 'batch_a', ...progress }, true, pool.now())
  expect(ids(pool.now())).toEqual(['batch_b'])
  for (let i = 0; i < 200; i += 1) {
    noteBatch(running, { id: `batch_${i}`, ...progress }, false, pool.now())
  }
  expect(running.size).toBe(100)
})

it('names all that is against a key, in the order of the reasons, and when its breaker may close', () => {
  const pool = drivePool(['a', 'b'])
  pool.trip('a')
  const lease = pool.grantOf('b')
  pool.shrug(lease, bench('account_rate_limited', pool.now() + 5_000))
  pool.lookUp('b', -1)
  expect(snapshot(pool.state, pool.now()).keys).toMatchObject([
    { reasons: ['breaker_open'], breaker: 'open', breakerUntilMs: pool.now() + MINUTE_MS },
    {
      reasons: ['account_rate_limited', 'below_min_credit'],
      breaker: 'closed',
      breakerUntilMs: null,
    },
  ])
})

it('counts usable keys as the snapshot does, with panic and without', () => {
  for (const panicRatio of [0, 0.6]) {
    const pool = drivePool(['a', 'b', 'c', { id: 'off', disabled: true }], { panicRatio })
    expect(usableKeys(pool.state, pool.now())).toBe(3)
    pool.trip('a')
    pool.trip('b')
    pool.shrug(pool.grantOf('c'), bench('key_spent', pool.now() + 5_000))
    const { usable, panic } = snapshot(pool.state, pool.now())
    expect([usableKeys(pool.state, pool.now()), usable]).toEqual(panic ? [2, 2] : [0, 0])
    expect(panic).toBe(panicRatio > 0)
  }
})

it('shows the budgets that are used up most, the most used first', () => {
  const budgets = (usd: number) => [budgetOf({ usd, reserveUsd: 0.5 })]
  const many = Array.from({ length: MAX_BUDGETS_SHOWN }, (_, i) => `c${i}`)
  const pool = drivePool(['a'], {
    clients: [
      ...many.map((id) => ({ id, budgets: budgets(1) })),
      ...[
        { id: 'little', budgets: budgets(10) },
        { id: 'most', budgets: budgets(2) },
        { id: 'none', budgets: budgets(0) },
      ],
    ],
  })
  for (const client of ['little', 'most']) {
    pool.give(pool.grant({ client }), { usage: usageOf(1, 1, 1) })
  }
  const shown = snapshot(pool.state, pool.now()).budgets ?? []
  expect(shown).toHaveLength(MAX_BUDGETS_SHOWN)
  expect(
    shown.slice(0, 2).map(({ owner, spentUsd, limitUsd }) => [owner, spentUsd, limitUsd]),
  ).toEqual([
    ['client:most', 1, 2],
    ['client:little', 1, 10],
  ])
})

describe('what the snapshot tells of a key', () => {
  it('is all that is against it, in the order of the reasons', () => {
    const pool = drivePool(['a', 'b'])
    pool.shrug(pool.grantOf('a'), bench('account_rate_limited', pool.now() + MINUTE_MS))
    pool.lookUp('a', 0)
    pool.trip('b')
    pool.key('a').breaker = pool.key('b').breaker
    const [key] = snapshot(pool.state, pool.now()).keys
    expect(key?.reasons).toEqual(['account_rate_limited', 'below_min_credit', 'breaker_open'])
    const { keys } = snapshot(pool.state, pool.now() + 2 * MINUTE_MS)
    expect(keys[0]?.reasons).toEqual(['below_min_credit'])
    // Whatever the order in which it came.
    const other = drivePool(['a'])
    const lease = other.grant()
    const untilMs = other.now() + MINUTE_MS
    const account = { ...bench('account_out_of_credit', untilMs), scope: 'account' } as const
    other.shrug(lease, bench('account_rate_limited', untilMs), account)
    const [shown] = snapshot(other.state, other.now()).keys
    expect(shown?.reasons).toEqual(['account_out_of_credit', 'account_rate_limited'])
  })

  it('is when its credit ends at the present rate, if that is within ninety days', () => {
    const endsInHours = (remainingUsd: number | null) => {
      const pool = drivePool(['a'])
      // A dollar an hour, as far as three hours tell.
      pool.give(pool.grant(), { usage: usageOf(1, 1, 3) })
      pool.wait(1)
      pool.lookUp('a', remainingUsd)
      pool.key('a').spendRate = { usdPerHour: 1, atMs: pool.now() }
      const { credit } = snapshot(pool.state, pool.now()).keys[0] ?? {}
      const endMs = credit?.projectedEndMs ?? null
      return endMs === null ? null : (endMs - pool.now()) / (60 * MINUTE_MS)
    }
    expect(endsInHours(27)).toBe(24)
    expect(endsInHours(90 * 24 + 3)).toBe(90 * 24)
    expect(endsInHours(90 * 24 + 4)).toBeNull()
    expect(endsInHours(null)).toBeNull()
    const idle = drivePool(['a'])
    idle.lookUp('a', 5)
    expect(snapshot(idle.state, idle.now()).keys[0]?.credit?.projectedEndMs).toBeNull()
  })

  it('is what holds for the keys of the last route, which takes every model', () => {
    const pool = drivePool(['a', 'b', 'c'], {
      routes: [
        { models: ['first/*'], keys: ['a'] },
        { models: ['second/*'], keys: ['a', 'b'] },
      ],
    })
    expect(snapshot(pool.state, pool.now()).usable).toBe(3)
    expect(usableKeys(pool.state, pool.now())).toBe(3)
  })
})

it('budgets are shown by what is used of them in the period that runs', () => {
  const of = (id: string, period: 'day' | 'month') => ({
    id,
    budgets: [budgetOf({ usd: 1, period })],
  })
  const pool = drivePool(['a'], { clients: [of('daily', 'day'), of('monthly', 'month')] })
  for (const [client, usd] of [
    ['daily', 0.5],
    ['monthly', 0.25],
  ] as const) {
    pool.give(pool.grant({ client, boundUsd: 0.1 }), { usage: usageOf(1, 1, usd) })
  }
  const owners = () => snapshot(pool.state, pool.now()).budgets.map(({ owner }) => owner)
  expect(owners()).toEqual(['client:daily', 'client:monthly'])
  pool.wait(24 * 60 * MINUTE_MS)
  expect(owners()).toEqual(['client:monthly', 'client:daily'])
})

it('a budget of nothing, of which nothing is used, comes last', () => {
  const pool = drivePool(['a'], {
    clients: [
      { id: 'nothing', budgets: [budgetOf({ usd: 0 })] },
      { id: 'some', budgets: [budgetOf({ usd: 10 })] },
    ],
  })
  pool.give(pool.grant({ client: 'some', boundUsd: 1 }), { usage: usageOf(1, 1, 1) })
  const { budgets } = snapshot(pool.state, pool.now())
  expect(budgets.map(({ owner }) => owner)).toEqual(['client:some', 'client:nothing'])
})

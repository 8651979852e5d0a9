import { describe, expect, it } from 'vitest'
import { explain } from '../../../src/balancing/explanation.ts'
import { accountId, clientId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import { claim, wakeAtMs } from '../../../src/balancing/pool.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver, usageOf } from '../pool-driver.ts'

const MINUTE_MS = 60_000

/** Two keys, of which the big one has no tokens left for `restMs`. */
function smallAndBig(restMs: number) {
  const pool = drivePool([
    { id: 'small', tpm: 1_000 },
    { id: 'big', tpm: 10_000 },
  ])
  pool.give(pool.grantOf('big', { tokens: 10_000 }), { usage: usageOf(10_000, 0, 0) })
  pool.wait(MINUTE_MS - restMs)
  return pool
}

const benchUntil = (untilMs: number): BenchOrder => ({
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'until', untilMs },
})

/** Two busy keys, of which one has too little money for requests from this size on. */
function tooPoor(tooLargeFor: 'key' | 'account', size: number, queue = {}) {
  const pool = drivePool(
    [
      { id: 'poor', maxConcurrent: 1 },
      { id: 'rich', maxConcurrent: 1 },
    ],
    { queue: { maxWaiting: 1_000, ...queue } },
  )
  const refused = pool.grantOf('poor')
  const { model, grantedAtMs = 0 } = refused
  const lease = { clientId: clientId('client'), model, grantedAtMs, tokens: 0, size }
  pool.give(refused, { outcome: 'failure', fault: 'account', tooLargeFor, lease })
  const held = pool.grantOf('poor', { leaseMs: 10 ** 6 })
  pool.grantOf('rich', { leaseMs: 10 ** 6 })
  return { pool, ends: () => pool.give(held) }
}

/** Time passes, and these Workers ask each second. */
function passWithPolls(pool: PoolDriver, leases: readonly string[], ms: number): void {
  for (const endMs = pool.now() + ms; pool.now() < endMs; ) {
    const nextMs = Math.min(pool.now() + 1_000, endMs)
    // The object wakes at the moments that it has noted, and at no other.
    for (let atMs = wakeAtMs(pool.state); atMs !== null && atMs < nextMs; ) {
      pool.at(Math.max(atMs, pool.now() + 1))
      pool.wake()
      atMs = wakeAtMs(pool.state)
    }
    pool.at(Math.max(nextMs, pool.now()))
    for (const lease of leases) claim(pool.state, leaseId(lease), pool.now())
  }
}

describe('a waiter keeps no key from others', () => {
  it('that is too small for it, not even from those of its own model', () => {
    const pool = smallAndBig(5_000)
    pool.waiting({ tokens: 5_000 })
    expect(pool.grant({ tokens: 10, waitMs: 10_000 }).keyId).toBe('small')
  })

  it('that comes free after its deadline', () => {
    const pool = drivePool([
      { id: 'a', tpm: 1_000 },
      { id: 'b', maxConcurrent: 1 },
    ])
    pool.grantOf('b')
    pool.give(pool.grantOf('a', { tokens: 900 }), { usage: usageOf(900, 0, 0) })
    pool.wait(30_000)
    // It waits for b. The tokens of a would be enough for it in half a minute.
    pool.waiting({ model: 'x', tokens: 500 })
    expect(pool.grant({ model: 'y', tokens: 50 }).keyId).toBe('a')
    expect(pool.grant({ model: 'x', tokens: 50 }).keyId).toBe('a')
  })

  it.each(['key', 'account'] as const)(
    'that has too little money for it (its %s), however many there are before those for whom it is enough',
    (tooLargeFor) => {
      const { pool, ends } = tooPoor(tooLargeFor, 1_000)
      for (let i = 0; i < 200; i++) pool.waiting({ lease: `large-${i}`, size: 1_000 + i })
      pool.waiting({ lease: 'small', size: 999 })
      ends()
      expect(pool.inquire('small')).toMatchObject({ kind: 'grant', keyId: 'poor' })
      expect(pool.inquire('large-0')).toMatchObject({ kind: 'waiting' })
    },
  )

  it('that has enough money again', () => {
    const { pool, ends } = tooPoor('key', 1_000, { maxWaitMs: 400_000 })
    pool.waiting({ lease: 'large', size: 5_000 })
    ends()
    const noted = (pool.key('poor').tooLarge?.untilMs ?? 0) - pool.now()
    passWithPolls(pool, ['large'], noted - 1_000)
    expect(pool.inquire('large')).toMatchObject({ kind: 'waiting' })
    passWithPolls(pool, ['large'], 1_000)
    expect(pool.inquire('large')).toMatchObject({ kind: 'grant', keyId: 'poor' })
  })

  it('that comes free after the time of many, and within that of one who came later', () => {
    const pool = drivePool([
      { id: 'a', tpm: 1_000 },
      { id: 'b', maxConcurrent: 1 },
    ])
    pool.grantOf('b')
    pool.give(pool.grantOf('a', { tokens: 900 }), { usage: usageOf(900, 0, 0) })
    pool.wait(55_000)
    for (let i = 0; i < 40; i++) pool.waiting({ tokens: 500, waitMs: 1_000 })
    pool.waiting({ lease: 'patient', tokens: 500, waitMs: 10_000 })
    // Something happens to the key, so that the queue is looked at anew.
    pool.lookUp('a', 10)
    pool.wake()
    passWithPolls(pool, ['patient'], 6_000)
    expect(pool.inquire('patient')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it.each([1, 16, 17, 200])('that has tokens for nobody in the line before it, of %i', (before) => {
    const pool = drivePool(
      [
        { id: 'a', tpm: 1_000 },
        { id: 'b', maxConcurrent: 1 },
      ],
      { queue: { maxWaiting: 1_000 } },
    )
    pool.grantOf('b')
    pool.give(pool.grantOf('a', { tokens: 900 }), { usage: usageOf(900, 0, 0) })
    const running = pool.grantOf('a', { tokens: 60 })
    pool.wait(30_000)
    for (let i = 0; i < before; i++) pool.waiting({ lease: `large-${i}`, tokens: 91 + i })
    pool.waiting({ lease: 'small', tokens: 90 })
    pool.waiting({ lease: 'tiny', tokens: 41 })
    pool.give(running, { usage: usageOf(10, 0, 0) })
    expect(pool.inquire('small')).toMatchObject({ kind: 'grant', keyId: 'a' })
    expect(pool.inquire('tiny')).toMatchObject({ kind: 'waiting' })
  })

  it.each([1, 16, 17, 200])('that has money for nobody in the line before it, of %i', (before) => {
    const pool = drivePool(
      [
        { id: 'a', maxConcurrent: 1, maxSpend: { usd: 1, period: 'day', mode: 'exact' } },
        { id: 'b', maxConcurrent: 1 },
      ],
      { queue: { maxWaiting: 1_000 } },
    )
    pool.give(pool.grantOf('a', { boundUsd: 0.5 }), { usage: usageOf(1, 0, 0.5) })
    pool.grantOf('b', { boundUsd: 0 })
    const running = pool.grantOf('a', { boundUsd: 0.25 })
    for (let i = 0; i < before; i++) pool.waiting({ lease: `dear-${i}`, boundUsd: 0.375 })
    pool.waiting({ lease: 'cheap', boundUsd: 0.125 })
    pool.give(running, { usage: usageOf(1, 0, 0.25) })
    expect(pool.inquire('cheap')).toMatchObject({ kind: 'grant', keyId: 'a' })
    expect(pool.inquire('dear-0')).toMatchObject({ kind: 'waiting' })
  })

  it('that it has tried', () => {
    const pool = drivePool([
      { id: 'a', maxConcurrent: 1 },
      { id: 'b', maxConcurrent: 1 },
    ])
    const [first] = [pool.grantOf('a'), pool.grantOf('b')]
    pool.waiting({ lease: 'mover', tried: ['a'], attempt: 'move' })
    pool.waiting({ lease: 'fresh' })
    pool.give(first)
    expect(pool.inquire('fresh')).toMatchObject({ kind: 'grant', keyId: 'a' })
    expect(pool.inquire('mover')).toMatchObject({ kind: 'waiting' })
  })

  it('while it is a retry that the budget does not pay for', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], {
      retryBudget: { ratio: 0, minPerSecond: 0.1 },
    })
    const holder = pool.grant({ lease: 'holder' })
    pool.waiting({ lease: 'paid', attempt: 'retry' })
    pool.waiting({ lease: 'unpaid', attempt: 'retry' })
    pool.waiting({ lease: 'move', attempt: 'move' })
    pool.give(holder)
    const paid = pool.inquire('paid')
    if (paid?.kind !== 'grant') throw new Error('the first retry is paid for')
    pool.give(paid)
    expect(pool.inquire('move')).toMatchObject({ kind: 'grant' })
  })
})

describe('a waiting retry without budget', () => {
  it('leaves an idle key to a move that comes later', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], {
      retryBudget: { ratio: 0, minPerSecond: 0 },
    })
    const holder = pool.grant()
    pool.waiting({ attempt: 'retry' })
    pool.give(holder)
    pool.wake()
    expect(pool.grant({ attempt: 'move' }).keyId).toBe('a')
  })

  it('gets the idle key as soon as the budget has dripped', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], {
      retryBudget: { ratio: 0, minPerSecond: 0.5 },
    })
    for (let i = 0; i < 5; i++) pool.give(pool.grant({ attempt: 'retry' }))
    const holder = pool.grant()
    pool.waiting({ lease: 'retry', attempt: 'retry' })
    pool.give(holder)
    expect(pool.inquire('retry')).toMatchObject({ kind: 'waiting' })
    const wakeMs = wakeAtMs(pool.state) ?? Number.NaN
    expect(wakeMs - pool.now()).toBeGreaterThan(1_900)
    expect(wakeMs - pool.now()).toBeLessThan(2_100)
    pool.at(wakeMs)
    expect(pool.inquire('retry')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it('gets it when a request pays in', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }, 'b'], {
      retryBudget: { ratio: 1, minPerSecond: 0 },
    })
    const holder = pool.grantOf('a')
    pool.give(pool.grantOf('b', { attempt: 'retry' }))
    pool.waiting({ lease: 'retry', attempt: 'retry', tried: ['b'] })
    pool.give(holder)
    expect(pool.inquire('retry')).toMatchObject({ kind: 'waiting' })
    pool.grantOf('b')
    expect(pool.inquire('retry')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })
})

describe('a key that may serve again', () => {
  it('goes to the one that came first among those who can use it, in whatever lane', () => {
    const pool = drivePool([
      { id: 'a', maxConcurrent: 1 },
      { id: 'b', maxConcurrent: 1, tpm: 100 },
    ])
    const [a, b] = [pool.grantOf('a'), pool.grantOf('b')]
    pool.waiting({ lease: 'large', model: 'x', tokens: 200 })
    pool.waiting({ lease: 'second', model: 'y', tokens: 20 })
    pool.waiting({ lease: 'third', model: 'x', tokens: 20 })
    pool.give(b)
    expect(pool.inquire('second')).toMatchObject({ kind: 'grant', keyId: 'b' })
    pool.give(a)
    expect(pool.inquire('large')).toMatchObject({ kind: 'grant', keyId: 'a' })
    expect(pool.inquire('third')).toMatchObject({ kind: 'waiting' })
  })

  it('wakes the pool at the end of its bench, and does not before', () => {
    const pool = drivePool(['a'])
    const untilMs = pool.now() + 4_000
    pool.shrug(pool.grant(), benchUntil(untilMs))
    pool.waiting({ lease: 'mine' })
    expect(wakeAtMs(pool.state)).toBe(untilMs)
    pool.at(untilMs)
    expect(pool.inquire('mine')).toMatchObject({ kind: 'grant' })
    expect(wakeAtMs(pool.state)).toBeNull()
  })

  it('is kept for the next who waits for its tokens when the first one leaves', () => {
    const pool = smallAndBig(5_000)
    pool.waiting({ lease: 'first', tokens: 9_000 })
    pool.waiting({ lease: 'second', tokens: 5_000 })
    const gone = { ...pool.grant({ tokens: 10 }), leaseId: 'first' as never }
    pool.give(gone, { outcome: 'ignorable' })
    pool.wait(3_000)
    pool.inquire('second')
    pool.wait(2_100)
    pool.refusal({ tokens: 9_000 })
    expect(pool.inquire('second')).toMatchObject({ kind: 'grant', keyId: 'big' })
  })
})

describe('what happens to one key frees another one for a waiter', () => {
  it('when a cheap answer of the first says that those of the other cost less', () => {
    const pool = drivePool(['a', 'b'])
    pool.lookUp('a', 3)
    const cheap = pool.grantOf('b')
    pool.give(pool.grantOf('a'), { usage: usageOf(1, 1, 1.5) })
    pool.grantOf('a')
    pool.waiting({ lease: 'mine', tried: ['b'] })
    pool.give(cheap, { usage: usageOf(1, 1, 0) })
    expect(pool.inquire('mine')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it('when a report about the first ends the bench of their account', () => {
    const pool = drivePool([
      { id: 'a1', account: 'acme' },
      { id: 'a2', account: 'acme' },
      { id: 'b', maxConcurrent: 1 },
    ])
    pool.grantOf('b')
    pool.shrug(pool.grantOf('a1'), {
      scope: 'account',
      reason: 'account_out_of_credit',
      term: { kind: 'lookup', lapseMs: 300_000 },
    })
    pool.waiting({ lease: 'mine', tried: ['a1'] })
    pool.lookUp('a1', 5, { balanceUsd: 5 })
    expect(pool.inquire('mine')).toMatchObject({ kind: 'grant', keyId: 'a2' })
  })

  it('when the failure of the first begins panic', () => {
    const pool = drivePool(['a', 'b'], {
      panicRatio: 0.5,
      breaker: { failures: 1, windowMs: 60_000, cooldownMs: 5_000, maxCooldownMs: 5_000 },
    })
    pool.trip('a')
    const running = pool.grantOf('b', { model: 'only/b' })
    pool.waiting({ lease: 'mine', tried: ['b'] })
    pool.fail(running)
    expect(pool.inquire('mine')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })
})

describe('what time alone frees goes to a waiter', () => {
  const FAILS_ONCE = { failures: 1, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 60_000 }

  it('when the day of a max_spend ends that running requests had used up', () => {
    const maxSpend = { usd: 3, period: 'day', mode: 'exact' } as const
    const pool = drivePool([{ id: 'a', maxSpend }])
    pool.give(pool.grant(), { usage: usageOf(1, 1, 2) })
    const midnightMs = pool.now() + 12 * 60 * MINUTE_MS
    pool.at(midnightMs - 5_000)
    pool.grant({ boundUsd: 1 })
    pool.waiting({ lease: 'mine', boundUsd: 1 })
    expect(wakeAtMs(pool.state)).toBe(midnightMs)
    pool.at(midnightMs)
    expect(pool.inquire('mine')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it.each(['creator', 'workspace'] as const)('when the bench of its %s lapses', (scope) => {
    const pool = drivePool(['a', { id: 'b', maxConcurrent: 1 }])
    pool.lookUp('a', 5, { [scope]: accountId('one') })
    const term = { kind: 'lookup', lapseMs: 300_000 } as const
    pool.shrug(pool.grantOf('a'), { scope, reason: 'account_rate_limited', term })
    const lapsesAtMs = pool.key('a')[scope]?.bench?.untilMs ?? Number.NaN
    pool.at(lapsesAtMs - 5_000)
    pool.grantOf('b')
    pool.waiting({ lease: 'mine' })
    expect(wakeAtMs(pool.state)).toBe(lapsesAtMs)
    pool.at(lapsesAtMs)
    expect(pool.inquire('mine')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })

  it('when the end of a bench for its model begins panic', () => {
    const pool = drivePool(['a'], { panicRatio: 0.5, breaker: FAILS_ONCE })
    const running = pool.grant({ model: 'only/a' })
    const untilMs = pool.now() + 4_000
    pool.shrug(pool.grant({ model: 'x' }), {
      scope: 'account_model',
      reason: 'account_rate_limited',
      term: { kind: 'until', untilMs },
    })
    pool.fail(running)
    pool.waiting({ lease: 'mine', model: 'x' })
    // Another model takes the key in panic. So the key is looked at for those who wait.
    pool.grant({ model: 'y' })
    expect(wakeAtMs(pool.state)).toBe(untilMs)
    pool.at(untilMs)
    expect(pool.inquire('mine')).toMatchObject({ kind: 'grant', keyId: 'a' })
  })
})

describe('a waiter whose Worker is gone', () => {
  it('wakes nobody', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    pool.grant()
    pool.waiting({ waitMs: 1_000 })
    let wakes = 0
    const endMs = pool.now() + 5_000
    for (
      let atMs = wakeAtMs(pool.state);
      atMs !== null && atMs < endMs;
      atMs = wakeAtMs(pool.state)
    ) {
      wakes += 1
      // The shortest pause of the pool's object.
      pool.at(Math.max(atMs, pool.now() + 25))
      pool.wake()
    }
    expect(wakes).toBe(0)
  })

  it('is forgotten, with what was kept for it, five seconds after it last asked', () => {
    const pool = smallAndBig(9_000)
    pool.waiting({ tokens: 9_000 })
    pool.waiting({ lease: 'next', tokens: 2_000 })
    for (let second = 0; second < 6; second++) {
      pool.wait(1_000)
      pool.inquire('next')
    }
    expect(pool.state.queue.size).toBe(1)
    expect([...pool.state.queue.claims.values()].map(({ request }) => request.leaseId)).toEqual([
      'next',
    ])
  })
})

describe('the explanation of a request', () => {
  const question = {
    asked: modelId('x'),
    models: [modelId('x')],
    affinity: null,
    tokens: 10,
  } as const
  const explained = (pool: ReturnType<typeof drivePool>) =>
    explain(pool.state, question, pool.now(), () => 0.5)

  it('says that it would wait where it would', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    pool.grant()
    expect(explained(pool)).toMatchObject({ chosen: null, waits: true })
    const disabled = drivePool([{ id: 'a', disabled: true }])
    expect(explained(disabled)).not.toHaveProperty('waits')
    const full = drivePool([{ id: 'a', maxConcurrent: 1 }], { queue: { maxWaiting: 0 } })
    full.grant()
    expect(explained(full)).not.toHaveProperty('waits')
  })

  it('does not choose a key that is kept for a waiter', () => {
    const pool = drivePool([{ id: 'big', tpm: 10_000 }])
    pool.give(pool.grantOf('big', { tokens: 9_000 }), { usage: usageOf(9_000, 0, 0) })
    pool.wait(MINUTE_MS - 5_000)
    pool.waiting({ tokens: 5_000 })
    expect(explained(pool)).toMatchObject({ chosen: null, waits: true })
    expect(pool.ask({ tokens: 10, waitMs: 10_000 })).toMatchObject({ kind: 'waiting' })
  })
})

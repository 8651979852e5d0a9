import { describe, expect, it } from 'vitest'
import { keyId, leaseId } from '../../../src/balancing/ids.ts'
import { forget } from '../../../src/balancing/queue/waiting-queue.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { orderOnly } from '../operators/operator-order.ts'
import { drivePool, type PoolDriver, usageOf } from '../pool-driver.ts'

const A = keyId('a')
const BENCH = { scope: 'key', reason: 'account_rate_limited' } as const

/** Keys of which each serves one request at a time, and all are busy. */
function busy(ids: readonly string[], setup = {}) {
  const pool = drivePool(
    ids.map((id) => ({ id, maxConcurrent: 1 })),
    setup,
  )
  const leases = ids.map((id) => pool.grantOf(id))
  /** Frees keys, and nobody has said so yet. */
  const free = (...freed: readonly string[]) => {
    for (const id of freed) pool.key(id).inFlight = 0
  }
  return { pool, leases, free }
}

const answerFor = (pool: PoolDriver, id: string) => {
  const lease = pool.state.leases.live.get(leaseId(id))
  if (lease?.kind === 'running') return `${lease.keyId} ${lease.model}`
  return pool.state.queue.waiters.get(leaseId(id))?.state ?? 'nothing'
}

describe('a key that is free is offered to the queue before a newcomer gets it', () => {
  it('whatever has freed it', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    const term = { kind: 'until', untilMs: pool.now() + 1_000 } as const
    pool.shrug(pool.grant(), { scope: 'key', reason: 'account_rate_limited', term })
    pool.waiting({ lease: 'mine', model: 'm/x' })
    const { queue } = pool.state
    queue.moments.clear()
    queue.nextMomentMs = Number.POSITIVE_INFINITY
    pool.wait(1_000)
    expect(pool.ask({ lease: 'newcomer', waitMs: 5_000 })).toMatchObject({ kind: 'waiting' })
    expect(answerFor(pool, 'mine')).toBe('a m/x')
  })

  it('and is kept for one who lacks only tokens', () => {
    const pool = drivePool([{ id: 'a', tpm: 1_000 }])
    pool.grant({ tokens: 500 })
    pool.wait(55_000)
    pool.waiting({ lease: 'mine', tokens: 900 })
    forget(pool.state.queue, A)
    expect(pool.ask({ tokens: 100, waitMs: 9_000 })).toMatchObject({ kind: 'waiting' })
    expect(pool.state.queue.claims.get(A)?.request.leaseId).toBe('mine')
  })

  it('in panic the closed ones first', () => {
    const { pool, free, leases } = busy(['a', 'b'], { panicRatio: 0.6 })
    const [ofA] = leases
    if (ofA !== undefined) pool.fail(ofA)
    pool.trip('a')
    pool.grantOf('a')
    pool.waiting({ lease: 'mine' })
    free('a', 'b')
    for (const id of ['a', 'b']) pool.state.queue.changed.add(keyId(id))
    pool.wake()
    expect(answerFor(pool, 'mine')).toBe('b vendor/model')
    expect(pool.grant().keyId).toBe('a')
  })
})

describe('a key goes to nobody', () => {
  it('whose route does not select it, by any of its selectors', () => {
    const pool = drivePool(
      [
        { id: 'slow', maxConcurrent: 1 },
        { id: 'fast', maxConcurrent: 1, tags: ['fast'] },
        { id: 'other', maxConcurrent: 1 },
      ],
      { routes: [{ models: ['named/m'], keys: ['id-of-none', 'tag:fast', 'other'] }] },
    )
    const [slow, fast, other] = ['slow', 'fast', 'other'].map((id) => pool.grantOf(id))
    for (const lease of ['first', 'second']) pool.waiting({ lease, model: 'named/m' })
    for (const lease of [slow, fast, other]) if (lease !== undefined) pool.give(lease)
    pool.wake()
    expect([answerFor(pool, 'first'), answerFor(pool, 'second')]).toEqual([
      ...['fast named/m', 'other named/m'],
    ])
    expect(pool.key('slow').inFlight).toBe(0)
  })

  it('who has tried it, but with another model', () => {
    const { pool, free } = busy(['a', 'b'])
    const tried = { tried: ['a'], attempt: 'move' } as const
    pool.waiting({ lease: 'one', models: ['m/x'], ...tried })
    pool.waiting({ lease: 'two', models: ['m/x', 'm/y'], ...tried })
    free('a')
    pool.state.queue.changed.add(A)
    pool.wake()
    expect(answerFor(pool, 'one')).toBe('waits')
    expect(answerFor(pool, 'two')).toBe('a m/y')
  })
})

const START = drivePool(['a'])

describe('who waits for a key has it looked at again', () => {
  const until = (forMs: number): Omit<BenchOrder, 'scope'> => ({
    reason: 'account_rate_limited',
    term: { kind: 'until', untilMs: START.now() + forMs },
  })
  const orders: readonly (readonly [string, BenchOrder, number | null])[] = [
    ['when its bench ends', { scope: 'key', ...until(4_000) }, 4_000],
    ['when that of its account ends', { scope: 'account', ...until(4_000) }, 4_000],
    ['when that of its model ends', { scope: 'account_model', ...until(4_000) }, 4_000],
    ['a millisecond before the time is over', { scope: 'key', ...until(9_999) }, 9_999],
    ['and not when the time is over', { scope: 'key', ...until(10_000) }, null],
    [
      'and not for what only a lookup ends',
      { scope: 'key', reason: 'key_spent', term: { kind: 'lookup', lapseMs: null } },
      null,
    ],
  ]
  it.each(orders)('%s', (_, bench, momentMs) => {
    const pool = drivePool(['a', { id: 'soon' }])
    pool.shrug(pool.grantOf('a'), bench)
    pool.shrug(pool.grantOf('soon'), { scope: 'key', ...until(1_000) })
    pool.waiting({ waitMs: 10_000 })
    const { moments } = pool.state.queue
    expect(moments.get(keyId('soon'))).toBe(pool.now() + 1_000)
    expect(moments.get(A) ?? null).toBe(momentMs === null ? null : pool.now() + momentMs)
    // The same is noted when it is looked at in vain.
    moments.clear()
    pool.state.queue.changed.add(A)
    pool.wake()
    expect(moments.get(A) ?? null).toBe(momentMs === null ? null : pool.now() + momentMs)
  })

  it.each([
    [0, null],
    [1, 1],
    [9_999, 9_999],
    [10_000, null],
  ])('when it has money for large requests again, in %i ms', (inMs, momentMs) => {
    const { pool, free } = busy(['a', 'b'])
    pool.waiting({ size: 50, tried: ['b'], waitMs: 10_000, model: 'm/x' })
    const untilMs = pool.now() + inMs
    pool.key('a').tooLarge = { keyId: A, size: 10, sinceMs: pool.now() - 5, untilMs }
    if (inMs > 0) free('a')
    pool.state.queue.changed.add(A)
    pool.wake()
    const noted = pool.state.queue.moments.get(A) ?? null
    expect(noted).toBe(momentMs === null ? null : pool.now() + momentMs)
  })

  it('and not by time alone, nor by the cost of others, if it only serves as many as it may', () => {
    const { pool } = busy(['a'])
    pool.waiting()
    const { moments, overspent } = pool.state.queue
    expect([moments.size, overspent.size]).toEqual([0, 0])
  })

  it('when a bench of its model lapses that a lookup may end', () => {
    const pool = drivePool(['a', 'soon'])
    const term = { kind: 'lookup', lapseMs: 4_000 } as const
    pool.shrug(pool.grantOf('soon'), { scope: 'key', ...until(1_000) })
    pool.shrug(pool.grant(), { scope: 'account_model', reason: 'account_out_of_credit', term })
    pool.waiting()
    const [bench] = pool.key('a').account.modelBenches.values()
    expect(pool.state.queue.moments.get(A)).toBe(bench?.untilMs)
  })

  it('when a bench of another model ends not', () => {
    const pool = drivePool(['a'])
    const bench = (scope: BenchOrder['scope'], model: string, forMs: number) =>
      pool.shrug(pool.grant({ model }), { scope, ...until(forMs) })
    bench('account_model', 'm/other', 2_000)
    bench('key', 'm/x', 4_000)
    pool.waiting({ model: 'm/x' })
    expect(pool.state.queue.moments.get(A)).toBe(pool.now() + 4_000)
  })

  it.each([
    ['when its cap resets', 5_000],
    ['or when they cost less, if its cap never resets', null],
  ])('if what runs is expected to cost all that it has left: %s', (_, resetMs) => {
    const pool = drivePool([{ id: 'a', minCredit: 1 }])
    const resetsAtMs = resetMs === null ? null : pool.now() + resetMs
    pool.lookUp('a', 3, { resetsAtMs })
    pool.give(pool.grant(), { usage: usageOf(1, 1, 1) })
    pool.grant()
    pool.waiting()
    const { moments, overspent } = pool.state.queue
    expect([moments.get(A) ?? null, [...overspent]]).toEqual([resetsAtMs, ['a']])
  })

  it('when it has tokens again, and not later than its Worker may be gone', () => {
    for (const [restMs, momentMs] of [
      [3_000, 3_000],
      [8_000, 5_001],
    ] as const) {
      const pool = drivePool([{ id: 'a', tpm: 1_000 }])
      pool.give(pool.grant({ tokens: 1_000 }))
      pool.wait(60_000 - restMs)
      pool.waiting({ tokens: 900, waitMs: 10_000 })
      const moment = pool.state.queue.moments.get(A) ?? 0
      expect(Math.abs(moment - pool.now() - momentMs)).toBeLessThan(1_001)
    }
  })
})

describe('retries that only the budget keeps waiting', () => {
  it('are served in the order in which they came, over all lanes', () => {
    const { pool, leases } = busy(['a', 'b'], {
      retryBudget: { ratio: 0, minPerSecond: 0 },
      routes: [{ models: ['named/x', 'named/y'] }],
    })
    for (const [lease, model] of [
      ['first', 'named/y'],
      ['second', 'named/x'],
      ['third', 'named/y'],
    ] as const) {
      pool.waiting({ lease, model, attempt: 'retry' })
    }
    for (const lease of leases) pool.give(lease)
    pool.wake()
    expect(answerFor(pool, 'first')).toBe('waits')
    Object.assign(pool.state.policy.retryBudget, { minPerSecond: 100 })
    pool.wait(1_000)
    pool.state.queue.paidAtMs = pool.now()
    pool.wake()
    const answers = ['first', 'second', 'third'].map((lease) => answerFor(pool, lease))
    expect(answers.slice(0, 2).every((answer) => answer !== 'waits')).toBe(true)
    expect(answers[2]).toBe('waits')
  })
})

it('a retry with another model than the failed one is not for the budget to pay', () => {
  const { pool, leases } = busy(['a', 'b'], { retryBudget: { ratio: 0, minPerSecond: 0 } })
  const [, ofB] = leases
  if (ofB !== undefined) pool.give(ofB)
  const failed = pool.grantOf('b', { model: 'm/x' })
  pool.waiting({ lease: 'mine', models: ['m/x', 'm/y'], attempt: 'retry', tried: ['b'] })
  const term = { kind: 'until', untilMs: pool.now() + 60_000 } as const
  pool.shrug(failed, { scope: 'model', reason: 'account_rate_limited', term })
  pool.wake()
  expect(answerFor(pool, 'mine')).toBe('b m/y')
})

describe('an operator’s halt refuses those who wait for nothing any more', () => {
  const states = (pool: PoolDriver, ...ids: readonly string[]) =>
    ids.map((id) => pool.state.queue.waiters.get(leaseId(id))?.state ?? 'gone')

  it('all of a line, but those who have left it, and nobody of whom a key has come free', () => {
    const { pool, leases } = busy(['a', 'b'])
    const [ofA, ofB] = leases
    const untilMs = pool.now() + 1_000
    const term = { kind: 'until', untilMs } as const
    if (ofB !== undefined) pool.shrug(ofB, { ...BENCH, term })
    const lane = { tried: ['b'], attempt: 'move' } as const
    for (const lease of ['one', 'two', 'three']) pool.waiting({ lease, ...lane })
    pool.waiting({ lease: 'served' })
    // Its Worker says that it wants no lease any more.
    if (ofA !== undefined) pool.give({ ...ofA, leaseId: leaseId('two') }, { outcome: 'ignorable' })
    pool.at(untilMs)
    orderOnly(pool, 'pause', 'a')
    expect(states(pool, 'one', 'two', 'three', 'served')).toEqual([
      ...['refused', 'gone', 'refused', 'waits'],
    ])
    expect(pool.state.queue.decided).toEqual(['one', 'three'])
    pool.wake()
    expect(answerFor(pool, 'served')).toBe('b vendor/model')
  })

  it('also where one of its keys is paused and the other drains', () => {
    const { pool } = busy(['a', 'b'])
    pool.waiting({ lease: 'mine' })
    orderOnly(pool, 'pause', 'a')
    expect(states(pool, 'mine')).toEqual(['waits'])
    orderOnly(pool, 'drain', 'b')
    expect(states(pool, 'mine')).toEqual(['refused'])
  })

  it('but not those whom something else keeps, which a lookup may end', () => {
    const routes = [{ models: ['only/a'], keys: ['a'] }] as const
    const { pool, leases } = busy(['a', 'b'], { routes })
    pool.waiting({ lease: 'mine', model: 'only/a' })
    const [ofA] = leases
    const term = { kind: 'lookup', lapseMs: null } as const
    if (ofA !== undefined) pool.shrug(ofA, { scope: 'key', reason: 'key_spent', term })
    orderOnly(pool, 'pause', 'b')
    expect(states(pool, 'mine')).toEqual(['waits'])
  })

  it('and takes no notice of a line in which nobody lives', () => {
    const { pool } = busy(['a'])
    pool.waiting({ lease: 'mine', waitMs: 1_000 })
    pool.wait(1_000)
    orderOnly(pool, 'pause', 'a')
    expect(states(pool, 'mine')).toEqual(['waits'])
  })
})

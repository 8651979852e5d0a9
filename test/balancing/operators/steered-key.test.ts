import { describe, expect, it } from 'vitest'
import { modelId } from '../../../src/balancing/ids.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { drivePool } from '../pool-driver.ts'
import { order, orderOnly } from './operator-order.ts'

describe('a halt', () => {
  it.each([
    ['pause', 'paused'],
    ['drain', 'draining'],
  ] as const)('by %s that is ordered twice is of the first time', (kind, halt) => {
    const pool = drivePool(['a'])
    pool.grant()
    order(pool, kind, 'a')
    const sinceMs = pool.now()
    pool.wait(1_000)
    order(pool, kind, 'a')
    expect(pool.key('a').halt).toEqual({ kind: halt, sinceMs })
    // Another halt is a new one.
    order(pool, kind === 'pause' ? 'drain' : 'pause', 'a')
    expect(pool.key('a').halt?.sinceMs).toBe(pool.now())
  })

  it('has all keys looked at for those who wait, and none while nobody does', () => {
    const pool = drivePool(['a', { id: 'b', maxConcurrent: 1 }, { id: 'c', maxConcurrent: 1 }])
    orderOnly(pool, 'pause', 'a')
    expect(pool.state.queue.changed.size).toBe(0)
    for (const id of ['b', 'c']) pool.grantOf(id)
    pool.waiting()
    orderOnly(pool, 'resume', 'a')
    expect([...pool.state.queue.changed].toSorted()).toEqual(['a', 'b', 'c'])
  })

  it.each(['pause', 'drain', 'resume', 'reset'] as const)(
    'a %s refuses those who wait for a halted key only if it halts',
    (kind) => {
      const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
      pool.grant()
      pool.waiting()
      orderOnly(pool, kind, 'a')
      expect(pool.state.queue.size).toBe(kind === 'pause' || kind === 'drain' ? 0 : 1)
    },
  )
})

describe('a reset', () => {
  const term = { kind: 'for', forMs: 60_000 } as const
  it.each<[BenchOrder['scope'], string]>([
    ['key', 'm/x'],
    ['key_model', 'm/x'],
    ['account', 'm/x'],
    ['account_model', 'm/x'],
    ['account_free', 'm/x:free'],
    ['creator', 'm/x'],
    ['workspace', 'm/x'],
  ])('lets a key serve that a bench of %s kept out, for its sisters too', (scope, model) => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'acme' },
    ])
    for (const id of ['a', 'b']) pool.lookUp(id, null, { creator: 'ada', workspace: 'w' })
    pool.state.changes.accounts.clear()
    pool.shrug(pool.grantOf('a', { model }), { scope, reason: 'account_rate_limited', term })
    expect(pool.ask({ model, tried: ['b'] })).toMatchObject({ kind: 'refusal' })
    pool.wait(1)
    order(pool, 'reset', 'a')
    expect(pool.grantOf('a', { model }).keyId).toBe('a')
    expect(pool.grantOf('b', { model }).keyId).toBe('b')
  })

  it('forgets who was too poor for what, and that a key had no room', () => {
    const pool = drivePool([{ id: 'a', account: 'acme' }])
    const key = pool.key('a')
    const note = { keyId: key.id, size: 10, sinceMs: pool.now(), untilMs: pool.now() + 60_000 }
    Object.assign(key, { tooLarge: note, affordableTokens: 5, strikes: 2, struckAtMs: 7 })
    key.account.tooLarge = note
    key.modelBenches.set(modelId('m/x'), {
      ...{ reason: 'account_rate_limited', untilMs: pool.now() + 60_000, cure: 'time' },
      ...{ provenance: 'upstream', sinceMs: pool.now(), hidden: null },
    } as never)
    order(pool, 'reset', 'a')
    expect(key).toMatchObject({
      ...{ tooLarge: null, affordableTokens: null, strikes: 0, struckAtMs: 0 },
      ...{ modelBenches: new Map(), account: { tooLarge: null, resetAtMs: pool.now() } },
    })
    expect(pool.state.changes.accounts.has(key.account.id)).toBe(true)
  })
})

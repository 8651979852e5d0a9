import { expect, it } from 'vitest'
import { outOfUse, transitions } from '../../../src/balancing/serving/out-of-use.ts'
import type { BenchReason, BenchScope } from '../../../src/balancing/settlement.ts'
import { orderOnly } from '../operators/operator-order.ts'
import { drivePool, type KeySpec, type PoolDriver, START_MS, usageOf } from '../pool-driver.ts'

const ENDS_MS = START_MS + 3_600_000

const benched = (scope: BenchScope, reason: BenchReason = 'account_rate_limited') => {
  return (pool: PoolDriver) => {
    pool.lookUp('a', null, { creator: 'carol' })
    const term = { kind: 'until', untilMs: ENDS_MS } as const
    pool.shrug(pool.grantOf('a'), { scope, reason, term })
  }
}

const KEY = { what: 'key', id: 'a' } as const

/** What happens, what is out of use then, and how the key is configured. */
const CASES: readonly [string, (pool: PoolDriver) => void, object | null, Partial<KeySpec>?][] = [
  ['nothing', () => undefined, null],
  ['a key that is disabled', (pool) => pool.lookUp('a', 0), null, { disabled: true }],
  [
    'a halt',
    (pool) => {
      benched('key')(pool)
      orderOnly(pool, 'pause', 'a')
    },
    { ...KEY, reason: 'paused', untilMs: null },
  ],
  ['a bench', benched('key'), { ...KEY, reason: 'account_rate_limited', untilMs: ENDS_MS }],
  [
    'a bench of the account',
    benched('account', 'account_out_of_credit'),
    { what: 'account', id: 'account-of-a', reason: 'account_out_of_credit', untilMs: ENDS_MS },
  ],
  [
    'a bench of its free models',
    benched('account_free'),
    { what: 'account', id: 'account-of-a', reason: 'account_rate_limited', untilMs: ENDS_MS },
  ],
  [
    'a bench of the keys of a creator',
    benched('creator', 'key_spent'),
    { what: 'account', id: 'creator/carol', reason: 'key_spent', untilMs: ENDS_MS },
  ],
  [
    'a model that has failed',
    benched('model'),
    { what: 'model', id: 'vendor/model', reason: 'model_failed', untilMs: START_MS + 300_000 },
  ],
  [
    'the minimum of credit',
    (pool) => pool.lookUp('a', 0, { resetsAtMs: ENDS_MS }),
    { ...KEY, reason: 'below_min_credit', untilMs: ENDS_MS },
  ],
  [
    'a max_spend',
    (pool) => pool.give(pool.grantOf('a'), { usage: usageOf(1, 1, 2) }),
    { ...KEY, reason: 'at_max_spend', untilMs: Date.UTC(2026, 0, 16) },
    { maxSpend: { usd: 1, period: 'day' } },
  ],
  [
    'an open breaker',
    (pool) => pool.trip('a'),
    { ...KEY, reason: 'breaker_open', untilMs: START_MS + 60_000 },
  ],
  [
    'a breaker that is probed',
    (pool) => {
      pool.trip('a')
      pool.wait(60_000)
      pool.grantOf('a')
    },
    { ...KEY, reason: 'breaker_open', untilMs: null },
  ],
]

it.each(CASES)('out of use: %s', (_, happens, out, spec = {}) => {
  const pool = drivePool([{ id: 'a', ...spec }, 'b'])
  const before = outOfUse(pool.state, pool.now())
  expect([...before]).toEqual([])
  happens(pool)
  const after = outOfUse(pool.state, pool.now())
  expect([...after.values()]).toEqual(out === null ? [] : [out])
  const told = out === null ? [] : [out]
  expect(transitions(before, after)).toEqual(told.map((one) => ({ kind: 'out', ...one })))
  expect(transitions(after, after)).toEqual([])
  expect(transitions(after, before)).toEqual(told.map((one) => ({ kind: 'back', ...one })))
})

it('what is out for another reason than before is told of again', () => {
  const pool = drivePool(['a', 'b'])
  benched('key')(pool)
  const before = outOfUse(pool.state, pool.now())
  orderOnly(pool, 'pause', 'a')
  const after = outOfUse(pool.state, pool.now())
  expect(transitions(before, after)).toMatchObject([{ kind: 'out', reason: 'paused' }])
  expect(transitions(after, before)).toMatchObject([
    { kind: 'out', reason: 'account_rate_limited' },
  ])
})

it('what has ended by time is in use', () => {
  const pool = drivePool(['a', 'b'])
  for (const scope of ['key', 'account', 'account_free', 'model'] as const) {
    const lease = pool.grantOf('b', { model: 'vendor/model' })
    const term = { kind: 'until', untilMs: pool.now() + 60_000 } as const
    pool.shrug(lease, { scope, reason: 'account_rate_limited', term })
    pool.wait(60_000)
  }
  expect([...outOfUse(pool.state, pool.now())]).toEqual([])
})

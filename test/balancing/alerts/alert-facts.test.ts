import { describe, expect, it } from 'vitest'
import { causesOf, toldBudget } from '../../../src/balancing/alerts/alert-causes.ts'
import type { AlertPolicy } from '../../../src/balancing/alerts/alert-policy.ts'
import { hasAlertChanges, watchForAlerts } from '../../../src/balancing/alerts/alert-watch.ts'
import {
  createAlerts,
  followCauses,
  noteUnknownError,
  takeAlertRecords,
} from '../../../src/balancing/alerts/alerts.ts'
import { quotaOf } from '../../../src/balancing/clients/client-records.ts'
import { budgetOf } from '../clients/client-terms.ts'
import {
  drivePool,
  type KeySpec,
  POLICY,
  type PoolDriver,
  type Setup,
  usageOf,
} from '../pool-driver.ts'
import { TO_OPS } from './stored-alerts.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const iso = (ms: number) => new Date(ms).toISOString()

function poolOf(
  keys: readonly (string | KeySpec)[],
  alerts: Partial<AlertPolicy> = {},
  setup: Setup = {},
) {
  const policy = { ...POLICY.alerts, to: TO_OPS, usableKeysBelow: 0, ...alerts }
  return drivePool(keys, { ...setup, alerts: policy })
}

/** What there is to be told of now, of one event. */
const told = (pool: PoolDriver, event: string) =>
  causesOf(pool.state, pool.now()).filter((cause) => cause.event === event)

const factsOf = (pool: PoolDriver, event: string) => told(pool, event).map(({ facts }) => facts)

const UNTIL_LOOKUP = { kind: 'lookup', lapseMs: null } as const
const ofKey = (reason: 'key_rejected' | 'key_spent' | 'account_rate_limited') =>
  ({ scope: 'key', reason, term: UNTIL_LOOKUP }) as const

describe('an alert says', () => {
  it('of a rejected key no more than its name', () => {
    const pool = poolOf(['a', 'b'])
    pool.shrug(pool.grantOf('a'), ofKey('key_rejected'))
    expect(factsOf(pool, 'key_rejected')).toEqual([{ key: 'a' }])
    expect(factsOf(pool, 'key_spent')).toEqual([])
  })

  it('of a spent key when it comes back: by its bench, or else by its reset', () => {
    const pool = poolOf(['benched', 'unknown', 'empty', 'rejected'])
    const untilMs = pool.now() + HOUR
    const resetsAtMs = pool.now() + 2 * HOUR
    const term = { kind: 'until', untilMs } as const
    pool.shrug(pool.grantOf('benched'), { scope: 'key', reason: 'key_spent', term })
    pool.shrug(pool.grantOf('unknown'), ofKey('key_spent'))
    pool.lookUp('empty', 0, { resetsAtMs })
    // The end of a bench for another reason says nothing of it.
    pool.shrug(pool.grantOf('rejected'), { ...ofKey('account_rate_limited'), term })
    pool.lookUp('rejected', 0, { resetsAtMs: null })
    expect(factsOf(pool, 'key_spent')).toEqual([
      { key: 'benched', until: iso(untilMs) },
      { key: 'unknown', until: null },
      { key: 'empty', until: iso(resetsAtMs) },
      { key: 'rejected', until: null },
    ])
  })

  it('of a reset that no calendar holds: nothing', () => {
    const pool = poolOf(['a'])
    pool.lookUp('a', 0, { resetsAtMs: 9e15 })
    expect(factsOf(pool, 'key_spent')).toEqual([{ key: 'a', until: null }])
  })

  it('of a key that expires soon when it does', () => {
    const pool = poolOf(['soon', 'late'], { keyExpiresMs: HOUR })
    const expiresAtMs = pool.now() + HOUR
    pool.lookUp('soon', 50, { expiresAtMs: expiresAtMs - 1 })
    pool.lookUp('late', 50, { expiresAtMs })
    expect(factsOf(pool, 'key_expires_soon')).toEqual([
      { key: 'soon', expires_at: iso(expiresAtMs - 1) },
    ])
  })

  it('of a breaker until when it is open, and of a half-open one nothing', () => {
    const pool = poolOf(['a', 'b'])
    pool.trip('a')
    expect(factsOf(pool, 'breaker_open')).toEqual([
      { key: 'a', until: iso(pool.now() + POLICY.breaker.cooldownMs) },
    ])
    pool.wait(POLICY.breaker.cooldownMs)
    expect(factsOf(pool, 'breaker_open')).toEqual([{ key: 'a', until: null }])
  })

  it.each([
    [
      'a share that is reached',
      10,
      0.1,
      [{ remaining_usd: 10, limit_usd: 100, projected_end: null }],
    ],
    ['more than the share', 10.1, 0.1, []],
    ['nothing, where no share is asked', 0, 0, []],
  ])('of low credit what is left: %s', (_, leftUsd, creditLowShare, facts) => {
    const pool = poolOf(['a', 'unknown', 'uncapped'], { creditLowShare, creditLowMs: 0 })
    pool.lookUp('a', leftUsd)
    pool.lookUp('uncapped', null)
    expect(factsOf(pool, 'credit_low')).toEqual(facts.map((of) => ({ key: 'a', ...of })))
  })

  it('of credit that will be spent soon when that is', () => {
    const pool = poolOf(['a'], { creditLowShare: 0, creditLowMs: 24 * HOUR })
    pool.lookUp('a', 50)
    pool.give(pool.grantOf('a'), { usage: usageOf(10, 10, 20) })
    const [facts] = factsOf(pool, 'credit_low')
    expect(facts).toMatchObject({ key: 'a', remaining_usd: 30 })
    const endsAtMs = Date.parse(String(facts?.projected_end))
    expect(endsAtMs).toBeGreaterThan(pool.now())
    expect(endsAtMs).toBeLessThan(pool.now() + 24 * HOUR)
  })

  it('of an account its name, while it is out of credit and for no other reason', () => {
    const pool = poolOf([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'globex' },
    ])
    const term = { kind: 'until', untilMs: pool.now() + MINUTE } as const
    const [ofA, ofB] = [pool.grantOf('a'), pool.grantOf('b')]
    pool.shrug(ofA, { scope: 'account', reason: 'account_out_of_credit', term })
    pool.shrug(ofB, { scope: 'account', reason: 'account_rate_limited', term })
    expect(told(pool, 'account_out_of_credit')).toEqual([
      { event: 'account_out_of_credit', subject: 'acme', facts: { account: 'acme' } },
    ])
    pool.wait(MINUTE)
    expect(told(pool, 'account_out_of_credit')).toEqual([])
  })

  it('of an error that no rule is for what it was and how often it came', () => {
    const pool = poolOf(['a'])
    for (let i = 0; i < 3; i++) noteUnknownError(pool.state.alerts, '500 odd', pool.now())
    pool.wait(POLICY.alerts.intervalMs / 2)
    expect(factsOf(pool, 'unknown_error')).toEqual([{ error: '500 odd', count: 3 }])
    pool.wait(1)
    expect(factsOf(pool, 'unknown_error')).toEqual([])
    expect(pool.state.alerts.unknownErrors.size).toBe(0)
  })
})

it('of unknown errors fifty kinds are kept, and those go on being counted', () => {
  const alerts = createAlerts()
  const { unknownErrors } = alerts
  for (let i = 0; i < 60; i++) noteUnknownError(alerts, `kind ${i}`, 1)
  noteUnknownError(alerts, 'kind 49', 2)
  noteUnknownError(alerts, 'kind 50', 2)
  expect(unknownErrors.size).toBe(50)
  expect(unknownErrors.get('kind 49')).toEqual({ count: 2, lastAtMs: 2 })
})

describe('usable keys', () => {
  const broken = (keys: number, usableKeysBelow: number) => {
    const names = Array.from({ length: 4 }, (_, i) => `k${i}`)
    const pool = poolOf([...names, { id: 'off', disabled: true }], { usableKeysBelow })
    for (const id of names.slice(0, keys)) pool.trip(id)
    return told(pool, 'usable_keys_below')
  }
  const cause = (usable: number) => [
    { event: 'usable_keys_below', subject: 'pool', facts: { usable, total: 4 } },
  ]

  it.each([
    [
      'a number',
      3,
      [
        [1, []],
        [2, cause(2)],
      ],
    ],
    [
      'one key',
      1,
      [
        [3, []],
        [4, cause(0)],
      ],
    ],
    [
      'a share of those that are not disabled',
      0.75,
      [
        [1, []],
        [2, cause(2)],
      ],
    ],
    ['none', 0, [[4, []]]],
  ] as const)('are told of below %s', (_, below, cases) => {
    for (const [keys, causes] of cases) expect(broken(keys, below)).toEqual(causes)
  })

  it('are those that are not out for longer than a minute', () => {
    const pool = poolOf(['a', 'b', 'c'], { usableKeysBelow: 4 })
    for (const [id, forMs] of [
      ['a', MINUTE],
      ['b', MINUTE + 1],
    ] as const) {
      const term = { kind: 'until', untilMs: pool.now() + forMs } as const
      pool.shrug(pool.grantOf(id), { scope: 'key', reason: 'account_rate_limited', term })
    }
    pool.shrug(pool.grantOf('c'), ofKey('key_rejected'))
    expect(factsOf(pool, 'usable_keys_below')).toEqual([{ usable: 1, total: 3 }])
    // A breaker that lets a probe through is not closed yet.
    pool.wait(MINUTE)
    pool.trip('a')
    pool.wait(POLICY.breaker.cooldownMs + MINUTE)
    expect(factsOf(pool, 'usable_keys_below')).toEqual([{ usable: 1, total: 3 }])
  })
})

describe('of a budget', () => {
  const limited = (usd: number, alerts: Partial<AlertPolicy> = {}) =>
    poolOf([{ id: 'a', maxSpend: { usd, period: 'day' } }], alerts, {
      clients: [{ id: 'client', budgets: [budgetOf({ usd: 10, mode: 'after' })] }],
    })
  const spend = (pool: PoolDriver, usd: number) =>
    pool.give(pool.grant({ boundUsd: 0 }), { usage: usageOf(1, 1, usd) })
  const step = (pool: PoolDriver) => ({
    ...{ state: pool.state, nowMs: pool.now(), random: () => 0.5 },
  })

  it('it is said whose it is, for which period, and how much of it is spent', () => {
    const pool = limited(5)
    spend(pool, 6)
    const facts = { period: 'day', spent_usd: 6 }
    expect(told(pool, 'budget_threshold')).toEqual([
      {
        ...{ event: 'budget_threshold', subject: 'key:a day 100' },
        facts: { owner: 'key:a', percent: 100, usd: 5, ...facts },
      },
      {
        ...{ event: 'budget_threshold', subject: 'client:client day 50' },
        facts: { owner: 'client:client', percent: 50, usd: 10, ...facts },
      },
    ])
  })

  it('of a key the highest share is told alone, and those told before go on', () => {
    const subjects = (pool: PoolDriver) =>
      told(pool, 'budget_threshold').map(({ subject }) => subject)
    const pool = limited(10, { budgetFromPercent: 50 })
    spend(pool, 6)
    watchForAlerts(step(pool))
    spend(pool, 3)
    const passed = ['key:a day 80', 'key:a day 50']
    expect(subjects(pool).filter((subject) => subject.startsWith('key'))).toEqual(passed)
    const none = limited(0)
    expect(subjects(none)).toEqual(['key:a day 100'])
  })

  it('of a client no share is told that is below the least', () => {
    const pool = limited(1_000, { budgetFromPercent: 80 })
    spend(pool, 6)
    expect(told(pool, 'budget_threshold')).toEqual([])
    spend(pool, 3)
    expect(factsOf(pool, 'budget_threshold')).toMatchObject([{ percent: 80 }])
  })

  it('an alert that ends is forgotten, so that the share is told of again, and its row is written', () => {
    const pool = limited(1_000)
    spend(pool, 6)
    watchForAlerts(step(pool))
    const budget = quotaOf(pool.state.clients, 'client:client')?.budgets[0]
    if (budget === undefined) throw new Error('no budget')
    budget.increase = { nanos: 90e9, untilMs: pool.now() + 24 * HOUR }
    watchForAlerts(step(pool))
    pool.wait(POLICY.alerts.intervalMs)
    pool.state.changes.budgets.clear()
    const [ended] = watchForAlerts(step(pool))
    expect(ended).toMatchObject({ phase: 'end', alert: { subject: 'client:client day 50' } })
    expect(budget.toldPercent).toBe(0)
    expect([...pool.state.changes.budgets]).toEqual(['client:client'])
  })

  it('that is gone, or is a key’s, no client’s budget is found', () => {
    const { state } = limited(5)
    const found = (owner: string, period: string) =>
      toldBudget(state.clients, { owner, period, percent: 50 })
    expect(found('client:client', 'day')).toMatchObject({ owner: 'client:client', percent: 50 })
    const gone = [found('client:client', 'week'), found('client:x', 'day'), found('key:a', 'day')]
    expect(gone).toEqual([null, null, null])
  })
})

describe('alerts', () => {
  const cause = (subject: string) => ({ event: 'breaker_open', subject, facts: {} }) as const

  it('are written when they begin, when their cause goes and comes, and when they end', () => {
    const alerts = createAlerts()
    const rows = (causes: readonly string[], nowMs: number) => {
      followCauses(alerts, causes.map(cause), 100, nowMs)
      return [...takeAlertRecords(alerts)].map(([name, alert]) => [name, alert?.goneSinceMs])
    }
    expect(rows(['a'], 1)).toEqual([['breaker_open a', null]])
    expect(rows(['a'], 2)).toEqual([])
    expect(rows([], 3)).toEqual([['breaker_open a', 3]])
    expect(rows([], 4)).toEqual([])
    expect(rows(['a'], 5)).toEqual([['breaker_open a', null]])
    expect(rows([], 10)).toEqual([['breaker_open a', 10]])
    expect(rows([], 109)).toEqual([])
    expect(rows([], 110)).toEqual([['breaker_open a', undefined]])
    expect(alerts.active.size).toBe(0)
  })

  it('have rows to be written as long as one of them or a message has changed', () => {
    const pool = poolOf(['a'])
    expect(hasAlertChanges(pool.state)).toBe(false)
    pool.trip('a')
    watchForAlerts({ state: pool.state, nowMs: pool.now(), random: () => 0.5 })
    const { changed, outbox } = pool.state.alerts
    expect([hasAlertChanges(pool.state), changed.size, outbox.changed.size]).toEqual([true, 1, 1])
    changed.clear()
    expect(hasAlertChanges(pool.state)).toBe(true)
    outbox.changed.clear()
    changed.add('x')
    expect(hasAlertChanges(pool.state)).toBe(true)
  })
})

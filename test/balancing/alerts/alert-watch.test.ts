import { describe, expect, it } from 'vitest'
import type { AlertMessage } from '../../../src/balancing/alerts/alert-outbox.ts'
import type { AlertPolicy } from '../../../src/balancing/alerts/alert-policy.ts'
import { watchForAlerts } from '../../../src/balancing/alerts/alert-watch.ts'
import { noteUnknownError } from '../../../src/balancing/alerts/alerts.ts'
import { budgetOf } from '../clients/client-terms.ts'
import { drivePool, type KeySpec, POLICY, type Setup, usageOf } from '../pool-driver.ts'
import { type Rows, restored, store, TO_OPS } from './stored-alerts.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** A pool of which somebody is told, at `ops`. */
function watchedPool(
  keys: readonly (string | KeySpec)[],
  alerts: Partial<AlertPolicy> = {},
  setup: Setup = {},
) {
  const policy = { ...POLICY.alerts, to: TO_OPS, usableKeysBelow: 0, ...alerts }
  const pool = drivePool(keys, { ...setup, alerts: policy })
  const rows: Rows = { active: new Map(), messages: new Map() }
  const told: string[] = []
  const watch = () => {
    const step = { state: pool.state, nowMs: pool.now(), random: () => 0.5 }
    const changes = watchForAlerts(step).map(
      ({ phase, alert }) => `${phase} ${alert.event} ${alert.subject}`,
    )
    told.push(...changes)
    store(rows, pool.state.alerts)
    return changes
  }
  return {
    ...pool,
    told,
    watch,
    /** Watches once a second, as an object does that has requests. */
    watchFor(ms: number, everyMs = 1_000) {
      for (let passed = 0; passed < ms; passed += everyMs) {
        pool.wait(everyMs)
        watch()
      }
    },
    /** A new object with what was stored. What a lookup or a breaker has taught has rows of its own. */
    restart() {
      Object.assign(pool.state, { alerts: restored(rows) })
    },
    messages: (): AlertMessage[] =>
      [...(pool.state.alerts.outbox.queues.get('ops') ?? [])].map(({ message }) => message),
  }
}

const REJECTED = {
  scope: 'key',
  reason: 'key_rejected',
  term: { kind: 'lookup', lapseMs: null },
} as const

type Watched = ReturnType<typeof watchedPool>

describe('what begins, begins once, and what ends, ends once', () => {
  it.each<
    [string, string, (pool: Watched) => void, (pool: Watched) => void, Partial<AlertPolicy>?]
  >([
    [
      'a key that OpenRouter rejects',
      'key_rejected a',
      (pool) => pool.fail(pool.grantOf('a'), REJECTED),
      (pool) => pool.lookUp('a', 50),
    ],
    [
      'a key without anything left',
      'key_spent a',
      (pool) => pool.lookUp('a', 0),
      (pool) => pool.lookUp('a', 50),
      { creditLowShare: 0 },
    ],
    [
      'a key that expires soon',
      'key_expires_soon a',
      (pool) => pool.lookUp('a', 50, { expiresAtMs: pool.now() + 24 * HOUR }),
      (pool) => pool.lookUp('a', 50, { expiresAtMs: pool.now() + 24 * 30 * HOUR }),
    ],
    [
      'a key with little of its cap left',
      'credit_low a',
      (pool) => pool.lookUp('a', 9.9),
      (pool) => pool.lookUp('a', 50),
    ],
    [
      'a key that spends what it has within a day',
      'credit_low a',
      (pool) => {
        pool.lookUp('a', 50)
        pool.give(pool.grantOf('a'), { usage: usageOf(10, 10, 20) })
      },
      (pool) => pool.lookUp('a', 5_000),
      { creditLowShare: 0 },
    ],
    [
      'an account without credit',
      'account_out_of_credit account-of-a',
      (pool) =>
        pool.shrug(pool.grantOf('a'), {
          scope: 'account',
          reason: 'account_out_of_credit',
          term: { kind: 'for', forMs: MINUTE },
        }),
      (pool) => pool.wait(2 * MINUTE),
    ],
    [
      'a breaker',
      'breaker_open a',
      (pool) => pool.trip('a'),
      (pool) => {
        pool.wait(2 * MINUTE)
        pool.give(pool.grantOf('a'))
      },
    ],
    [
      'too few usable keys',
      'usable_keys_below pool',
      (pool) => pool.fail(pool.grantOf('a'), REJECTED),
      (pool) => pool.lookUp('a', 50),
      { usableKeysBelow: 3, to: new Map() },
    ],
    [
      'an error that no rule is for',
      'unknown_error 500 server_error',
      (pool) => noteUnknownError(pool.state.alerts, '500 server_error', pool.now()),
      (pool) => pool.wait(3 * MINUTE),
    ],
  ])('%s', (_, name, begin, end, policy = {}) => {
    const pool = watchedPool(['a', 'b', 'c'], policy)
    const isOf = (line: string) => line.endsWith(name)
    pool.watch()
    expect(pool.told).toEqual([])
    begin(pool)
    pool.watchFor(30_000)
    expect(pool.told.filter(isOf)).toEqual([`begin ${name}`])
    end(pool)
    pool.watchFor(4 * MINUTE)
    expect(pool.told.filter(isOf)).toEqual([`begin ${name}`])
    pool.watchFor(6 * MINUTE)
    expect(pool.told.filter(isOf)).toEqual([`begin ${name}`, `end ${name}`])
  })

  it('the shares of a client’s budget, of its group’s and of a key’s own limit, until the period ends', () => {
    const pool = watchedPool(
      [{ id: 'a', maxSpend: { usd: 20, period: 'day' } }],
      {},
      {
        clients: [{ id: 'client', group: 'team', budgets: [budgetOf({ usd: 10, mode: 'after' })] }],
        groups: [{ id: 'team', budgets: [budgetOf({ usd: 1_000, mode: 'after' })] }],
      },
    )
    const spend = (usd: number) => {
      pool.give(pool.grant({ boundUsd: 0 }), { usage: usageOf(1, 1, usd) })
      return pool.watch()
    }
    expect(spend(4)).toEqual([])
    expect(spend(2)).toEqual(['begin budget_threshold client:client day 50'])
    expect(spend(2.5).toSorted()).toEqual(['begin budget_threshold client:client day 80'])
    expect(spend(1.5).toSorted()).toEqual([
      'begin budget_threshold client:client day 100',
      'begin budget_threshold key:a day 50',
    ])
    pool.restart()
    pool.watchFor(12 * HOUR - MINUTE, MINUTE)
    expect(pool.told).toHaveLength(4)
    pool.watchFor(10 * MINUTE)
    expect(pool.told.slice(4).toSorted()).toEqual([
      'end budget_threshold client:client day 100',
      'end budget_threshold client:client day 50',
      'end budget_threshold client:client day 80',
      'end budget_threshold key:a day 50',
    ])
    // All that ends together is one message.
    expect(pool.messages().at(-1)?.alerts).toHaveLength(4)
    expect(spend(6)).toEqual(['begin budget_threshold client:client day 50'])
  })

  it('a threshold from which on nobody wants to know', () => {
    const clients = [{ id: 'client', budgets: [budgetOf({ usd: 10, mode: 'after' })] }]
    const pool = watchedPool(['a'], { budgetFromPercent: 100 }, { clients })
    pool.give(pool.grant({ boundUsd: 0 }), { usage: usageOf(1, 1, 9) })
    expect(pool.watch()).toEqual([])
    pool.give(pool.grant({ boundUsd: 0 }), { usage: usageOf(1, 1, 1) })
    expect(pool.watch()).toEqual(['begin budget_threshold client:client day 100'])
  })

  it('nothing of a disabled key, and nothing of a rate limit of seconds', () => {
    const pool = watchedPool(['a', { id: 'off', disabled: true }], { usableKeysBelow: 1 })
    pool.shrug(pool.grantOf('a'), {
      scope: 'key',
      reason: 'account_rate_limited',
      term: { kind: 'for', forMs: 5_000 },
    })
    expect(pool.watch()).toEqual([])
  })
})

it('news is told once, and after the interval it may come again', () => {
  const pool = watchedPool(['a'])
  const news = (subject: string) => {
    pool.state.alerts.news.push({ event: 'batch_ended', subject, facts: { batch: subject } })
    return pool.watch()
  }
  expect(news('batch_1')).toEqual(['begin batch_ended batch_1'])
  expect(news('batch_1')).toEqual([])
  pool.restart()
  expect(news('batch_1')).toEqual([])
  expect(news('batch_2')).toEqual(['begin batch_ended batch_2'])
  pool.watchFor(HOUR, MINUTE)
  expect(pool.told).toHaveLength(2)
  expect(pool.state.alerts.active.size).toBe(0)
  expect(pool.messages().map(({ phase }) => phase)).toEqual(['begin', 'begin'])
})

/** Fails until the breaker opens, and succeeds once it lets a probe through. */
function flap(pool: Watched): void {
  pool.trip('a')
  pool.watchFor(61_000, 10_000)
  pool.give(pool.grantOf('a'))
  pool.watchFor(90_000, 10_000)
}

describe('a breaker', () => {
  it('that flaps for an hour is one alert', () => {
    const pool = watchedPool(['a', 'b'])
    for (let passed = 0; passed < HOUR; passed += 151_000) flap(pool)
    expect(pool.told).toEqual(['begin breaker_open a'])
    pool.watchFor(10 * MINUTE)
    expect(pool.told).toEqual(['begin breaker_open a', 'end breaker_open a'])
  })

  it('that opens three times in a day is three alerts, in order, whenever the object restarts', () => {
    const pool = watchedPool(['a', 'b'])
    for (let episode = 0; episode < 3; episode++) {
      pool.trip('a')
      pool.watch()
      pool.restart()
      // At rest the object wakes once a minute and has forgotten what it did not write.
      for (let minute = 0; minute < 10; minute++) {
        pool.watchFor(MINUTE, MINUTE)
        pool.restart()
      }
      pool.give(pool.grantOf('a'))
      for (let minute = 0; minute < 460; minute++) {
        pool.watchFor(MINUTE, MINUTE)
        pool.restart()
      }
    }
    const episode = ['begin breaker_open a', 'end breaker_open a']
    expect(pool.told).toEqual([...episode, ...episode, ...episode])
    expect(pool.messages().map(({ event, phase }) => `${phase} ${event}`)).toEqual(
      pool.told.map((line) => line.replace(' a', '')),
    )
  })
})

it('of five hundred keys that are rejected at once one message names twenty', () => {
  const keys = Array.from({ length: 500 }, (_, i) => `k${i}`)
  const pool = watchedPool(keys)
  for (const id of keys) {
    pool.key(id).bench = {
      ...{ reason: 'key_rejected', untilMs: null, cure: 'lookup', provenance: 'upstream' },
      ...{ sinceMs: pool.now(), hidden: null },
    }
  }
  expect(pool.watch()).toHaveLength(500)
  const [message, ...others] = pool.messages()
  expect(others).toEqual([])
  expect(message?.alerts).toHaveLength(20)
  expect(message?.more).toBe(480)
})

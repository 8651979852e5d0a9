import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ActiveAlert } from '../../../src/balancing/alerts/alert.ts'
import {
  type AlertMessage,
  type Delivery,
  noteDelivery,
  restoreDeliveries,
  takeAlertDuties,
  takeDeliveryRecords,
  tell,
} from '../../../src/balancing/alerts/alert-outbox.ts'
import { ALERT_EVENTS, type AlertPolicy } from '../../../src/balancing/alerts/alert-policy.ts'
import { watchForAlerts } from '../../../src/balancing/alerts/alert-watch.ts'
import {
  type Alerts,
  createAlerts,
  followCauses,
  noteUnknownError,
  takeAlertRecords,
} from '../../../src/balancing/alerts/alerts.ts'
import { activeAlertSchema, deliverySchema } from '../../../src/key-pool/alerts/alert-schemas.ts'
import { budgetOf } from '../clients/client-terms.ts'
import { drivePool, type KeySpec, POLICY, type Setup, usageOf } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

const TO_OPS = new Map(ALERT_EVENTS.map((event) => [event, ['ops']] as const))

interface Rows {
  readonly active: Map<string, string>
  readonly messages: Map<string, string>
}

/** What is stored of alerts after a step. */
function store({ active, messages }: Rows, alerts: Alerts): void {
  const put = (rows: Map<string, string>, id: string, record: object | null) => {
    if (record === null) rows.delete(id)
    else rows.set(id, JSON.stringify(record))
  }
  for (const [id, record] of takeAlertRecords(alerts)) put(active, id, record)
  for (const [id, record] of takeDeliveryRecords(alerts.outbox)) put(messages, id, record)
}

/** What a new object knows of alerts. */
function restored({ active, messages }: Rows): Alerts {
  const alerts = createAlerts()
  const read = <T>(rows: Map<string, string>, schema: { parse(value: unknown): T }) =>
    [...rows.values()].map((row) => schema.parse(JSON.parse(row)))
  for (const alert of read<ActiveAlert>(active, activeAlertSchema)) {
    alerts.active.set(`${alert.event} ${alert.subject}`, alert)
  }
  restoreDeliveries(alerts.outbox, read<Delivery>(messages, deliverySchema))
  return alerts
}

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

/** What happens to three causes, step by step: which are there, and whether the object restarts then. */
const HISTORY = fc.array(
  fc.record({
    there: fc.subarray(['x', 'y', 'z']),
    afterMs: fc.integer({ min: 0, max: 200_000 }),
    restarts: fc.boolean(),
    /** Whether a Worker asks for messages, and what becomes of them. */
    delivery: fc.constantFrom<Delivering[]>('none', 'delivered', 'failed', 'lost'),
  }),
  { maxLength: 60 },
)

const INTERVAL_MS = 300_000
type Delivering = 'none' | 'delivered' | 'failed' | 'lost'

/** Alerts whose causes a test chooses, with their rows, and a receiver. */
class AlertHistory {
  readonly told: string[] = []
  readonly heard: string[] = []
  readonly rows: Rows = { active: new Map(), messages: new Map() }
  #alerts = createAlerts()
  #nowMs = 1_000_000
  readonly #lastThere = new Map<string, number>()
  readonly #ids = new Set<string>()
  /** Two lives of the object in one millisecond number their messages alike: only chance tells them apart. */
  readonly #random = seededRandom(1)

  step(there: readonly string[], afterMs: number, delivering: Delivering): void {
    this.#nowMs += afterMs
    const moment = this.#moment()
    const causes = there.map((subject) => {
      return { event: 'breaker_open', subject, facts: {} } as const
    })
    const changes = followCauses(this.#alerts, causes, INTERVAL_MS, this.#nowMs)
    tell(this.#alerts.outbox, { to: TO_OPS }, changes, moment)
    for (const { phase, alert } of changes) {
      this.told.push(`${phase} ${alert.subject}`)
      const goneMs = this.#nowMs - (this.#lastThere.get(alert.subject) ?? 0)
      expect(phase === 'begin' ? there.includes(alert.subject) : goneMs >= INTERVAL_MS).toBe(true)
    }
    for (const subject of there) this.#lastThere.set(subject, this.#nowMs)
    store(this.rows, this.#alerts)
    if (delivering !== 'none') this.#deliver(delivering)
    store(this.rows, this.#alerts)
  }

  restart(): void {
    this.#alerts = restored(this.rows)
  }

  #moment() {
    return { nowMs: this.#nowMs, random: this.#random }
  }

  /** A Worker sends messages, up to the first that fails or of which its report is lost. */
  #deliver(how: Exclude<Delivering, 'none'>): void {
    const duties = takeAlertDuties(this.#alerts.outbox, 2, this.#nowMs)
    for (const { to, messages } of duties) {
      const sent = how === 'delivered' ? messages : messages.slice(0, 1)
      for (const message of sent) {
        if (how !== 'failed') this.#hear(message)
        if (how === 'lost') continue
        const report = { to, id: message.id, kind: how, status: 200 }
        noteDelivery(this.#alerts.outbox, report, this.#moment())
      }
    }
  }

  /** A receiver drops a twin by its id. */
  #hear({ id, phase, alerts }: AlertMessage): void {
    if (this.#ids.has(id)) return
    this.#ids.add(id)
    this.heard.push(...alerts.map(({ subject }) => `${phase} ${subject}`))
  }
}

describe('any history', () => {
  it('begins and ends each alert in turn, and an address hears just that, in order', () => {
    fc.assert(
      fc.property(HISTORY, (steps) => {
        const history = new AlertHistory()
        for (const { there, afterMs, restarts, delivery } of steps) {
          history.step(there, afterMs, delivery)
          if (restarts) history.restart()
        }
        // In the end all causes are gone, and the receiver is up.
        for (let i = 0; i < 200; i++) history.step([], 3 * HOUR, 'delivered')
        const { told, heard, rows } = history
        for (const subject of ['x', 'y', 'z']) {
          const of = (lines: readonly string[]) => lines.filter((line) => line.endsWith(subject))
          const phases = of(told).map((line) => line.split(' ')[0])
          expect(phases).toEqual(phases.map((_, at) => (at % 2 === 0 ? 'begin' : 'end')))
          expect(phases.length % 2).toBe(0)
          expect(of(heard)).toEqual(of(told))
        }
        expect(rows.active.size + rows.messages.size).toBe(0)
      }),
      {
        numRuns: 150,
        examples: [
          [
            [
              { there: ['y'], afterMs: 0, restarts: true, delivery: 'delivered' },
              { there: ['z'], afterMs: 0, restarts: false, delivery: 'none' },
            ],
          ],
        ],
      },
    )
  })
})

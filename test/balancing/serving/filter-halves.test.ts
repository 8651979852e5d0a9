import { describe, expect, it } from 'vitest'
import { NO_CLAIMS } from '../../../src/balancing/eligibility.ts'
import { modelId } from '../../../src/balancing/ids.ts'
import { candidatesFor } from '../../../src/balancing/serving/candidates.ts'
import type { BenchOrder, BenchScope } from '../../../src/balancing/settlement.ts'
import { disagreements } from '../filter-agreement.ts'
import { orderOnly } from '../operators/operator-order.ts'
import {
  drivePool,
  type KeySpec,
  type PoolDriver,
  type Setup,
  START_MS,
  usageOf,
} from '../pool-driver.ts'

const MODEL = { model: 'vendor/model' } as const

const benching = (scope: BenchScope): BenchOrder => ({
  scope,
  reason: 'account_rate_limited',
  term: { kind: 'until', untilMs: START_MS + 60_000 },
})

const costing = (usd: number) => ({ usage: usageOf(10, 10, usd) })

interface Situation {
  readonly what: string
  /** What the key in question is configured with. There are two others. */
  readonly key?: Partial<KeySpec>
  readonly setup?: Setup
  readonly happens?: (pool: PoolDriver) => void
}

const benched = (scope: BenchScope, model = 'vendor/model'): Situation => ({
  what: `a bench of the scope ${scope}, for ${model}`,
  happens: (pool) => {
    pool.lookUp('a', null, { creator: 'carol', workspace: 'lab' })
    pool.shrug(pool.grantOf('a', { model }), benching(scope))
  },
})

const SITUATIONS: readonly Situation[] = [
  { what: 'nothing' },
  { what: 'a disabled key', key: { disabled: true } },
  { what: 'a paused key', happens: (pool) => orderOnly(pool, 'pause', 'a') },
  ...(['key', 'account', 'account_free', 'account_model', 'key_model', 'creator'] as const).map(
    (scope) => benched(scope),
  ),
  benched('workspace'),
  benched('account_free', 'vendor/model:free'),
  { what: 'an open breaker', happens: (pool) => pool.trip('a') },
  {
    what: 'a breaker whose probe is out',
    happens: (pool) => {
      pool.trip('a')
      pool.wait(60_000)
      pool.grantOf('a', MODEL)
    },
  },
  {
    what: 'a breaker that has closed a moment ago',
    happens: (pool) => {
      pool.trip('a')
      pool.wait(60_000)
      pool.give(pool.grantOf('a', MODEL))
    },
  },
  {
    what: 'breakers of all keys',
    happens: (pool) => {
      for (const id of ['a', 'b', 'c']) pool.trip(id)
    },
  },
  {
    what: 'a full key',
    key: { maxConcurrent: 1 },
    happens: (pool) => void pool.grantOf('a', MODEL),
  },
  {
    what: 'a full key that is benched for some models',
    key: { maxConcurrent: 1 },
    happens: (pool) => {
      pool.shrug(pool.grantOf('a', { model: 'vendor/other' }), benching('account_model'))
      pool.grantOf('a', MODEL)
    },
  },
  {
    what: 'a full key that is no use to free models',
    key: { maxConcurrent: 1 },
    happens: (pool) => {
      pool.shrug(pool.grantOf('a', { model: 'vendor/model:free' }), benching('account_free'))
      pool.grantOf('a', MODEL)
    },
  },
  {
    what: 'no request left',
    key: { rpm: 1 },
    happens: (pool) => pool.give(pool.grantOf('a', MODEL)),
  },
  {
    what: 'one request left',
    key: { rpm: 2 },
    happens: (pool) => pool.give(pool.grantOf('a', MODEL)),
  },
  {
    what: 'too few tokens left',
    key: { tpm: 100 },
    happens: (pool) => void pool.grantOf('a', { tokens: 91 }),
  },
  {
    what: 'just enough tokens left',
    key: { tpm: 100 },
    happens: (pool) => void pool.grantOf('a', { tokens: 90 }),
  },
  { what: 'no limit of the account', happens: (pool) => pool.lookUp('a', null) },
  { what: 'no credit', happens: (pool) => pool.lookUp('a', 0) },
  {
    what: 'no credit until a reset',
    happens: (pool) => pool.lookUp('a', 0, { resetsAtMs: pool.now() + 60_000 }),
  },
  {
    what: 'credit that a reset makes less',
    happens: (pool) => {
      pool.give(pool.grantOf('b', MODEL), costing(4))
      pool.lookUp('a', 20, { limitUsd: 5, resetsAtMs: pool.now() + 60_000 })
      for (let i = 0; i < 2; i++) pool.grantOf('a', MODEL)
    },
  },
  { what: 'credit of the minimum', key: { minCredit: 2 }, happens: (pool) => pool.lookUp('a', 2) },
  {
    what: 'credit that what runs will use up',
    key: { minCredit: 1 },
    happens: (pool) => {
      pool.give(pool.grantOf('b', MODEL), costing(2))
      pool.lookUp('a', 5)
      for (let i = 0; i < 2; i++) pool.grantOf('a', MODEL)
    },
  },
  {
    what: 'a max_spend that is used up',
    key: { maxSpend: { usd: 1, period: 'day', mode: 'after' } },
    happens: (pool) => pool.give(pool.grantOf('a', MODEL), costing(2)),
  },
  {
    what: 'a max_spend that what runs may use up',
    key: { maxSpend: { usd: 1, period: 'day', mode: 'exact' } },
    happens: (pool) => void pool.grantOf('a', { ...MODEL, boundUsd: 0.9 }),
  },
  {
    what: 'requests that are too large for a key',
    happens: (pool) => pool.give(pool.grantOf('a', { ...MODEL, size: 400 }), tooLarge('key')),
  },
  {
    what: 'requests that are too large for an account',
    happens: (pool) => pool.give(pool.grantOf('a', { ...MODEL, size: 400 }), tooLarge('account')),
  },
]

function tooLarge(tooLargeFor: 'key' | 'account') {
  const terms = { clientId: 'client', model: 'vendor/model', grantedAtMs: 0, tokens: 0, size: 400 }
  return {
    ...({ outcome: 'ignorable', fault: 'account', tooLargeFor, affordableTokens: 300 } as const),
    lease: terms as never,
  }
}

describe.each([
  ['without panic', 0, []],
  ['where two broken keys of three are panic', 0.5, []],
  ['where another key is broken, and one more that is out is panic', 0.6, ['b']],
  ['where all others are', 0.6, ['b', 'c']],
] as const)('%s both halves of the filter agree about', (_, panicRatio, broken) => {
  it.each(SITUATIONS)('$what', ({ key, setup, happens }) => {
    const pool = drivePool([{ id: 'a', ...key }, 'b', 'c'], { panicRatio, ...setup })
    // What is noted of keys that are well must not outlive what happens to them.
    expect(disagreements(pool.state, pool.now())).toEqual([])
    happens?.(pool)
    for (const id of broken) if (pool.key(id).breaker.kind === 'closed') pool.trip(id)
    for (const ms of [0, 1, 1_000, 58_998, 1, 60_000, 600_000]) {
      pool.wait(ms)
      expect(disagreements(pool.state, pool.now())).toEqual([])
    }
  })
})

describe('what is noted of keys that are ready', () => {
  it('does not hold when answers have become dearer', () => {
    const pool = drivePool(['a', 'b'])
    pool.give(pool.grantOf('b'), costing(0.01))
    pool.lookUp('a', 5)
    for (let i = 0; i < 2; i++) pool.grantOf('a')
    expect(pool.grant({ tried: ['b'] }).keyId).toBe('a')
    pool.give(pool.grantOf('b'), costing(1_000))
    expect(disagreements(pool.state, pool.now())).toEqual([])
    expect(pool.refusal({ tried: ['b'] }).reasons).toMatchObject({ below_min_credit: 1 })
  })

  it('does not hold when the clock goes back', () => {
    const pool = drivePool(['a', 'b'])
    const beganAtMs = pool.now()
    pool.shrug(pool.grantOf('a'), benching('key'))
    pool.wait(60_000)
    expect(pool.grantOf('a').keyId).toBe('a')
    expect(disagreements(pool.state, pool.now())).toEqual([])
    pool.at(beganAtMs + 30_000)
    expect(disagreements(pool.state, pool.now())).toEqual([])
  })
})

function candidates(pool: PoolDriver, more = {}) {
  const { state } = pool
  const [route] = state.routes
  const found = candidatesFor({ state, nowMs: pool.now() }, route, {
    ...{ model: modelId('vendor/model'), tokens: 0, claimedKeys: NO_CLAIMS },
    ...{ triedKeys: [], excludedAccounts: [], ...more },
  })
  return { ...found, keys: found.keys.map(({ id }) => id) }
}

describe('in panic', () => {
  const broken = (ids: readonly string[]) => {
    const pool = drivePool(['a', 'b', 'c', 'd'], { panicRatio: 0.5 })
    for (const id of ids) pool.trip(id)
    return pool
  }

  it('keys that await their probe go first, then those that are closed', () => {
    const pool = broken(['a', 'b', 'c'])
    expect(candidates(pool)).toEqual({ keys: ['d'], panic: true, hasRecovering: false })
    pool.wait(60_000)
    expect(candidates(pool)).toEqual({ keys: ['a', 'b', 'c'], panic: true, hasRecovering: false })
  })

  it('open ones serve if there is no other', () => {
    const pool = broken(['a', 'b', 'c', 'd'])
    expect(candidates(pool).keys).toEqual(['a', 'b', 'c', 'd'])
  })

  it('a batch does without them', () => {
    const pool = broken(['a', 'b', 'c', 'd'])
    expect(candidates(pool, { batch: { share: 0.5, probesFromMs: 0 } })).toMatchObject({
      keys: [],
      panic: false,
    })
    expect(pool.refusal({ class: 'batch' }).reasons).toMatchObject({ breaker_open: 4 })
  })
})

it('a key that has recovered is told of while it gets less than its share', () => {
  const pool = drivePool(['a', 'b'])
  pool.trip('a')
  expect(candidates(pool).hasRecovering).toBe(false)
  pool.wait(60_000)
  pool.give(pool.grantOf('a'))
  expect(candidates(pool)).toEqual({ keys: ['a', 'b'], panic: false, hasRecovering: true })
  pool.wait(600_000)
  expect(candidates(pool).hasRecovering).toBe(false)
})

it('a list of a healthy pool is the route’s own', () => {
  const pool = drivePool(['a', 'b'])
  const { state } = pool
  const [route] = state.routes
  const step = { state, nowMs: pool.now() }
  const request = { model: modelId('m'), tokens: 0, claimedKeys: NO_CLAIMS }
  const found = candidatesFor(step, route, { ...request, triedKeys: [], excludedAccounts: [] })
  expect(found.keys).toBe(route.members)
})

describe('of a key that a request has looked at, a number says enough until something happens to it', () => {
  const noted = (spec: Partial<KeySpec>, happens?: (pool: PoolDriver) => void) => {
    const pool = drivePool([{ id: 'a', ...spec }, 'b'])
    happens?.(pool)
    candidates(pool)
    const { readyFor, fullFor } = pool.key('a')
    return [readyFor, fullFor]
  }
  const ANY = 2 ** 30
  const NOT = -1
  const asks = (tokens: number) => (pool: PoolDriver) => void pool.grantOf('a', { tokens })
  const daily = (mode: 'exact' | 'capped'): Partial<KeySpec> => ({
    maxSpend: { usd: 10, period: 'day', mode },
  })

  it.each<[string, number[], Partial<KeySpec>, ((pool: PoolDriver) => void)?]>([
    ['any request, of one that is well', [ANY, NOT], {}],
    ['as many tokens as are left', [70, NOT], { tpm: 100 }, asks(30)],
    ['any, of one with requests left', [ANY, NOT], { rpm: 2 }, asks(1)],
    ['none, of one without', [NOT, NOT], { rpm: 1 }, asks(1)],
    ['any, of one with enough credit', [ANY, NOT], { minCredit: 1 }, (pool) => pool.lookUp('a', 2)],
    ['any, of one without a cap', [ANY, NOT], {}, (pool) => pool.lookUp('a', null)],
    [
      'none, if what runs may use its credit up',
      [NOT, NOT],
      { minCredit: 1 },
      (pool) => {
        pool.give(pool.grantOf('b'), costing(1))
        pool.lookUp('a', 2.9)
        pool.grantOf('a')
      },
    ],
    [
      'none, if its next reset makes its credit less than it needs',
      [NOT, NOT],
      { minCredit: 1 },
      (pool) => pool.lookUp('a', 2, { limitUsd: 1, resetsAtMs: pool.now() + 60_000 }),
    ],
    ['any, of a max_spend that pays for all', [ANY, NOT], daily('capped')],
    ['none, of one that a large request is too much for', [NOT, NOT], daily('exact')],
    [
      'none, if a request was too large for it',
      [NOT, NOT],
      {},
      (pool) => pool.give(pool.grantOf('a', { size: 400 }), tooLarge('key')),
    ],
    [
      'nor if it was for its account',
      [NOT, NOT],
      {},
      (pool) => pool.give(pool.grantOf('a', { size: 400 }), tooLarge('account')),
    ],
    [
      'none, if a model of it is benched',
      [NOT, NOT],
      {},
      (pool) => pool.shrug(pool.grantOf('a', { model: 'm' }), benching('key_model')),
    ],
    [
      'nor if one of its account is',
      [NOT, NOT],
      {},
      (pool) => pool.shrug(pool.grantOf('a', { model: 'm' }), benching('account_model')),
    ],
    [
      'none, while it recovers',
      [NOT, NOT],
      {},
      (pool) => {
        pool.trip('a')
        pool.wait(60_000)
        pool.give(pool.grantOf('a'))
      },
    ],
    ['that it is full', [NOT, ANY], { maxConcurrent: 1 }, asks(1)],
    ['and for how much', [NOT, 70], { maxConcurrent: 1, tpm: 100 }, asks(30)],
    ['but not of one that is out', [NOT, NOT], { disabled: true }],
  ])('%s', (_, numbers, spec, happens) => {
    expect(noted(spec, happens)).toEqual(numbers)
  })
})

it('a bench of free models is looked at for these alone', () => {
  const pool = drivePool(['a', 'b'])
  pool.shrug(pool.grantOf('a', { model: 'm:free' }), benching('account_free'))
  candidates(pool)
  expect(pool.key('a').readyFor).toBeGreaterThan(0)
  expect(candidates(pool, { model: modelId('m:free') }).keys).toEqual(['b'])
  expect(candidates(pool).keys).toEqual(['a', 'b'])
})

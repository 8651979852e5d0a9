import { describe, expect, it } from 'vitest'
import { keyId } from '../../../src/balancing/ids.ts'
import type { LeaseRequest } from '../../../src/balancing/lease-request.ts'
import { mayWait, placeOf } from '../../../src/balancing/queue/queue-place.ts'
import { type Ask, drivePool, leaseRequestOf, type PoolDriver, usageOf } from '../pool-driver.ts'

const only = (id: string) => [{ kind: 'id', id: keyId(id) }] as const

/** Keys with limits of tokens, a route of named models, and clients of which some have keys of their own. */
function poolOf() {
  return drivePool(
    [
      { id: 'a', tpm: 1_000 },
      { id: 'b', tpm: 5_000 },
    ],
    {
      routes: [{ models: ['named/one', 'named/two'], fallback: ['named/last'] }],
      clients: [{ id: 'own', keys: only('a') }, { id: 'alike', keys: only('a') }, { id: 'free' }],
    },
  )
}

const placeIn = (pool: PoolDriver, ask: Ask) => placeOf(pool.state, leaseRequestOf(ask, 'lease'))

describe('two requests stand', () => {
  it.each<[string, Ask, Ask, 'one line' | 'one lane' | 'two lanes']>([
    ['for one model', { model: 'named/one' }, { model: 'named/one' }, 'one line'],
    [
      'for two models that a route names',
      { model: 'named/one' },
      { model: 'named/two' },
      'two lanes',
    ],
    ['for a fallback model and another', { model: 'named/last' }, { model: 'x/y' }, 'two lanes'],
    ['for two models that nobody knows', { model: 'x/y' }, { model: 'x/z' }, 'one line'],
    ['for two free ones that nobody knows', { model: 'x/y:free' }, { model: 'z:free' }, 'one line'],
    ['for a free one and another', { model: 'x/y:free' }, { model: 'x/y' }, 'two lanes'],
    [
      'for a model that has answered and another',
      { model: 'x/met' },
      { model: 'x/y' },
      'two lanes',
    ],
    ['for a model that has only failed', { model: 'x/failed' }, { model: 'x/y' }, 'one line'],
    [
      'in another order of models',
      { models: ['x/met', 'named/one'] },
      { models: ['named/one', 'x/met'] },
      'two lanes',
    ],
    [
      'after the same keys, in any order',
      { tried: ['a', 'b'] },
      { tried: ['b', 'a', 'b'] },
      'one line',
    ],
    ['after other keys', { tried: ['a'] }, { tried: ['b'] }, 'two lanes'],
    [
      'not for the same accounts',
      { notAccounts: ['p', 'q'] },
      { notAccounts: ['q', 'p'] },
      'one line',
    ],
    ['not for other accounts', { notAccounts: ['p'] }, {}, 'two lanes'],
    [
      'as a retry, which the budget pays, and a move',
      { attempt: 'retry' },
      { attempt: 'move' },
      'two lanes',
    ],
    ['as a move and at first', { attempt: 'move' }, {}, 'one line'],
    ['with tokens that the same keys have', { tokens: 1_001 }, { tokens: 5_000 }, 'one line'],
    ['with tokens at a limit and beyond it', { tokens: 1_000 }, { tokens: 1_001 }, 'one lane'],
    ['with tokens at the last limit and beyond', { tokens: 5_000 }, { tokens: 5_001 }, 'one lane'],
    ['with tokens beyond all limits', { tokens: 5_001 }, { tokens: 9_999 }, 'one line'],
    ['of clients that may use all keys', { client: 'free' }, { client: 'unknown' }, 'one line'],
    ['of a client with keys of its own', { client: 'own' }, { client: 'free' }, 'one lane'],
    ['of two that have the same keys', { client: 'own' }, { client: 'alike' }, 'one lane'],
  ])('%s: %s', (_, one, other, expected) => {
    const pool = poolOf()
    pool.give(pool.grant({ model: 'x/met' }), { usage: usageOf(1, 1, 0) })
    pool.shrug(pool.grant({ model: 'x/failed' }))
    const [first, second] = [placeIn(pool, one), placeIn(pool, other)]
    const places = first.line === second.line ? 'one line' : 'two lines'
    const lanes = first.lane === second.lane ? 'one lane' : 'two lanes'
    expect(lanes === 'two lanes' || places === 'two lines' ? lanes : places).toBe(expected)
    if (first.lane !== second.lane) expect(first.line).not.toBe(second.line)
  })

  it('in the order of their routes: each place knows its route', () => {
    const pool = poolOf()
    const routes = ['named/two', 'x/y'].map((model) => placeIn(pool, { model }).route)
    expect(routes).toEqual([0, 1])
  })
})

describe('a request may wait', () => {
  const NOW = 1_000
  const isOf = (waitMs: number, mayClearAtMs: number | null, more: Partial<LeaseRequest> = {}) => {
    const { state } = drivePool(['a'], { queue: { maxWaitMs: 500 } })
    const refusal = { kind: 'refusal', cause: 'no_key', reasons: {}, retryAtMs: null } as const
    const unserved = { kind: 'no_candidate', models: [], refusal, mayClearAtMs } as const
    return mayWait(state, { waitMs, ...more }, unserved, NOW)
  }
  it.each([
    ['for a key that comes free within its time', 300, NOW + 299, true],
    ['not for one that comes at the end of it', 300, NOW + 300, false],
    ['not longer than the policy says', 9_000, NOW + 499, true],
    ['and no more than that', 9_000, NOW + 500, false],
    ['not for a key of which nobody knows', 300, null, false],
    ['not, if it waits for nothing', 0, NOW, false],
  ])('%s', (_, waitMs, mayClearAtMs, may) => {
    expect(isOf(waitMs, mayClearAtMs)).toBe(may)
  })

  it('but for a line of a batch, whose place is not here', () => {
    expect(isOf(300, NOW + 1, { class: 'batch' })).toBe(false)
  })
})

describe('who is out of time is told why, as of then', () => {
  it('by the keys that are in its way', () => {
    const pool = drivePool(['a', { id: 'b', maxConcurrent: 1 }])
    pool.grantOf('b')
    const { leaseId } = pool.waiting({ tried: ['a'], waitMs: 1_000 })
    pool.wait(1_000)
    expect(pool.inquire(leaseId)).toMatchObject({
      ...{ kind: 'refusal', cause: 'no_key', reasons: { already_tried: 1, at_max_concurrent: 1 } },
    })
  })

  it('as a retry that nobody pays for: it lacks no key', () => {
    const setup = { retryBudget: { ratio: 0, minPerSecond: 0 } }
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], setup)
    const running = pool.grant()
    const { leaseId } = pool.waiting({ attempt: 'retry', waitMs: 1_000 })
    pool.give(running)
    pool.wait(1_000)
    expect(pool.inquire(leaseId)).toEqual({
      ...{ kind: 'refusal', cause: 'retry_budget', reasons: {}, retryAtMs: null },
    })
  })

  it.each(['first', 'move', 'retry'] as const)(
    'as a %s whose key comes free in that very moment: to ask again at once',
    (attempt) => {
      const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
      const running = pool.grant()
      const { leaseId } = pool.waiting({ attempt, waitMs: 1_000 })
      pool.wait(1_000)
      pool.give(running)
      expect(pool.inquire(leaseId)).toMatchObject({
        ...{ kind: 'refusal', cause: 'no_key', retryAtMs: pool.now() },
      })
    },
  )
})

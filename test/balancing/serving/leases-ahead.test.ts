import { describe, expect, it } from 'vitest'
import { accountId, clientId, isolateId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import type {
  LeaseAhead,
  LeaseBegin,
  LeaseOrder,
} from '../../../src/balancing/limits/lease-order.ts'
import { begin, hold } from '../../../src/balancing/serving/leases-ahead.ts'
import { drivePool, type KeySpec, type PoolDriver, type Setup, usageOf } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const ISOLATE = isolateId('isolate')
const random = seededRandom(7)

let orders = 0

function ordered(pool: PoolDriver, given: Partial<LeaseOrder> = {}): readonly LeaseAhead[] {
  orders += 1
  return hold(
    { state: pool.state, nowMs: pool.now(), random },
    {
      isolate: ISOLATE,
      idPrefix: `order-${orders}`,
      asked: modelId('vendor/model'),
      models: [modelId('vendor/model')],
      account: null,
      count: 4,
      tokens: 0,
      ...given,
    },
  )
}

function first(pool: PoolDriver, given: Partial<LeaseOrder> = {}): LeaseAhead {
  const [lease] = ordered(pool, { count: 1, ...given })
  if (lease === undefined) throw new Error('nothing was held')
  return lease
}

function begun(pool: PoolDriver, lease: LeaseAhead, given: Partial<LeaseBegin> = {}): void {
  const { leaseId: id, keyId, model, grantedAtMs } = lease
  const told = { leaseId: id, keyId, model, grantedAtMs, isolate: ISOLATE, tokens: 0 }
  const more = { clientId: clientId('client'), leaseMs: 600_000, conversation: null }
  begin({ state: pool.state, nowMs: pool.now(), random }, { ...told, ...more, ...given })
}

const endOf = (pool: PoolDriver, lease: LeaseAhead, more = {}) => {
  pool.give({ ...lease, kind: 'grant' }, more)
}

const termsOf = ({ model, grantedAtMs }: LeaseAhead, tokens = 0) => ({
  lease: { clientId: clientId('client'), model, grantedAtMs, tokens },
})

describe('leases ahead are held', () => {
  it('as the strategy chooses, and count as in flight and in the minute', () => {
    const pool = drivePool([{ id: 'a', rpm: 100 }, 'b'])
    const [one, other, ...later] = ordered(pool).map(({ keyId }) => keyId)
    expect(new Set([one, other])).toEqual(new Set(['a', 'b']))
    expect(new Set(later)).toEqual(new Set(['a', 'b']))
    expect(pool.key('a').inFlight).toBe(2)
    expect(pool.key('a').rpm?.window.total).toBe(2)
  })

  it('for the account of a conversation', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'globex' },
    ])
    const held = ordered(pool, { account: accountId('globex') })
    expect(held.map(({ keyId }) => keyId)).toEqual(['b', 'b', 'b', 'b'])
  })

  it('under the numbers of the isolate that ordered them, or names of an earlier release', () => {
    const pool = drivePool(['a'])
    const names = (given: Partial<LeaseOrder>) =>
      ordered(pool, { count: 2, ...given }).map((lease) => lease.leaseId)
    expect(names({ firstNumber: 41, idPrefix: 'isolate:41' })).toEqual(['isolate:41', 'isolate:42'])
    expect(names({ idPrefix: 'an-order' })).toEqual(['an-order:0', 'an-order:1'])
  })

  it('for 32 requests at most', () => {
    expect(ordered(drivePool(['a']), { count: 1_000 })).toHaveLength(32)
  })

  const usual: readonly KeySpec[] = [{ id: 'a' }, { id: 'b' }]
  const cases: readonly {
    readonly why: string
    readonly keys?: readonly KeySpec[]
    readonly setup?: Setup
    readonly given?: Partial<LeaseOrder>
    readonly held?: number
    before?(pool: PoolDriver): void
  }[] = [
    { why: 'more than half of max_concurrent', keys: [{ id: 'a', maxConcurrent: 6 }], held: 3 },
    { why: 'more than half of rpm', keys: [{ id: 'a', rpm: 4 }], held: 2 },
    {
      why: 'more than half of tpm',
      keys: [{ id: 'a', tpm: 1_000 }],
      given: { tokens: 200 },
      held: 2,
    },
    {
      why: 'past a key near its limit, which would undo an order',
      keys: [{ id: 'a', maxConcurrent: 1 }, { id: 'b' }],
      setup: { strategy: 'priority' },
    },
    { why: 'in turn', setup: { strategy: 'round-robin' } },
    { why: 'by weight', setup: { strategy: 'weighted' } },
    {
      why: 'past a half-open key, which would undo an order',
      setup: { strategy: 'most-credit' },
      before: (pool) => halfOpen(pool, 'a'),
    },
    {
      why: 'past a key that recovers, which would undo an order',
      setup: { strategy: 'priority' },
      before: (pool) => recovering(pool, 'a'),
    },
    {
      why: 'while somebody waits',
      keys: [{ id: 'a' }, { id: 'small', maxConcurrent: 1, tags: ['small'] }],
      setup: { routes: [{ models: ['small/*'], keys: ['tag:small'] }] },
      before: (pool) => {
        pool.grant({ model: 'small/model' })
        pool.waiting({ model: 'small/model' })
      },
    },
    {
      why: 'near the end of a key’s credit',
      before: (pool) => {
        endOf(pool, first(pool), { usage: usageOf(10, 10, 0.5), outcome: 'success' })
        pool.lookUp('a', 10)
        pool.lookUp('b', 10)
      },
    },
    {
      why: 'near max_spend',
      keys: [{ id: 'a', maxSpend: { usd: 5, period: 'day' } }],
      before: (pool) => endOf(pool, first(pool), { usage: usageOf(10, 10, 4) }),
    },
  ]
  it.each(cases)('but not $why', ({ keys = usual, setup = {}, given, held = 0, before }) => {
    const pool = drivePool(keys, setup)
    before?.(pool)
    expect(ordered(pool, given)).toHaveLength(held)
  })
})

describe('where the order of keys is no promise, leases ahead are held', () => {
  it.each([
    { why: 'is half-open', before: halfOpen },
    { why: 'recovers', before: recovering },
  ])('past a key that $why, and fewer than ordered, so that it gets requests', ({ before }) => {
    const pool = drivePool(['a', 'b', 'c'])
    before(pool, 'a')
    const keys = ordered(pool, { count: 8 }).map(({ keyId }) => keyId)
    expect(keys).toHaveLength(4)
    expect(keys).not.toContain('a')
  })

  it('in panic, of keys whose breakers are open only if none is closed', () => {
    const pool = drivePool(['a', 'b'], { panicRatio: 0.9 })
    pool.trip('a')
    expect(new Set(ordered(pool).map(({ keyId }) => keyId))).toEqual(new Set(['b']))
    pool.trip('b')
    expect(ordered(pool).map(({ keyId }) => keyId)).toContain('a')
  })

  it('in panic, so that a failure lengthens no cooldown', () => {
    const pool = drivePool(['a'], { panicRatio: 0.9 })
    pool.trip('a')
    const { breaker } = pool.key('a')
    const lease = first(pool)
    begun(pool, lease)
    endOf(pool, lease, { ...termsOf(lease), outcome: 'failure', fault: 'upstream' })
    expect(pool.key('a').breaker).toEqual(breaker)
  })
})

/** Opens a key's breaker and lets its cooldown pass. */
function halfOpen(pool: PoolDriver, key: string): void {
  pool.trip(key)
  pool.wait(60_001)
}

function recovering(pool: PoolDriver, key: string): void {
  halfOpen(pool, key)
  pool.give(pool.grantOf(key))
}

describe('a lease that was held ahead', () => {
  it('is charged to the minute in which its request begins, by what the request takes', () => {
    const pool = drivePool([{ id: 'a', rpm: 100, tpm: 10_000 }])
    const lease = first(pool, { tokens: 500 })
    pool.wait(1_000)
    begun(pool, lease, { tokens: 200 })
    expect(pool.key('a').tpm?.window.total).toBe(200)
    // A minute after the grant the call itself is less than a minute old.
    pool.wait(59_500)
    expect(pool.refusal({ tokens: 9_801 }).reasons).toEqual({ at_tpm: 1 })
    endOf(pool, lease, { ...termsOf(lease, 200), usage: usageOf(50, 50, 0) })
    expect(pool.key('a').tpm?.window.total).toBe(100)
    expect(pool.key('a').inFlight).toBe(0)
  })

  it('pays the retry budget in, counts as an attempt and is remembered for its conversation, once', () => {
    const pool = drivePool(['a', 'b'], { retryBudget: { ratio: 0.5, minPerSecond: 0 } })
    const lease = first(pool)
    expect(pool.state.retryBudget.ceiling.tokens).toBe(0)
    begun(pool, lease, { conversation: 'a conversation' })
    begun(pool, lease, { conversation: 'a conversation' })
    expect(pool.state.retryBudget.ceiling.tokens).toBe(1)
    expect(pool.grant({ affinity: 'a conversation' }).keyId).toBe(lease.keyId)
    endOf(pool, lease)
    endOf(pool, lease)
    expect(pool.state.ledger.all.total.attempts).toBe(1)
  })

  it('leaves nothing behind when it comes back unused', () => {
    const pool = drivePool([{ id: 'a', rpm: 100, tpm: 10_000 }])
    endOf(pool, first(pool, { tokens: 500 }), { outcome: 'ignorable', unused: true })
    expect(pool.key('a').inFlight).toBe(0)
    expect(pool.key('a').rpm?.window.total).toBe(0)
    expect(pool.key('a').tpm?.window.total).toBe(0)
    expect(pool.state.ledger.all.total.attempts).toBe(0)
  })

  it('is taken back after three seconds without a request', () => {
    const pool = drivePool([{ id: 'a', rpm: 100 }])
    first(pool)
    pool.wait(2_700)
    pool.wake()
    expect(pool.key('a').inFlight).toBe(1)
    pool.wait(300)
    pool.wake()
    expect(pool.key('a').inFlight).toBe(0)
    expect(pool.key('a').rpm?.window.total).toBe(0)
  })

  it('counts again if the word of its request comes after that', () => {
    const pool = drivePool([{ id: 'a', rpm: 100 }])
    const lease = first(pool)
    pool.wait(5_000)
    pool.wake()
    begun(pool, lease)
    expect(pool.key('a').inFlight).toBe(1)
    expect(pool.key('a').rpm?.window.total).toBe(1)
    endOf(pool, lease, termsOf(lease))
    expect(pool.key('a').inFlight).toBe(0)
    expect(pool.state.ledger.all.total.attempts).toBe(1)
  })

  it('may be settled before the word of its request, which then does nothing', () => {
    const pool = drivePool([{ id: 'a', rpm: 100 }])
    const lease = first(pool)
    endOf(pool, lease, { ...termsOf(lease), usage: usageOf(1, 1, 0.25) })
    begun(pool, lease)
    expect(pool.key('a').inFlight).toBe(0)
    expect(pool.key('a').rpm?.window.total).toBe(1)
    expect(pool.state.ledger.all.total).toMatchObject({ attempts: 1, costUsd: 0.25 })
    expect(pool.state.ledger.byClient.get(clientId('client'))?.total.costUsd).toBe(0.25)
  })

  it('of a restarted pool that has forgotten it, holds capacity until its settlement', () => {
    const pool = drivePool(['a'])
    const lease: LeaseAhead = { ...first(pool), leaseId: leaseId('forgotten') }
    const before = pool.key('a').inFlight
    begun(pool, lease)
    expect(pool.key('a').inFlight).toBe(before + 1)
    endOf(pool, lease, termsOf(lease))
    expect(pool.key('a').inFlight).toBe(before)
  })

  it('that began before its key recovered says nothing about the key after it', () => {
    const pool = drivePool([{ id: 'a' }, { id: 'b' }])
    const lease = [...ordered(pool, { count: 32 })].find(({ keyId }) => keyId === 'a')
    if (lease === undefined) throw new Error('nothing was held')
    begun(pool, lease)
    recovering(pool, 'a')
    endOf(pool, lease, { ...termsOf(lease), outcome: 'failure', fault: 'upstream' })
    const { breaker } = pool.key('a')
    expect(breaker.kind === 'closed' && breaker.failuresAtMs.length).toBe(0)
  })
})

describe('an isolate that is silent for almost three seconds', () => {
  it('loses its running leases; what they took stays charged until a late word corrects it', () => {
    const pool = drivePool([{ id: 'a', tpm: 10_000 }])
    const lease = first(pool, { tokens: 500 })
    begun(pool, lease, { tokens: 500 })
    pool.wait(2_700)
    pool.wake()
    expect(pool.key('a').inFlight).toBe(1)
    pool.wait(200)
    pool.wake()
    expect(pool.key('a').inFlight).toBe(0)
    expect(pool.key('a').tpm?.window.total).toBe(500)
    endOf(pool, lease, { ...termsOf(lease, 500), usage: usageOf(30, 20, 0.1) })
    expect(pool.key('a').tpm?.window.total).toBe(50)
    expect(pool.state.ledger.all.total).toMatchObject({ attempts: 1, costUsd: 0.1 })
  })

  it('takes one up again that it still has, with nothing charged twice', () => {
    const pool = drivePool([{ id: 'a', tpm: 10_000, rpm: 10 }])
    const lease = first(pool, { tokens: 500 })
    begun(pool, lease, { tokens: 500 })
    pool.wait(3_000)
    pool.wake()
    begun(pool, lease, { tokens: 500 })
    expect(pool.key('a').inFlight).toBe(1)
    expect(pool.key('a').rpm?.window.total).toBe(1)
    expect(pool.key('a').tpm?.window.total).toBe(500)
    endOf(pool, lease, { ...termsOf(lease, 500), usage: usageOf(30, 20, 0.1) })
    expect(pool.key('a').inFlight).toBe(0)
    expect(pool.key('a').tpm?.window.total).toBe(50)
  })

  it('keeps them as long as it is heard, however long they last', () => {
    const pool = drivePool(['a'])
    begun(pool, first(pool))
    for (let i = 0; i < 60; i++) {
      pool.wait(1_000)
      ordered(pool, { count: 0 })
      pool.wake()
    }
    expect(pool.key('a').inFlight).toBe(1)
  })
})

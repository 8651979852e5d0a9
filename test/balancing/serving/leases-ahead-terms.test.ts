import { describe, expect, it } from 'vitest'
import { nanosOf } from '../../../src/balancing/clients/budget.ts'
import {
  accountId,
  clientId,
  isolateId,
  keyId,
  leaseId,
  modelId,
} from '../../../src/balancing/ids.ts'
import type {
  LeaseAhead,
  LeaseBegin,
  LeaseOrder,
} from '../../../src/balancing/limits/lease-order.ts'
import { begin, hold } from '../../../src/balancing/serving/leases-ahead.ts'
import { drivePool, type KeySpec, type PoolDriver, type Setup, usageOf } from '../pool-driver.ts'
import { storedPool } from '../records/stored-pool.ts'

const ISOLATE = isolateId('other')

const stepOf = ({ state, now }: PoolDriver) => ({ state, nowMs: now(), random: () => 0.5 })

function ordered(pool: PoolDriver, given: Partial<LeaseOrder> = {}): readonly LeaseAhead[] {
  return hold(stepOf(pool), {
    ...{ isolate: ISOLATE, firstNumber: 1, idPrefix: '', account: null, count: 4, tokens: 0 },
    ...{ asked: modelId('vendor/model'), models: [modelId('vendor/model')] },
    ...given,
  })
}

const keysOf = (leases: readonly LeaseAhead[]) => leases.map(({ keyId: id }) => id)

function first(pool: PoolDriver): LeaseAhead {
  const [lease] = ordered(pool)
  if (lease === undefined) throw new Error('nothing was held')
  return lease
}

function begun(pool: PoolDriver, lease: LeaseAhead, given: Partial<LeaseBegin> = {}): void {
  const { leaseId: id, keyId: key, model, grantedAtMs } = lease
  const told = { leaseId: id, keyId: key, model, grantedAtMs, isolate: ISOLATE, tokens: 0 }
  const more = { clientId: clientId('client'), leaseMs: 600_000, conversation: null }
  begin(stepOf(pool), { ...told, ...more, ...given })
}

const end = (pool: PoolDriver, lease: LeaseAhead, more = {}) =>
  pool.give({ ...lease, kind: 'grant' }, more)

const FAILED = { outcome: 'failure', fault: 'upstream' } as const

function tooLarge(pool: PoolDriver, tooLargeFor: 'key' | 'account'): void {
  const lease = pool.grantOf('a', { size: 400, client: 'somebody' })
  const terms = { clientId: clientId('client'), model: modelId('m'), grantedAtMs: 0, tokens: 0 }
  const told = { lease: { ...terms, size: 400 }, tooLargeFor }
  pool.give(lease, { outcome: 'ignorable', fault: 'account', ...told })
}

describe('leases are held ahead of the keys', () => {
  const halves: Setup = {
    routes: [{ models: ['vendor/*'], fallback: ['vendor/last'] }],
    clients: [{ id: 'client', keys: [{ kind: 'id', id: keyId('b') }] }],
  }

  it.each<[string, string[], Partial<LeaseOrder>, ((pool: PoolDriver) => void)?]>([
    ['that the client may use', ['b'], { clientId: clientId('client') }],
    ['that could pay for any request', ['b'], {}, (pool) => tooLarge(pool, 'key')],
    ['and whose account could', ['b'], {}, (pool) => tooLarge(pool, 'account')],
    [
      'unless a request would go to another model',
      [],
      { models: [modelId('vendor/model'), modelId('vendor/last')] },
      (pool) =>
        pool.shrug(pool.grantOf('a', { client: 'somebody' }), {
          scope: 'model',
          reason: 'account_rate_limited',
          term: { kind: 'for', forMs: 60_000 },
        }),
    ],
  ])('%s', (_, keys, given, before) => {
    const pool = drivePool(['a', 'b'], halves)
    before?.(pool)
    expect([...new Set(keysOf(ordered(pool, given)))]).toEqual(keys)
  })

  it.each<[string, Partial<KeySpec>, number, number]>([
    ['a batch has half of its leases', { maxConcurrent: 4 }, 2, 1],
    ['a batch has none', { maxConcurrent: 4 }, 0, 2],
    ['of its requests', { rpm: 8 }, 4, 2],
  ])('half of what is left for interactive requests at most: %s', (_, spec, lines, held) => {
    const pool = drivePool([{ id: 'a', ...spec }])
    for (let i = 0; i < lines; i++) pool.grant({ class: 'batch' })
    expect(ordered(pool)).toHaveLength(held)
  })

  it('none of an account that has more than its share of conversations', () => {
    const pool = drivePool([
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'globex' },
    ])
    for (let i = 0; i < 40; i++) pool.grantOf('a')
    expect(ordered(pool, { account: accountId('acme') })).toEqual([])
    expect(keysOf(ordered(pool, { account: accountId('globex'), count: 1 }))).toEqual(['b'])
  })

  it('which counts as their turn', () => {
    const pool = drivePool(['a', 'b', 'c'])
    expect(keysOf(ordered(pool, { count: 3 })).toSorted()).toEqual(['a', 'b', 'c'])
    expect(pool.state.turns).toBe(3)
    const turns = ['a', 'b', 'c'].map((id) => pool.key(id).lastTurn)
    expect(turns.toSorted()).toEqual([1, 2, 3])
  })
})

describe('money for a whole stock, and for what runs, has to be there', () => {
  /** An answer costs two dollars, a stock is of 32, and two dollars may have been spent since the lookup. */
  const withCredit = (usd: number | null, running: number) => {
    const pool = drivePool([
      { id: 'a', minCredit: 1 },
      { id: 'b', disabled: true },
    ])
    pool.give(pool.grant(), { usage: usageOf(1, 1, 2) })
    pool.lookUp('a', usd)
    for (let i = 0; i < running; i++) pool.grant()
    return ordered(pool, { count: 1 }).length
  }

  it.each([
    [67.5, 0, 1],
    [67, 0, 0],
    [71.5, 2, 1],
    [71, 2, 0],
    [null, 2, 1],
  ])('in its credit: of %s dollars while %i run, %i', (usd, running, held) => {
    expect(withCredit(usd, running)).toBe(held)
  })

  it.each([
    [1, 8, 4],
    [1, 4, 0],
    [null, 8, 4],
    [0.5, 4, 4],
  ])('in its max_spend: for requests of %s dollars, with %i left, %i', (costUsd, usd, held) => {
    const maxSpend = { usd, period: 'day', mode: 'exact', reserveUsd: 1 } as const
    const pool = drivePool([{ id: 'a', maxSpend }])
    const costNanos = costUsd === null ? null : nanosOf(costUsd)
    expect(ordered(pool, { costNanos })).toHaveLength(held)
  })
})

describe('the word that a request has begun', () => {
  it('keeps its isolate’s leases alive', () => {
    const pool = drivePool(['a'])
    const [one, other] = ordered(pool)
    if (one === undefined || other === undefined) throw new Error('nothing was held')
    begun(pool, one)
    pool.wait(2_700)
    begun(pool, other)
    pool.wait(2_700)
    pool.wake()
    expect(pool.key('a').inFlight).toBe(2)
  })

  it('of a key that is gone says nothing', () => {
    const pool = drivePool(['a'])
    begun(pool, { ...first(pool), keyId: keyId('gone'), leaseId: leaseId('gone') })
    expect(pool.state.leases.live.has(leaseId('gone'))).toBe(false)
  })

  it('is not charged again, or to another term, when it comes twice', () => {
    const pool = drivePool([{ id: 'a', rpm: 100 }])
    const lease = first(pool)
    for (const leaseMs of [60_000, 600_000]) begun(pool, lease, { leaseMs })
    expect(pool.state.leases.live.get(lease.leaseId)?.expiresAtMs).toBe(pool.now() + 60_000)
    expect(pool.key('a').rpm?.window.total).toBe(4)
  })

  it('counts for its key in the epoch in which its lease was held, or as nobody knows better', () => {
    const pool = drivePool(['a'])
    const lease = first(pool)
    pool.key('a').epoch = 1
    begun(pool, lease)
    expect(pool.state.leases.live.get(lease.leaseId)).toMatchObject({ epoch: 0, panic: false })
    const forgotten = { ...lease, leaseId: leaseId('forgotten') }
    begun(pool, forgotten)
    const known = { epoch: 1, panic: false, attempt: 'first', isBatch: false }
    expect(pool.state.leases.live.get(forgotten.leaseId)).toMatchObject(known)
  })

  it('of a batch that is forgotten counts for batches alone', () => {
    const retryBudget = { ratio: 0.5, minPerSecond: 0 }
    const pool = drivePool([{ id: 'a', rpm: 100, tpm: 1_000 }], { retryBudget })
    const at = pool.state.batches.interactiveAtMs
    begun(pool, { ...first(pool), leaseId: leaseId('line') }, { class: 'batch', tokens: 10 })
    expect(pool.key('a').batch).toMatchObject({
      inFlight: 1,
      rpm: { total: 1 },
      tpm: { total: 10 },
    })
    expect(pool.state.batches.interactiveAtMs).toBe(at)
    expect(pool.state.retryBudget.ceiling.tokens).toBe(0)
    begun(pool, { ...first(pool), leaseId: leaseId('other') }, { tokens: 10 })
    expect(pool.key('a').batch.inFlight).toBe(1)
    expect(pool.state.batches.interactiveAtMs).toBe(pool.now())
  })

  it('takes its tokens of what requests after it find left', () => {
    const pool = drivePool([{ id: 'a', tpm: 100 }, 'b'])
    const lease = ordered(pool, { tokens: 10 }).find((one) => one.keyId === 'a')
    if (lease === undefined) throw new Error('nothing was held')
    // A request for the other key looks at this one too.
    pool.grantOf('b')
    begun(pool, lease, { tokens: 70 })
    expect(pool.refusal({ tried: ['b'], tokens: 40 }).reasons).toMatchObject({ at_tpm: 1 })
  })

  it('counts for the account of its key, by which conversations are moved', () => {
    const pool = drivePool(['a'])
    const lease = first(pool)
    const { recent } = pool.key('a').account.load
    begun(pool, lease, { conversation: 'a conversation' })
    expect(pool.key('a').account.load.recent).toBeGreaterThan(recent)
    expect(pool.state.affinities.young.has('a conversation')).toBe(true)
  })

  it('of no conversation is remembered for none', () => {
    const pool = drivePool(['a'])
    begun(pool, first(pool))
    expect(pool.state.affinities.young.size).toBe(0)
  })

  it('of before the checkpoint that does not hold it says nothing, and of that moment it does', () => {
    for (const [ms, inFlight] of [
      [-1, 0],
      [0, 1],
    ] as const) {
      const stored = storedPool(['a'])
      stored.writeCheckpoint()
      const next = stored.restart()
      const grantedAtMs = next.state.restoredAtMs + ms
      const lease = { keyId: keyId('a'), accountId: accountId('a'), model: modelId('m'), tokens: 0 }
      begun(next, { ...lease, leaseId: leaseId('forgotten'), grantedAtMs })
      expect(next.key('a').inFlight).toBe(inFlight)
    }
  })

  it('of before the checkpoint, that only had expired, takes its lease up again', () => {
    const stored = storedPool(['a'])
    const lease = first(stored)
    stored.wait(5_000)
    stored.wake()
    stored.writeCheckpoint()
    const next = stored.restart()
    begun(next, lease)
    expect(next.key('a').inFlight).toBe(1)
  })
})

describe('a settlement that comes before that word', () => {
  const settled = (isLate: boolean, more = {}) => {
    const retryBudget = { ratio: 0.5, minPerSecond: 0 }
    const pool = drivePool([{ id: 'a', rpm: 100, tpm: 1_000 }], { retryBudget })
    const [lease] = ordered(pool, { count: 1, tokens: 50 })
    if (lease === undefined) throw new Error('nothing was held')
    if (isLate) {
      pool.wait(3_000)
      pool.wake()
      expect(pool.key('a').tpm?.window.total).toBe(0)
    }
    end(pool, lease, more)
    return pool
  }

  it.each([false, true])('says all that it would have said, if it is late: %s', (isLate) => {
    const pool = settled(isLate, { usage: usageOf(10, 10, 0.5) })
    expect(pool.key('a').tpm?.window.total).toBe(20)
    expect(pool.key('a').rpm?.window.total).toBe(1)
    expect(pool.state.retryBudget.ceiling.tokens).toBe(1)
    expect(pool.key('a').account.load.recent).toBeGreaterThan(0)
    expect(pool.key('a').inFlight).toBe(0)
  })

  it('is booked for its client, or for a nameless one if it does not tell', () => {
    const lease = { clientId: clientId('carol'), model: modelId('m'), grantedAtMs: 0, tokens: 0 }
    const of = (more: object) => [...settled(false, more).state.ledger.byClient.keys()]
    expect(of({ lease })).toEqual(['carol'])
    expect(of({})).toEqual([''])
  })

  it('counts as a failure of its key', () => {
    expect(settled(false, FAILED).key('a').breaker).toMatchObject({
      failuresAtMs: [expect.any(Number)],
    })
  })

  it('of a key that is gone does no harm', () => {
    const stored = storedPool(['a', 'b'], { strategy: 'priority' })
    const [lease] = ordered(stored, { count: 1 })
    if (lease === undefined) throw new Error('nothing was held')
    stored.writeCheckpoint()
    const next = stored.restart(['b'])
    end(next, lease, { usage: usageOf(1, 1, 0.5) })
    expect(next.state.ledger.all.total.costUsd).toBe(0.5)
    expect(next.key('b').tally.total.attempts).toBe(0)
  })
})

describe('a lease ahead that no request has used', () => {
  const unused = { outcome: 'ignorable', unused: true } as const

  it('was no request of its account', () => {
    const pool = drivePool(['a'])
    end(pool, first(pool), unused)
    expect(pool.key('a').account.load.recent).toBe(0)
    expect(pool.state.ledger.all.total.attempts).toBe(0)
  })

  it('may be of a key that is gone', () => {
    const stored = storedPool(['a'])
    const lease = first(stored)
    stored.writeCheckpoint()
    const next = stored.restart(['b'])
    end(next, lease, unused)
    expect(next.state.leases.live.has(lease.leaseId)).toBe(false)
  })
})

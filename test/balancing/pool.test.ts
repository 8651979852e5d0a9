import { describe, expect, it } from 'vitest'
import { clientId } from '../../src/balancing/ids.ts'
import { REASONS } from '../../src/balancing/reasons.ts'
import type { BenchOrder } from '../../src/balancing/settlement.ts'
import { order } from './operators/operator-order.ts'
import { drivePool, type KeySpec, usageOf } from './pool-driver.ts'

const MINUTE_MS = 60_000

function bench(reason: BenchOrder['reason'], untilMs: number): BenchOrder {
  return { scope: 'key', reason, term: { kind: 'until', untilMs } }
}

describe('asking for a lease', () => {
  it('twice with one id grants one lease', () => {
    const pool = drivePool(['a', 'b'])
    const first = pool.grant({ lease: 'mine' })
    expect(pool.grant({ lease: 'mine' })).toEqual(first)
    expect(pool.key('a').inFlight + pool.key('b').inFlight).toBe(1)
  })

  it('again after its end is refused, and holds nothing', () => {
    const pool = drivePool(['a'])
    pool.give(pool.grant({ lease: 'mine' }))
    expect(pool.refusal({ lease: 'mine' })).toEqual({
      kind: 'refusal',
      cause: 'ended',
      reasons: {},
      retryAtMs: null,
    })
    expect(pool.key('a').inFlight).toBe(0)
  })

  it('again after it expired is refused', () => {
    const pool = drivePool(['a'])
    pool.grant({ lease: 'mine', leaseMs: 1_000 })
    pool.wait(1_000)
    expect(pool.refusal({ lease: 'mine' }).cause).toBe('ended')
  })

  it('after a settlement overtook it is refused', () => {
    const pool = drivePool(['a'])
    const elsewhere = drivePool(['a']).grant({ lease: 'overtaken' })
    pool.give(elsewhere)
    expect(pool.refusal({ lease: 'overtaken' }).cause).toBe('ended')
  })

  it('again after a refusal may be granted', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    const holder = pool.grant()
    pool.refusal({ lease: 'mine' })
    pool.give(holder)
    expect(pool.grant({ lease: 'mine' }).keyId).toBe('a')
  })

  it('of a pool without keys is refused, with no reason and no moment', () => {
    expect(drivePool([]).refusal()).toEqual({
      kind: 'refusal',
      cause: 'no_key',
      reasons: {},
      retryAtMs: null,
    })
  })

  it('tells the key, the account that pays and the model to send', () => {
    const pool = drivePool([{ id: 'a', account: 'acme' }])
    expect(pool.grant({ lease: 'mine' })).toEqual({
      kind: 'grant',
      leaseId: 'mine',
      keyId: 'a',
      accountId: 'acme',
      model: 'vendor/model',
      grantedAtMs: pool.now(),
    })
  })
})

describe('max_concurrent', () => {
  it('holds exactly under two hundred wants at once', () => {
    const keys: KeySpec[] = [
      { id: 'a', maxConcurrent: 7 },
      { id: 'b', maxConcurrent: 20 },
      { id: 'c', maxConcurrent: 1 },
    ]
    const pool = drivePool(keys)
    const answers = Array.from({ length: 200 }, () => pool.ask())
    expect(answers.filter(({ kind }) => kind === 'grant')).toHaveLength(28)
    expect(keys.map(({ id }) => pool.key(id).inFlight)).toEqual([7, 20, 1])
    expect(answers.at(-1)).toMatchObject({ cause: 'no_key', reasons: { at_max_concurrent: 3 } })
  })

  it('frees one place for one lease given back, however often it is given back', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 2 }])
    const lease = pool.grant()
    pool.grant()
    for (let i = 0; i < 5; i++) pool.give(lease)
    pool.grant()
    expect(pool.refusal().reasons).toEqual({ at_max_concurrent: 1 })
  })

  it('frees the place of a lease that nobody gave back when it expires', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    const lost = pool.grant({ leaseMs: 5_000 })
    pool.wait(4_999)
    pool.refusal()
    pool.wait(1)
    pool.grant()
    pool.give(lost)
    expect(pool.refusal().reasons).toEqual({ at_max_concurrent: 1 })
  })
})

describe('when a busy key may be free', () => {
  /** After leases that lasted this long: the milliseconds until a busy key may be free. */
  function busyAfter(...heldMs: readonly number[]): number {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    for (const ms of heldMs) {
      const lease = pool.grant()
      pool.wait(ms)
      pool.give(lease)
    }
    pool.grant()
    return (pool.refusal().retryAtMs ?? Number.NaN) - pool.now()
  }

  it('is a guess by how long its leases last', () => {
    expect(busyAfter()).toBe(5_000)
    expect(busyAfter(8_000, 8_000)).toBe(8_000)
  })

  it('is not governed for long by one that lasted for minutes', () => {
    expect(busyAfter(580_000, ...Array<number>(20).fill(500))).toBeLessThan(10_000)
  })

  it('is neither a blink nor minutes away', () => {
    expect(busyAfter(10)).toBe(1_000)
    expect(busyAfter(580_000)).toBe(60_000)
  })
})

describe('the reasons of a refusal', () => {
  it('are counted, each key under the first that excludes it', () => {
    const keys: KeySpec[] = [
      { id: 'off', disabled: true },
      { id: 'tried' },
      { id: 'rejected' },
      { id: 'spent' },
      { id: 'broke', account: 'broke' },
      { id: 'limited' },
      { id: 'poor', minCredit: 5 },
      { id: 'tripped' },
      { id: 'probing' },
      { id: 'full', maxConcurrent: 1 },
      { id: 'hasty', rpm: 1 },
      { id: 'wordy', tpm: 100 },
    ]
    keys.push({ id: 'capped', maxSpend: { usd: 1, period: 'day' } })
    const others = ['slowed', 'doubted', 'small', 'modest', 'layered', 'freeloader', 'lent']
    others.push('halted', 'drained')
    keys.push(...others.map((id) => ({ id })))
    const ids = keys.map(({ id }) => id)
    const pool = drivePool([...keys, 'elsewhere'], { routes: [{ models: ['*'], keys: ids }] })
    const laterMs = pool.now() + 2 * MINUTE_MS
    pool.trip('probing')
    pool.wait(MINUTE_MS)
    pool.grantOf('probing')
    pool.shrug(pool.grantOf('rejected'), {
      ...bench('key_rejected', laterMs),
      term: { kind: 'lookup', lapseMs: null },
    })
    pool.shrug(pool.grantOf('spent'), bench('key_spent', laterMs))
    pool.shrug(pool.grantOf('broke'), {
      ...bench('account_out_of_credit', laterMs),
      scope: 'account',
    })
    pool.shrug(pool.grantOf('limited'), bench('account_rate_limited', laterMs))
    pool.trip('tripped')
    pool.lookUp('poor', 5)
    pool.grantOf('full')
    pool.give(pool.grantOf('hasty'))
    pool.give(pool.grantOf('wordy', { tokens: 60 }))
    pool.give(pool.grantOf('capped'), { usage: usageOf(1, 1, 1) })
    const limited = bench('account_rate_limited', laterMs)
    const model = 'm:free'
    pool.shrug(pool.grantOf('slowed'), { ...limited, detail: 'key_rate_limited' })
    const suspected = { kind: 'for', forMs: 2 * MINUTE_MS } as const
    pool.shrug(pool.grantOf('doubted'), { ...bench('key_rejected', 0), term: suspected })
    const size = 500
    for (const [id, tooLargeFor] of [
      ['small', 'key'],
      ['modest', 'account'],
    ] as const) {
      const grant = pool.grantOf(id)
      const lease = { clientId: clientId('client'), model: grant.model, grantedAtMs: 0, tokens: 0 }
      const told = { outcome: 'ignorable', fault: tooLargeFor } as const
      pool.give(grant, { ...told, tooLargeFor, lease: { ...lease, size } })
    }
    pool.lookUp('layered', 0, { layer: 'member' })
    pool.lookUp('freeloader', null, { freeRemaining: 0 })
    pool.shrug(pool.grantOf('lent', { model }), {
      ...{ ...limited, scope: 'account_model', detail: 'provider_key_failed' },
    })
    pool.grantOf('drained')
    order(pool, 'drain', 'drained')
    order(pool, 'pause', 'halted')
    const { reasons } = pool.refusal({ tried: ['tried'], tokens: 50, size, model })
    // Those of clients and of batches are counted in the tests of these.
    const ofOthers = ['not_for_client', 'kept_for_interactive']
    const expected = REASONS.filter((reason) => !ofOthers.includes(reason))
    expect(Object.keys(reasons).toSorted()).toEqual(expected.toSorted())
    expect(Object.values(reasons)).toEqual(expected.map(() => 1))
  })

  it('name the standing fault of a key before the passing one', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    pool.trip('a')
    pool.wait(MINUTE_MS)
    const probe = pool.grant()
    expect(pool.refusal().reasons).toEqual({ half_open_busy: 1 })
    pool.shrug(probe, bench('account_rate_limited', pool.now() + 1_000))
    expect(pool.refusal().reasons).toEqual({ account_rate_limited: 1 })
    expect(pool.refusal({ tried: ['a'] }).reasons).toEqual({ already_tried: 1 })
  })

  it('are in the order of the contract', () => {
    expect(REASONS).toEqual([
      'disabled',
      'paused',
      'draining',
      'not_in_route',
      'already_tried',
      'key_rejected',
      'key_spent',
      'account_out_of_credit',
      'account_rate_limited',
      'below_min_credit',
      'breaker_open',
      'half_open_busy',
      'at_max_concurrent',
      'at_rpm',
      'at_tpm',
      'at_max_spend',
      'not_for_client',
      'key_rate_limited',
      'key_suspected',
      'too_large_for_key',
      'too_large_for_account',
      'budget_layer_spent',
      'free_tier_spent',
      'provider_key_failed',
      'kept_for_interactive',
    ])
  })
})

describe('moving on', () => {
  it('goes to no key that was tried, and to no key of an account that was at fault', () => {
    const pool = drivePool([
      { id: 'a1', account: 'a' },
      { id: 'a2', account: 'a' },
      { id: 'b1', account: 'b' },
    ])
    for (let i = 0; i < 10; i++) {
      expect(pool.grant({ tried: ['a1'], notAccounts: ['a'] }).keyId).toBe('b1')
    }
    expect(pool.refusal({ tried: ['b1'], notAccounts: ['a'] })).toMatchObject({
      reasons: { already_tried: 3 },
      retryAtMs: null,
    })
  })

  it('may go to another key of the account when only the key was at fault', () => {
    const pool = drivePool([
      { id: 'a1', account: 'a' },
      { id: 'a2', account: 'a' },
    ])
    expect(pool.grant({ tried: ['a1'], attempt: 'move' }).keyId).toBe('a2')
  })

  it('for a key’s fault costs no retry budget', () => {
    const pool = drivePool(['a'], { retryBudget: { ratio: 0, minPerSecond: 0 } })
    for (let i = 0; i < 50; i++) pool.give(pool.grant({ attempt: 'move' }))
    expect(pool.refusal({ attempt: 'retry' }).cause).toBe('retry_budget')
  })
})

describe('the retry budget of the pool', () => {
  const empty = { ratio: 1, minPerSecond: 0 }

  it('is paid by requests and pays for retries', () => {
    const pool = drivePool(['a'], { retryBudget: empty })
    expect(pool.refusal({ attempt: 'retry' })).toMatchObject({ cause: 'retry_budget', reasons: {} })
    pool.grant()
    pool.grant({ attempt: 'retry' })
    expect(pool.refusal({ attempt: 'retry' }).cause).toBe('retry_budget')
  })

  it('is not charged for a retry that finds no key', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], { retryBudget: empty })
    const lease = pool.grant()
    for (let i = 0; i < 5; i++) expect(pool.refusal({ attempt: 'retry' }).cause).toBe('no_key')
    pool.give(lease)
    expect(pool.grant({ attempt: 'retry' }).keyId).toBe('a')
  })

  it('is charged once for a retry that is asked for twice', () => {
    const pool = drivePool(['a'], { retryBudget: empty })
    pool.grant()
    pool.grant()
    pool.grant({ attempt: 'retry', lease: 'mine' })
    pool.grant({ attempt: 'retry', lease: 'mine' })
    expect(pool.grant({ attempt: 'retry' }).keyId).toBe('a')
  })

  it('is paid into once by a request, however often it has to ask', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }], {
      retryBudget: { ratio: 0.5, minPerSecond: 0 },
    })
    const lease = pool.grant()
    for (let i = 0; i < 100; i++) pool.refusal({ lease: 'waiting' })
    pool.give(lease)
    pool.give(pool.grant({ lease: 'waiting' }))
    pool.give(pool.grant({ attempt: 'retry' }))
    expect(pool.refusal({ attempt: 'retry' }).cause).toBe('retry_budget')
  })

  it('that refuses a retry costs no key its turn', () => {
    const pool = drivePool([{ id: 'a', weight: 3 }, { id: 'b', weight: 2 }, 'c'], {
      strategy: 'weighted',
      retryBudget: { ratio: 0, minPerSecond: 0 },
    })
    const served = Array.from({ length: 60 }, () => {
      pool.refusal({ attempt: 'retry' })
      return pool.grant().keyId
    })
    for (let start = 0; start < 60; start += 6) {
      expect(
        served
          .slice(start, start + 6)
          .toSorted()
          .join(''),
      ).toBe('aaabbc')
    }
  })
})

it('the same history and seed make the same decisions', () => {
  const decisions = () => {
    const pool = drivePool(['a', 'b', 'c', 'd'])
    return Array.from({ length: 100 }, (_, i) => {
      const lease = pool.grant()
      if (i % 3 > 0) pool.give(lease)
      if (i % 20 === 0) pool.fail(pool.grant())
      return lease.keyId
    })
  }
  expect(decisions()).toEqual(decisions())
})

import { describe, expect, it } from 'vitest'
import { keyId, leaseId } from '../../../src/balancing/ids.ts'
import {
  takeDutiesAtRest,
  takeDutiesNow,
  takeGenerations,
  takeLookupDuties,
} from '../../../src/balancing/serving/duty-hand-out.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { drivePool, type KeySpec, type PoolDriver, usageOf } from '../pool-driver.ts'

const ids = (duties: readonly { readonly keyId: string }[]) => duties.map(({ keyId: id }) => id)
const next = (pool: PoolDriver) => ids(takeLookupDuties(pool.state, pool.now()))

describe('with a request', () => {
  it('four keys are looked up at most, the most overdue first', () => {
    const pool = drivePool(['a', 'b', 'c', 'd', 'e', 'f'])
    // In this order they were last looked up, so in this order it is their turn.
    for (const id of ['f', 'b', 'd', 'a', 'e', 'c']) {
      pool.lookUp(id, 5)
      pool.wait(10_000)
    }
    pool.wait(120_000)
    expect(next(pool)).toEqual(['f', 'b', 'd', 'a'])
    expect(next(pool)).toEqual(['e', 'c'])
    expect(next(pool)).toEqual([])
  })

  it('no key is that is disabled', () => {
    expect(next(drivePool([{ id: 'a', disabled: true }, 'b']))).toEqual(['b'])
  })
})

describe('at rest', () => {
  const atRest = (spec: Partial<KeySpec>, remainingUsd: number | null, more = {}) => {
    const pool = drivePool([{ id: 'a', ...spec }], { credit: { thresholdUsd: 2 } })
    pool.lookUp('a', remainingUsd, more)
    pool.wait(60_000)
    return ids(takeDutiesAtRest(pool.state, 10, pool.now()))
  }

  it.each<[string, Partial<KeySpec>, number | null, string[]]>([
    ['a key is looked up whose cap is near', {}, 2, ['a']],
    ['one with more than that is not', {}, 2.01, []],
    ['its minimum counts as spent', { minCredit: 3 }, 5, ['a']],
    ['and what is above it does not', { minCredit: 3 }, 5.01, []],
    ['one without a cap is not', {}, null, []],
    ['one that is disabled is not', { disabled: true }, 2, []],
  ])('%s', (_, spec, remainingUsd, due) => {
    expect(atRest(spec, remainingUsd)).toEqual(due)
  })

  it('a cap that has been reset is not near', () => {
    const resetsAtMs = drivePool(['a']).now() + 30_000
    expect(atRest({}, 1, { resetsAtMs })).toEqual([])
  })

  it('no key is of which nothing is known, and nothing wrong', () => {
    const { state, now } = drivePool(['a'])
    expect(takeDutiesAtRest(state, 10, now())).toEqual([])
  })

  it('no more are than are asked for', () => {
    const pool = drivePool(['a', 'b', 'c'])
    for (const id of ['a', 'b', 'c']) pool.lookUp(id, 1)
    pool.wait(120_000)
    expect(takeDutiesAtRest(pool.state, 2, pool.now())).toHaveLength(2)
  })
})

describe('on an operator’s order', () => {
  const ordered = (pool: PoolDriver, most = 10) => {
    const told = takeDutiesNow(pool.state, [...pool.state.keys.values()], most, pool.now())
    return { lookups: ids(told.lookups), underWay: told.underWay, later: told.later }
  }

  it('keys are looked up that are not due, by answers of now', () => {
    const pool = drivePool(['a', 'b'])
    for (const id of ['a', 'b']) pool.lookUp(id, 5)
    pool.wait(5_000)
    expect(next(pool)).toEqual([])
    const told = takeDutiesNow(pool.state, [pool.key('b')], 10, pool.now())
    expect(told.lookups).toEqual([{ keyId: 'b', freshSinceMs: pool.now(), withBalance: false }])
  })

  it('those that a Worker looks up now are left to it, until it is overdue', () => {
    const pool = drivePool(['a', 'b'])
    next(pool)
    expect(ordered(pool)).toEqual({ lookups: [], underWay: ['a', 'b'], later: [] })
    pool.wait(59_999)
    expect(ordered(pool).underWay).toEqual(['a', 'b'])
    pool.wait(1)
    expect(ordered(pool)).toEqual({ lookups: ['a', 'b'], underWay: [], later: [] })
  })

  it('so are those of which a report has come within five seconds', () => {
    const pool = drivePool(['a', 'b'])
    pool.lookUp('a', 5)
    pool.wait(4_999)
    expect(ordered(pool)).toEqual({ lookups: ['b'], underWay: ['a'], later: [] })
    pool.wait(1)
    expect(ordered(pool)).toEqual({ lookups: ['a'], underWay: ['b'], later: [] })
  })

  it('those that are too many go with the next requests', () => {
    const pool = drivePool(['a', 'b', 'c'])
    for (const id of ['a', 'b', 'c']) pool.lookUp(id, 5)
    pool.wait(5_000)
    expect(ordered(pool, 1)).toEqual({ lookups: ['a'], underWay: [], later: ['b', 'c'] })
    expect(next(pool)).toEqual(['b', 'c'])
  })
})

it('a lookup asks for the balance while its account is out of credit', () => {
  const out: BenchOrder = {
    scope: 'account',
    reason: 'account_out_of_credit',
    term: { kind: 'for', forMs: 600_000 },
  }
  const pool = drivePool(['a', 'b'])
  pool.shrug(pool.grantOf('a'), out)
  const duties = takeLookupDuties(pool.state, pool.now())
  expect(duties.map(({ keyId: id, withBalance }) => [id, withBalance])).toEqual([
    ['a', true],
    ['b', false],
  ])
})

it('a generation is asked about by another key of its account, if its own is rejected', () => {
  const pool = drivePool([
    { id: 'a', account: 'acme' },
    { id: 'b', account: 'globex' },
    { id: 'c', account: 'acme' },
  ])
  pool.give(pool.grantOf('a'), {
    usage: { ...usageOf(5, 5, 0.1), estimated: true },
    generationId: 'gen-1',
  })
  const rejected = {
    scope: 'key',
    reason: 'key_rejected',
    term: { kind: 'lookup', lapseMs: null },
  } as const
  pool.fail(pool.grantOf('a', { lease: leaseId('other') }), rejected)
  pool.wait(5_000)
  const taken = takeGenerations(pool.state, 4, pool.now())
  expect(taken).toEqual([{ generationId: 'gen-1', keyId: keyId('c') }])
})

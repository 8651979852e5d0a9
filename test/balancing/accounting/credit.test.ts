import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  afterFailedLookup,
  afterSpending,
  type Credit,
  creditAsOf,
  spendableUsd,
  UNKNOWN_CREDIT,
} from '../../../src/balancing/accounting/credit.ts'
import { report } from '../../../src/balancing/pool.ts'
import { takeLookupDuties } from '../../../src/balancing/serving/duty-hand-out.ts'
import { snapshot } from '../../../src/balancing/snapshot.ts'
import {
  drivePool,
  type KeySpec,
  type PoolDriver,
  START_MS,
  usageOf,
  validReport,
} from '../pool-driver.ts'

const REFRESH_MS = 60_000

type Known = Extract<Credit, { kind: 'known' }>

const known = (remainingUsd: number | null, more: Partial<Known> = {}): Known => ({
  kind: 'known',
  limitUsd: remainingUsd === null ? null : 20,
  remainingUsd,
  resetsAtMs: null,
  asOfMs: START_MS,
  stale: false,
  ...more,
})

describe('what a key has left', () => {
  it('falls by what answers cost, and never below nothing', () => {
    const afterOne = afterSpending(known(5), 1.5, START_MS)
    expect(afterOne).toMatchObject({ remainingUsd: 3.5, asOfMs: START_MS })
    expect(afterSpending(afterOne, 9, START_MS)).toMatchObject({ remainingUsd: 0 })
  })

  it('stays unknown, or without a cap, whatever is spent', () => {
    expect(afterSpending(UNKNOWN_CREDIT, 5, START_MS)).toEqual(UNKNOWN_CREDIT)
    expect(afterSpending(known(null), 5, START_MS)).toEqual(known(null))
  })

  it('is whole again from the moment of its reset, less what was spent since', () => {
    const credit = known(1, { resetsAtMs: START_MS + 1_000 })
    expect(creditAsOf(credit, START_MS + 999)).toMatchObject({ remainingUsd: 1 })
    expect(creditAsOf(credit, START_MS + 1_000)).toMatchObject({ remainingUsd: 20 })
    const spent = afterSpending(credit, 3, START_MS + 2_000)
    expect(creditAsOf(spent, START_MS + 3_000)).toMatchObject({ remainingUsd: 17 })
  })

  it('does not turn into nothing, nor become known, by a lookup that failed', () => {
    expect(afterFailedLookup(known(5))).toEqual(known(5, { stale: true }))
    expect(afterFailedLookup(UNKNOWN_CREDIT)).toEqual(UNKNOWN_CREDIT)
  })

  it('is reckoned with less what is running, as nothing where that is more, and never as NaN', () => {
    expect(spendableUsd(known(5), 2, START_MS)).toBe(3)
    expect(spendableUsd(known(5), 6, START_MS)).toBe(0)
    expect(spendableUsd(known(null), 6, START_MS)).toBe(Number.POSITIVE_INFINITY)
    expect(spendableUsd(UNKNOWN_CREDIT, 6, START_MS)).toBeNull()
    expect(spendableUsd(known(0, { resetsAtMs: START_MS }), 2, START_MS)).toBe(18)
  })

  it('lies between nothing and its cap, whatever is spent and looked up', () => {
    const anyStep = fc.record({
      afterMs: fc.nat({ max: 40_000 }),
      costUsd: fc.double({ min: 0, max: 30, noNaN: true }),
    })
    fc.assert(
      fc.property(fc.nat({ max: 20 }), fc.array(anyStep), (leftUsd, steps) => {
        let credit: Credit = known(leftUsd, { resetsAtMs: START_MS + 100_000 })
        let nowMs = START_MS
        for (const { afterMs, costUsd } of steps) {
          nowMs += afterMs
          credit = afterSpending(credit, costUsd, nowMs)
          const left = spendableUsd(credit, costUsd, nowMs) ?? Number.NaN
          expect(left).toBeGreaterThanOrEqual(0)
          expect(left).toBeLessThanOrEqual(20)
        }
      }),
    )
  })
})

/** Serves one request on one key. */
function spend(pool: PoolDriver, id: string, costUsd: number, estimated = false): void {
  pool.give(pool.grantOf(id), { usage: { ...usageOf(10, 10, costUsd), estimated } })
}

const leftOf = (pool: PoolDriver, id: string) =>
  snapshot(pool.state, pool.now()).keys.find((key) => key.id === id)?.credit?.remainingUsd

/** Hands out the lookup duties that are due. The test itself makes the key reports. */
const handOut = (pool: PoolDriver) => takeLookupDuties(pool.state, pool.now())

describe('the credit of a pool’s keys', () => {
  it('falls between two lookups with each answer, and follows the next lookup', () => {
    const pool = drivePool(['a'])
    pool.lookUp('a', 10)
    spend(pool, 'a', 2)
    spend(pool, 'a', 0.5)
    expect(leftOf(pool, 'a')).toBe(7.5)
    pool.wait(REFRESH_MS)
    handOut(pool)
    pool.lookUp('a', 7)
    expect(leftOf(pool, 'a')).toBe(7)
  })

  it('falls by the estimate, too, for an answer that was cut short', () => {
    const pool = drivePool(['a'])
    pool.lookUp('a', 10)
    spend(pool, 'a', 2, true)
    expect(leftOf(pool, 'a')).toBe(8)
  })

  it('is reckoned too low rather than too high while a lookup is under way', () => {
    const pool = drivePool(['a'])
    pool.lookUp('a', 10)
    pool.wait(REFRESH_MS)
    handOut(pool)
    spend(pool, 'a', 3)
    pool.lookUp('a', 8)
    expect(leftOf(pool, 'a')).toBe(5)
    pool.wait(REFRESH_MS)
    handOut(pool)
    pool.lookUp('a', 7)
    expect(leftOf(pool, 'a')).toBe(7)
  })

  it('is not raised again by an answer that is known already', () => {
    const pool = drivePool(['a'])
    const askedAtMs = pool.now()
    report(pool.state, validReport('a', 10, askedAtMs), pool.now())
    spend(pool, 'a', 4)
    pool.wait(REFRESH_MS)
    handOut(pool)
    report(pool.state, validReport('a', 10, askedAtMs), pool.now())
    expect(leftOf(pool, 'a')).toBe(6)
  })

  it('survives OpenRouter’s silence: it stands, marked as old, and goes on falling', () => {
    const pool = drivePool(['a'])
    pool.lookUp('a', 10)
    pool.wait(REFRESH_MS)
    const [order] = handOut(pool)
    if (order !== undefined) {
      report(pool.state, { keyId: order.keyId, kind: 'unknown' }, pool.now())
    }
    spend(pool, 'a', 1)
    expect(snapshot(pool.state, pool.now()).keys[0]?.credit).toMatchObject({
      remainingUsd: 9,
      stale: true,
    })
    pool.wait(REFRESH_MS)
    pool.lookUp('a', 8)
    expect(snapshot(pool.state, pool.now()).keys[0]?.credit).toMatchObject({ stale: false })
  })

  it('is unknown at first, and that keeps no key from serving', () => {
    const pool = drivePool([{ id: 'a', minCredit: 5 }])
    expect(leftOf(pool, 'a')).toBeUndefined()
    expect(pool.grant().keyId).toBe('a')
  })
})

describe('min_credit', () => {
  const poolWith = (spec: Partial<KeySpec> = {}) =>
    drivePool([{ id: 'a', minCredit: 2, ...spec }, 'other'])

  it.each([
    [2.01, true],
    [2, false],
    [0, false],
    [null, true],
  ])('of 2, with %s left: serves is %s', (remainingUsd, serves) => {
    const pool = poolWith()
    pool.lookUp('a', remainingUsd)
    const answer = pool.ask({ tried: ['other'] })
    expect(answer.kind).toBe(serves ? 'grant' : 'refusal')
    if (!serves) expect(answer).toMatchObject({ reasons: { below_min_credit: 1 } })
  })

  it('takes a key out as soon as an answer brings it there, before OpenRouter says no', () => {
    const pool = poolWith()
    pool.lookUp('a', 4)
    spend(pool, 'a', 1.5)
    spend(pool, 'a', 1)
    expect(pool.refusal({ tried: ['other'] }).reasons).toMatchObject({ below_min_credit: 1 })
  })

  it('of nothing, the default, takes a key out that has nothing left', () => {
    const pool = poolWith({ minCredit: 0 })
    pool.lookUp('a', 0.01)
    expect(pool.grantOf('a').keyId).toBe('a')
    spend(pool, 'a', 1)
    expect(pool.refusal({ tried: ['other'] }).reasons).toMatchObject({ below_min_credit: 1 })
  })

  it('lets no more run at once than the credit will probably pay for', () => {
    const pool = poolWith()
    pool.lookUp('a', 100)
    spend(pool, 'a', 1)
    pool.wait(REFRESH_MS)
    handOut(pool)
    pool.lookUp('a', 5)
    // An answer costs a dollar. Three may run. The fourth would need the credit that must stay.
    const running = [1, 2, 3].map(() => pool.grantOf('a'))
    const refusal = pool.refusal({ tried: ['other'] })
    expect(refusal.reasons).toMatchObject({ below_min_credit: 1 })
    expect(refusal.retryAtMs).toBeGreaterThan(pool.now())
    for (const lease of running) pool.give(lease, { usage: usageOf(1, 1, 0) })
    expect(pool.grantOf('a').keyId).toBe('a')
  })

  it('lets a key serve again from the moment of its reset, which a refusal names', () => {
    const pool = drivePool([{ id: 'a', minCredit: 2 }])
    const resetsAtMs = pool.now() + 30_000
    pool.lookUp('a', 1, { resetsAtMs })
    expect(pool.refusal().retryAtMs).toBe(resetsAtMs)
    pool.at(resetsAtMs - 1)
    pool.refusal()
    pool.wait(1)
    expect(pool.grant().keyId).toBe('a')
  })

  it('names no moment where nothing but money helps, and is over when a lookup shows some', () => {
    const pool = drivePool([{ id: 'a', minCredit: 2 }])
    pool.lookUp('a', 1)
    expect(pool.refusal().retryAtMs).toBeNull()
    pool.wait(REFRESH_MS)
    pool.lookUp('a', 3)
    expect(pool.grant().keyId).toBe('a')
  })
})

it('a key without a cap that is given one is treated as one with it from then on', () => {
  const pool = drivePool(['a'])
  pool.lookUp('a', null)
  spend(pool, 'a', 50)
  expect(leftOf(pool, 'a')).toBeNull()
  pool.wait(REFRESH_MS)
  handOut(pool)
  pool.lookUp('a', 3)
  spend(pool, 'a', 1)
  expect(leftOf(pool, 'a')).toBe(2)
})

it('an answer that was cut, whose cost nobody told, says nothing of what answers cost', () => {
  const pool = drivePool([{ id: 'a', minCredit: 2 }])
  pool.lookUp('a', 100)
  spend(pool, 'a', 2)
  for (let i = 0; i < 20; i++) spend(pool, 'a', 0, true)
  pool.wait(REFRESH_MS)
  handOut(pool)
  pool.lookUp('a', 5)
  // An answer costs two dollars, so two may run, but not three.
  for (let i = 0; i < 2; i++) pool.grant()
  expect(pool.refusal().reasons).toEqual({ below_min_credit: 1 })
})

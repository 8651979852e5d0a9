import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addSpend,
  createSpend,
  hasSurplus,
  type KeySpend,
  type MaxSpend,
  renewSpend,
  restoreSpend,
  type SpendRecord,
  spendRecord,
  spentUsd,
} from '../../../src/balancing/accounting/max-spend.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { renewSpends } from '../../../src/balancing/records/spend-rows.ts'
import { drivePool, START_MS, usageOf } from '../pool-driver.ts'

const DAY_MS = 24 * 3_600_000
/** START_MS is a Thursday at noon. */
const MIDNIGHT = START_MS + DAY_MS / 2
const NOTHING = { totalUsd: 0, todayUsd: 0, weekUsd: 0, monthUsd: 0 }

function created(max: MaxSpend, nowMs = START_MS): KeySpend {
  const spend = createSpend(max, nowMs)
  if (spend === null) throw new Error('no limit')
  return spend
}

const usd = (amount: number) => ({ usage: usageOf(1, 1, amount) })

describe('a key with max_spend', () => {
  it.each([
    ['day', MIDNIGHT],
    ['week', Date.UTC(2026, 0, 19)],
    ['month', Date.UTC(2026, 1, 1)],
    ['total', null],
  ] as const)('serves until it has spent it, in a %s', (period, endsAtMs) => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period } }])
    pool.give(pool.grant(), usd(0.5))
    pool.give(pool.grant(), usd(0.5))
    const refused = { reasons: { at_max_spend: 1 }, retryAtMs: endsAtMs }
    expect(pool.refusal()).toMatchObject(refused)
    if (endsAtMs === null) {
      pool.wait(400 * DAY_MS)
      expect(pool.refusal()).toMatchObject(refused)
      return
    }
    pool.at(endsAtMs - 1)
    expect(pool.refusal()).toMatchObject(refused)
    pool.at(endsAtMs)
    expect(pool.grant().keyId).toBe('a')
  })

  it('counts running requests by what one costs on average', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'day' } }, 'b'])
    pool.give(pool.grantOf('a'), usd(0.3))
    const running = [pool.grantOf('a'), pool.grantOf('a'), pool.grantOf('a')]
    // 0.3 spent and three times 0.3 expected.
    expect(pool.refusal({ tried: ['b'] })).toMatchObject({
      reasons: { at_max_spend: 1, already_tried: 1 },
      retryAtMs: MIDNIGHT,
    })
    expect(pool.ask({ tried: ['b'], waitMs: 5_000 }).kind).toBe('waiting')
    for (const lease of running) pool.give(lease, usd(0.01))
    pool.wake()
    expect(pool.state.queue.size).toBe(0)
  })

  it('is well again in the next period, however much was spent in the last', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'day' } }])
    pool.give(pool.grant(), usd(50))
    pool.at(MIDNIGHT + 1)
    pool.give(pool.grant(), usd(0.4))
    expect(pool.grant().keyId).toBe('a')
  })

  it('is out of panic’s count while it is at its limit', () => {
    const spent = { id: 'a', maxSpend: { usd: 1, period: 'day' } } as const
    const pool = drivePool([spent, 'b'], { panicRatio: 0.5 })
    pool.give(pool.grantOf('a'), usd(1))
    pool.trip('b')
    // Of the one key that could serve, none is closed.
    expect(pool.grant().keyId).toBe('b')
  })

  it('costs one row when its spend passes what the last row says, and none else', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 100, period: 'day' } }, 'b'])
    const rows = () => takeChanges(pool.state).spends
    pool.give(pool.grantOf('b'), usd(1))
    expect(rows().size).toBe(0)
    pool.give(pool.grantOf('a'), usd(0.1))
    const row = rows().get(pool.key('a').id)
    expect(row).toMatchObject({ period: 'day', endsAtMs: MIDNIGHT })
    expect(Number.isInteger(row?.nanos)).toBe(true)
    expect(row?.nanos).toBeGreaterThan(0.1e9)
    pool.give(pool.grantOf('a'), usd(0.1))
    expect(rows().size).toBe(0)
  })

  it('that spends steadily costs one row in each interval, and none at rest', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1_000, period: 'day' } }])
    const written: number[] = []
    for (let interval = 0; interval < 20; interval++) {
      let rows = 0
      for (let i = 0; i < 50; i++) {
        pool.wait(100)
        if (interval < 15) pool.give(pool.grant(), usd(0.01 * (1 + (i % 3))))
        rows += takeChanges(pool.state).spends.size
      }
      renewSpends(pool.state)
      written.push(rows + takeChanges(pool.state).spends.size)
    }
    expect(written.slice(1, 15)).toEqual(Array.from({ length: 14 }, () => 1))
    // The surplus is taken back once.
    expect(written.slice(15)).toEqual([1, 0, 0, 0, 0])
    expect(spentUsd(pool.key('a').spend as KeySpend, pool.now())).toBeCloseTo(14.85, 6)
  })
})

describe('after a crash at any moment', () => {
  const max = { usd: 100, period: 'day' } as const

  it('never less counts as spent than was spent, and not much more', () => {
    const costs = fc.array(fc.double({ min: 0, max: 3, noNaN: true }), { maxLength: 60 })
    fc.assert(
      fc.property(costs, fc.nat({ max: 9 }), fc.nat({ max: 60 }), (all, every, crashAt) => {
        const spend = created(max)
        let row: SpendRecord | null = null
        let really = 0
        for (const [i, cost] of all.slice(0, crashAt).entries()) {
          if (addSpend(spend, cost, 1, START_MS)) row = spendRecord(spend)
          really += cost
          if (i % (every + 1) === 0 && renewSpend(spend, 1)) row = spendRecord(spend)
        }
        const again = created(max)
        restoreSpend(again, row, NOTHING, START_MS)
        const counted = spentUsd(again, START_MS)
        expect(counted).toBeGreaterThanOrEqual(really - 1e-6)
        expect(counted).toBeLessThanOrEqual(really * 3 + 5)
      }),
    )
  })

  it('a row that is renewed at rest is exact', () => {
    const spend = created(max)
    addSpend(spend, 1.25, 0.5, START_MS)
    expect(hasSurplus(spend)).toBe(true)
    renewSpend(spend, 0.5)
    expect(renewSpend(spend, 0.5)).toBe(true)
    expect(hasSurplus(spend)).toBe(false)
    expect(spendRecord(spend).nanos).toBe(1.25e9)
    expect(renewSpend(spend, 0.5)).toBe(false)
  })

  it('a row of another period, or of one that has ended, does not count; the tally does', () => {
    const counted = (record: SpendRecord | null, today: number, nowMs = START_MS) => {
      const spend = created(max, nowMs)
      restoreSpend(spend, record, { ...NOTHING, todayUsd: today, monthUsd: 90 }, nowMs)
      return spentUsd(spend, nowMs)
    }
    const row = { period: 'day', endsAtMs: MIDNIGHT, nanos: 7e9 } as const
    expect(counted(row, 5)).toBe(7)
    expect(counted(row, 8)).toBe(8)
    expect(counted(row, 0, MIDNIGHT)).toBe(0)
    expect(counted({ period: 'month', endsAtMs: MIDNIGHT + DAY_MS, nanos: 7e9 }, 2)).toBe(2)
    expect(counted(null, 3)).toBe(3)
  })
})

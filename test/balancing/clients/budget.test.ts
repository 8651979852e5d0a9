import { describe, expect, it } from 'vitest'
import {
  BUDGET_MODES,
  type BudgetTerms,
  budgetRecord,
  committedNanos,
  createBudget,
  find,
  isWrittenAhead,
  letPeriodPass,
  limitNanos,
  lose,
  nanosOf,
  ON_EXCEEDED,
  payment,
  paysForAny,
  release,
  renewBudget,
  reserve,
  resetBudget,
  restoreBudget,
  spend,
} from '../../../src/balancing/clients/budget.ts'
import {
  forgetThreshold,
  isStillPassed,
  takeThreshold,
} from '../../../src/balancing/clients/budget-thresholds.ts'
import type { SpendPeriod } from '../../../src/balancing/limits/quota-charge.ts'
import { budgetOf } from './client-terms.ts'

/** A Thursday. */
const NOON = Date.UTC(2026, 0, 15, 12)
const DAY_MS = 24 * 3_600_000

const budget = (changes: Partial<BudgetTerms> = {}) => createBudget(budgetOf(changes), NOON)

const paid = (usd: number) => ({ kind: 'paid', nanos: nanosOf(usd) })
const EXCEEDED = expect.objectContaining({ kind: 'exceeded' })
const UNPRICEABLE = { kind: 'unpriceable' }

describe('what a budget of 1 USD pays for', () => {
  // By mode: a bound of 0.04, of 0.7 and of 2 USD; no bound.
  const reserved = {
    exact: [paid(0.04), paid(0.7), EXCEEDED, paid(0.5)],
    // The tenth of the budget is less than the cap.
    capped: [paid(0.04), paid(0.1), paid(0.1), paid(0.1)],
    after: [paid(0), paid(0), paid(0), paid(0)],
  } as const
  const BOUNDS = [nanosOf(0.04), nanosOf(0.7), nanosOf(2), null]

  it.each(BUDGET_MODES)('under %s, whatever becomes of what it does not pay for', (mode) => {
    for (const onExceeded of ON_EXCEEDED) {
      const found = BOUNDS.map((bound) => payment(budget({ mode, onExceeded }), bound, NOON))
      const warned = reserved[mode].map((wanted) => (wanted === EXCEEDED ? paid(2) : wanted))
      expect(found).toEqual(onExceeded === 'warn' ? warned : reserved[mode])
    }
  })

  it.each(BUDGET_MODES)('under %s and strict: only what has a bound', (mode) => {
    const of = (onExceeded: BudgetTerms['onExceeded']) =>
      payment(budget({ mode, onExceeded, strict: true }), null, NOON)
    expect([of('reject'), of('fallback_model')]).toEqual([UNPRICEABLE, UNPRICEABLE])
    expect(of('warn').kind).toBe('paid')
    expect(payment(budget({ mode, strict: true }), nanosOf(0.04), NOON).kind).toBe('paid')
  })

  it('by the cap, where it is less than a tenth of the budget', () => {
    const large = budget({ mode: 'capped', usd: 100, capUsd: 0.3 })
    expect(payment(large, nanosOf(0.7), NOON)).toEqual(paid(0.3))
    expect(payment(large, nanosOf(0.2), NOON)).toEqual(paid(0.2))
    expect(payment(budget({ mode: 'capped', usd: 100, reserveUsd: 0.4 }), null, NOON)).toEqual(
      paid(0.4),
    )
  })

  it.each(BUDGET_MODES)('under %s: nothing at the budget or above it', (mode) => {
    for (const usd of [1, 1.5]) {
      const full = budget({ mode })
      spend(full, nanosOf(usd), NOON)
      expect(payment(full, 0, NOON)).toEqual(EXCEEDED)
    }
    expect(payment(budget({ mode, usd: 0 }), 0, NOON)).toEqual(EXCEEDED)
  })

  it('to the last nano-dollar, counting what runs and what is lost', () => {
    const exact = budget()
    spend(exact, nanosOf(0.3), NOON)
    reserve(exact, nanosOf(0.3), NOON)
    reserve(exact, nanosOf(0.2), NOON)
    lose(exact, nanosOf(0.2), NOON)
    expect(payment(exact, nanosOf(0.2) + 1, NOON)).toEqual(EXCEEDED)
    expect(payment(exact, nanosOf(0.2), NOON)).toEqual(paid(0.2))
    find(exact, nanosOf(0.2), NOON)
    release(exact, nanosOf(0.3))
    expect(payment(exact, nanosOf(0.7), NOON)).toEqual(paid(0.7))
    expect(payment(exact, nanosOf(0.7) + 1, NOON)).toEqual(EXCEEDED)
  })

  it('a part of it, for leases ahead', () => {
    expect(payment(budget(), nanosOf(0.5), NOON, 0.5)).toEqual(paid(0.5))
    expect(payment(budget(), nanosOf(0.5) + 1, NOON, 0.5)).toEqual(EXCEEDED)
  })

  it('less, after it was lowered below what runs: what runs goes on', () => {
    const lowered = budget()
    reserve(lowered, nanosOf(0.8), NOON)
    lowered.terms = budgetOf({ usd: 0.5 })
    expect(payment(lowered, 1, NOON)).toEqual(EXCEEDED)
    release(lowered, nanosOf(0.8))
    spend(lowered, nanosOf(0.1), NOON)
    expect(payment(lowered, nanosOf(0.4), NOON)).toEqual(paid(0.4))
  })
})

describe('a period', () => {
  it.each<[SpendPeriod, number | null]>([
    ['day', Date.UTC(2026, 0, 16)],
    // A Monday.
    ['week', Date.UTC(2026, 0, 19)],
    ['month', Date.UTC(2026, 1, 1)],
    ['total', null],
  ])('of a %s ends in UTC, and takes what was spent and lost along', (period, endsAtMs) => {
    const of = budget({ period })
    expect(of.endsAtMs).toBe(endsAtMs)
    spend(of, nanosOf(0.6), NOON)
    reserve(of, nanosOf(0.3), NOON)
    reserve(of, nanosOf(0.1), NOON)
    lose(of, nanosOf(0.3), NOON)
    const lastMs = (endsAtMs ?? NOON + 400 * DAY_MS) - 1
    expect(payment(of, 1, lastMs)).toEqual(EXCEEDED)
    letPeriodPass(of, lastMs + 1)
    const left = { spentNanos: 0, lostNanos: 0, reservedNanos: nanosOf(0.1) }
    const all = { ...left, spentNanos: nanosOf(0.6), lostNanos: nanosOf(0.3) }
    expect(of).toMatchObject(endsAtMs === null ? all : left)
    if (of.endsAtMs !== null) expect(of.endsAtMs).toBeGreaterThan(lastMs + 1)
  })

  it('has ended while a request ran: its cost counts in the next one', () => {
    const of = budget()
    reserve(of, nanosOf(0.4), NOON)
    const nextMs = NOON + DAY_MS
    expect(payment(of, nanosOf(0.6) + 1, nextMs)).toEqual(EXCEEDED)
    release(of, nanosOf(0.4))
    spend(of, nanosOf(0.25), nextMs)
    expect(of).toMatchObject({ spentNanos: nanosOf(0.25), reservedNanos: 0 })
  })

  it('has ended: what the next one spends is written, though the row said more', () => {
    const of = budget()
    expect(spend(of, nanosOf(0.5), NOON)).toBe(true)
    const nextMs = NOON + DAY_MS
    expect(spend(of, nanosOf(0.1), nextMs)).toBe(true)
    const after = budget()
    restoreBudget(after, budgetRecord(of), nextMs)
    expect(committedNanos(after)).toBeGreaterThanOrEqual(nanosOf(0.1))
  })

  it('lasts after a restart, and one that has ended leaves nothing', () => {
    const of = budget()
    spend(of, nanosOf(0.5), NOON)
    const after = createBudget(of.terms, NOON + DAY_MS)
    restoreBudget(after, budgetRecord(of), NOON + DAY_MS)
    expect(committedNanos(after)).toBe(0)
  })

  it('keeps what was lost in it apart from what was lost in the one before', () => {
    const of = budget()
    reserve(of, nanosOf(0.3), NOON)
    lose(of, nanosOf(0.3), NOON)
    const nextMs = NOON + DAY_MS
    reserve(of, nanosOf(0.2), nextMs)
    lose(of, nanosOf(0.2), nextMs)
    // The late word of the lease that was lost yesterday.
    find(of, nanosOf(0.3), NOON)
    expect(of.lostNanos).toBe(nanosOf(0.2))
    find(of, nanosOf(0.2), nextMs)
    expect(of.lostNanos).toBe(0)
  })
})

describe('an operator', () => {
  it('grants more until a moment, in whatever period', () => {
    const of = budget()
    spend(of, nanosOf(1), NOON)
    of.increase = { nanos: nanosOf(0.5), untilMs: NOON + 1_000 }
    expect(payment(of, nanosOf(0.5), NOON + 999)).toEqual(paid(0.5))
    expect(limitNanos(of, NOON + 999)).toBe(nanosOf(1.5))
    expect(payment(of, 1, NOON + 1_000)).toEqual(EXCEEDED)
    expect(of.increase).toBeNull()
    of.increase = { nanos: nanosOf(0.5), untilMs: NOON + 2 * DAY_MS }
    letPeriodPass(of, NOON + DAY_MS)
    expect(limitNanos(of, NOON + DAY_MS)).toBe(nanosOf(1.5))
  })

  it('forgets what is spent and lost; what runs stays reserved, and a late word takes nothing', () => {
    const of = budget()
    spend(of, nanosOf(0.5), NOON)
    reserve(of, nanosOf(0.2), NOON)
    reserve(of, nanosOf(0.3), NOON)
    lose(of, nanosOf(0.2), NOON)
    resetBudget(of, NOON + 1)
    expect(of).toMatchObject({ spentNanos: 0, lostNanos: 0, reservedNanos: nanosOf(0.3) })
    lose(of, nanosOf(0.3), NOON)
    find(of, nanosOf(0.2), NOON)
    expect(of.lostNanos).toBe(nanosOf(0.3))
  })

  it('brings the row down: a restart does not bring back what was forgotten', () => {
    const of = budget()
    spend(of, nanosOf(0.5), NOON)
    reserve(of, nanosOf(0.3), NOON)
    resetBudget(of, NOON)
    const after = budget()
    restoreBudget(after, budgetRecord(of), NOON)
    expect(committedNanos(after)).toBe(nanosOf(0.3))
  })
})

describe('thresholds', () => {
  it('are told once in a period each, the highest of those that are passed at once', () => {
    const of = budget()
    const told = (usd: number, nowMs = NOON) => {
      spend(of, nanosOf(usd), nowMs)
      return [takeThreshold(of, nowMs), takeThreshold(of, nowMs)]
    }
    expect(told(0.49)).toEqual([null, null])
    expect(told(0.01)).toEqual([50, null])
    expect(told(0.2)).toEqual([null, null])
    expect(told(0.5)).toEqual([100, null])
    expect(told(0.5)).toEqual([null, null])
    expect(told(0.8, NOON + DAY_MS)).toEqual([80, null])
  })

  it('that were told are not told again after a crash', () => {
    const of = budget()
    spend(of, nanosOf(0.3), NOON)
    renewBudget(of, NOON)
    const mustWrite = spend(of, nanosOf(0.3), NOON)
    expect(takeThreshold(of, NOON)).toBe(50)
    // The row has room for this, and is written all the same.
    expect(mustWrite).toBe(false)
    const after = budget()
    restoreBudget(after, budgetRecord(of), NOON)
    expect(takeThreshold(after, NOON)).toBeNull()
  })
})

describe('the row of a budget', () => {
  it('says at least what is committed, after every step', () => {
    const of = budget({ usd: 100 })
    let record = budgetRecord(of)
    for (let i = 0; i < 200; i++) {
      if (reserve(of, nanosOf(0.05), NOON)) record = budgetRecord(of)
      expect(record.committedNanos).toBeGreaterThanOrEqual(committedNanos(of))
      release(of, nanosOf(0.05))
      if (spend(of, nanosOf(0.001), NOON)) record = budgetRecord(of)
      expect(record.committedNanos).toBeGreaterThanOrEqual(committedNanos(of))
      if (i % 20 === 0 && renewBudget(of, NOON)) record = budgetRecord(of)
    }
  })

  it('is not ahead by more than what runs and twice what is spent in some seconds', () => {
    const of = budget({ usd: 100 })
    for (let i = 0; i < 100; i++) {
      if (i === 50) renewBudget(of, NOON)
      reserve(of, nanosOf(0.05), NOON)
      release(of, nanosOf(0.05))
      spend(of, nanosOf(0.001), NOON)
    }
    const ahead = budgetRecord(of).committedNanos - committedNanos(of)
    expect(ahead).toBeLessThanOrEqual(nanosOf(2 * (0.05 + 0.1)))
  })

  it('is exact at rest, in each of its parts', () => {
    const of = budget({ usd: 0.2 })
    reserve(of, nanosOf(0.2), NOON)
    renewBudget(of, NOON)
    renewBudget(of, NOON)
    // The sum stays the same, and its parts do not.
    release(of, nanosOf(0.2))
    spend(of, nanosOf(0.2), NOON)
    renewBudget(of, NOON)
    expect(renewBudget(of, NOON)).toBe(true)
    expect(budgetRecord(of)).toMatchObject({
      spentNanos: nanosOf(0.2),
      lostNanos: 0,
      committedNanos: nanosOf(0.2),
    })
    expect(renewBudget(of, NOON)).toBe(false)
  })

  it('counts after a crash, until what is settled brings it down', () => {
    const of = budget()
    spend(of, nanosOf(0.1), NOON)
    reserve(of, nanosOf(0.2), NOON)
    const record = budgetRecord(of)
    const after = budget()
    restoreBudget(after, record, NOON)
    const restoredNanos = committedNanos(after)
    expect(restoredNanos).toBeGreaterThanOrEqual(nanosOf(0.3))
    find(after, nanosOf(0.2), NOON)
    spend(after, nanosOf(0.05), NOON)
    expect(committedNanos(after)).toBe(restoredNanos - nanosOf(0.15))
  })
})

describe('a budget of 1 USD', () => {
  it.each<[BudgetTerms['mode'], number, boolean]>([
    ['exact', 0, false],
    // A tenth of what is left of 1 USD: 0.1.
    ['capped', 0.9, true],
    ['capped', 0.91, false],
    ['after', 0.99, true],
    ['after', 1, false],
  ])('under %s with %d of 1 USD spent pays for any request: %s', (mode, usd, pays) => {
    const of = budget({ mode })
    spend(of, nanosOf(usd), NOON)
    expect(paysForAny(of, NOON)).toBe(pays)
  })

  it('is written once more at rest as long as its row is not exact', () => {
    const of = budget()
    expect(isWrittenAhead(of)).toBe(false)
    reserve(of, nanosOf(0.1), NOON)
    expect(isWrittenAhead(of)).toBe(true)
    for (let i = 0; i < 2; i++) renewBudget(of, NOON)
    expect(isWrittenAhead(of)).toBe(false)
  })

  it.each([
    ['nothing runs', 0, 0.3, 0.2],
    ['its leases hold a part of it', 0.1, 0.3, 0.1],
    // A lease of the checkpoint may be settled since: its cost is spent, and it holds that.
    ['its leases hold more than the rest', 0.4, 0.1, 0],
    ['its leases hold more than it says', 0.9, 0, 0],
  ])('comes back after a restart to what its row says: %s', (_, held, spent, lost) => {
    const of = budget()
    reserve(of, nanosOf(held), NOON)
    const record = {
      ...{
        period: 'day' as const,
        endsAtMs: of.endsAtMs,
        sinceMs: 5,
        toldPercent: 50,
        usedAtMs: 7,
      },
      ...{ spentNanos: nanosOf(0.3), lostNanos: 0, committedNanos: nanosOf(0.5), increase: null },
    }
    restoreBudget(of, record, NOON)
    expect(of).toMatchObject({
      ...{ spentNanos: nanosOf(spent), lostNanos: nanosOf(lost), reservedNanos: nanosOf(held) },
      ...{ sinceMs: 5, toldPercent: 50, usedAtMs: 7 },
    })
  })

  it('that was told of a share is told again after the share was not passed any more', () => {
    const of = budget()
    spend(of, nanosOf(0.85), NOON)
    expect(takeThreshold(of, NOON)).toBe(80)
    expect(isStillPassed(of, 100, NOON)).toBe(false)
    expect(isStillPassed(of, 80, NOON)).toBe(true)
    of.increase = { nanos: nanosOf(1), untilMs: NOON + DAY_MS / 24 }
    expect(isStillPassed(of, 80, NOON)).toBe(false)
    // One that was never told of is not forgotten.
    forgetThreshold(of, 100)
    expect(of.toldPercent).toBe(80)
    forgetThreshold(of, 80)
    expect(of.toldPercent).toBe(50)
    expect(takeThreshold(of, NOON)).toBeNull()
    expect(takeThreshold(of, NOON + DAY_MS / 24)).toBe(80)
    forgetThreshold(of, 50)
    expect(of.toldPercent).toBe(0)
  })
})

import { describe, expect, it } from 'vitest'
import {
  type BudgetTerms,
  budgetRecord,
  committedNanos,
  createBudget,
  nanosOf,
  reserve,
  restoreBudget,
  spend,
} from '../../../src/balancing/clients/budget.ts'

const EVENING_MS = Date.UTC(2026, 0, 15, 22)
const MORNING_MS = Date.UTC(2026, 0, 16, 8)

const TERMS: BudgetTerms = {
  ...{ usd: 2, period: 'day', onExceeded: 'reject', mode: 'exact', strict: false },
  ...{ capUsd: 0.5, reserveUsd: 0.5, includeByok: false, assumeOutputTokens: 4_096 },
}

describe.each([
  ['spent', spend],
  ['reserved', reserve],
])('the first amount that is %s in a new period', (_, commit) => {
  it('is known after a crash, although the row of the period before held more', () => {
    const budget = createBudget(TERMS, EVENING_MS)
    expect(spend(budget, nanosOf(1), EVENING_MS)).toBe(true)
    let stored = budgetRecord(budget)

    const mustWrite = commit(budget, nanosOf(0.25), MORNING_MS)
    if (mustWrite) stored = budgetRecord(budget)

    const restored = createBudget(TERMS, MORNING_MS)
    restoreBudget(restored, stored, MORNING_MS)
    expect(committedNanos(restored)).toBeGreaterThanOrEqual(nanosOf(0.25))
  })
})

import { describe, expect, it } from 'vitest'
import { createBudget } from '../../../src/balancing/clients/budget.ts'
import {
  forgetThreshold,
  isStillPassed,
  takeThreshold,
  thresholdsAt,
} from '../../../src/balancing/clients/budget-thresholds.ts'
import { callerOf, callerWithoutLimits, mayUse } from '../../../src/balancing/clients/caller.ts'
import { clientId } from '../../../src/balancing/ids.ts'
import { budgetOf, clientOf, groupOf } from './client-terms.ts'

const KEYS = [{ kind: 'tag', tag: 'eu' }] as const

describe('a caller', () => {
  it('without limits may do everything, and nobody counts its money', () => {
    const anybody = callerWithoutLimits(clientId('anonymous'))
    expect(anybody).toMatchObject({ isLimited: false, hasTokenLimit: false, budget: null })
    expect(anybody).toMatchObject({ models: [], keys: [], expiresAtMs: null })
    expect(mayUse(anybody, ['vendor/model'])).toBe(true)
  })

  it.each([
    [
      'nothing',
      {},
      {},
      { isLimited: false, hasTokenLimit: false, budget: null, expiresAtMs: null },
    ],
    ['its own limit of requests', { rpm: 1 }, {}, { isLimited: true, hasTokenLimit: false }],
    ['its group’s limit of requests', {}, { rpm: 1 }, { isLimited: true, hasTokenLimit: false }],
    ['its own limit of tokens', { tpm: 1 }, {}, { isLimited: true, hasTokenLimit: true }],
    ['its group’s limit of tokens', {}, { tpm: 1 }, { isLimited: true, hasTokenLimit: true }],
    ['its keys', { keys: KEYS }, {}, { isLimited: true, keys: [KEYS] }],
    ['its end', { expiresAtMs: 5 }, {}, { expiresAtMs: 5 }],
    ['its group’s end', {}, { expiresAtMs: 5 }, { expiresAtMs: 5 }],
    ['the earlier end', { expiresAtMs: 7 }, { expiresAtMs: 5 }, { expiresAtMs: 5 }],
    [
      'the longest answer that its budgets assume',
      { budgets: [budgetOf({ assumeOutputTokens: 5 })] },
      { budgets: [budgetOf({ assumeOutputTokens: 9 })] },
      { isLimited: true, budget: { assumeOutputTokens: 9 } },
    ],
  ])('is limited by %s', (_, own, groups, expected) => {
    const client = clientOf({ id: 'app', group: 'team', ...own })
    expect(callerOf(client, groupOf({ id: 'team', ...groups }))).toMatchObject(expected)
  })

  it('without a group has its own terms', () => {
    const caller = callerOf(clientOf({ id: 'app', rpm: 3 }), null)
    expect(caller).toMatchObject({ id: 'app', groupId: null, isLimited: true })
  })

  it('may use a model that its own list and its group’s name, by any of its names', () => {
    const both = callerOf(
      clientOf({ id: 'app', group: 'team', models: ['a/*', 'b/one'] }),
      groupOf({ id: 'team', models: ['a/one', 'b/*'] }),
    )
    expect(mayUse(both, ['a/one'])).toBe(true)
    expect(mayUse(both, ['b/one'])).toBe(true)
    expect(mayUse(both, ['a/two'])).toBe(false)
    expect(mayUse(both, ['b/two'])).toBe(false)
    expect(mayUse(both, ['alias', 'a/one'])).toBe(true)
    expect(mayUse(both, [])).toBe(false)
  })
})

describe('a threshold of a budget', () => {
  const T = Date.UTC(2026, 10, 26, 12)
  const spent = (usd: number, limit = 1) => {
    const budget = createBudget(budgetOf({ usd: limit, period: 'total' }), T)
    budget.spentNanos = usd * 1e9
    return budget
  }

  it('is passed from its percent on', () => {
    const [highest = 0] = thresholdsAt(100, 0)
    expect(highest).toBe(100)
    expect(thresholdsAt(highest - 0.1, 0)).not.toContain(highest)
    expect(thresholdsAt(100, 90).every((threshold) => threshold >= 90)).toBe(true)
    expect(thresholdsAt(0, 0)).toEqual([])
  })

  it('is told once, and again when it was forgotten', () => {
    const budget = spent(1)
    expect(takeThreshold(budget, T)).toBe(100)
    expect(takeThreshold(budget, T)).toBeNull()
    expect(isStillPassed(budget, 100, T)).toBe(true)
    budget.spentNanos = 0.5e9
    expect(isStillPassed(budget, 100, T)).toBe(false)
    forgetThreshold(budget, 100)
    expect(budget.toldPercent).toBeLessThan(100)
    budget.spentNanos = 1e9
    expect(takeThreshold(budget, T)).toBe(100)
  })

  it('that was not told of is not forgotten', () => {
    const budget = spent(0)
    forgetThreshold(budget, 100)
    expect(budget.toldPercent).toBe(0)
  })

  it('is passed at once by a budget of nothing', () => {
    expect(takeThreshold(spent(0, 0), T)).toBe(100)
  })
})

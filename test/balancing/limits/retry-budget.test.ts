import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  canWithdraw,
  createRetryBudget,
  deposit,
  type RetryBudget,
  type RetryBudgetPolicy,
  withdraw,
} from '../../../src/balancing/limits/retry-budget.ts'

const T = 1_000_000
const POLICY: RetryBudgetPolicy = { ratio: 0.2, minPerSecond: 2 }

/** Retries until the budget is empty. Returns the number of retries. */
function spend(budget: RetryBudget, policy: RetryBudgetPolicy, nowMs: number): number {
  let retries = 0
  while (canWithdraw(budget, policy, nowMs) && retries < 10_000) {
    withdraw(budget)
    retries += 1
  }
  return retries
}

function emptied(policy: RetryBudgetPolicy): RetryBudget {
  const budget = createRetryBudget(policy, T)
  spend(budget, policy, T)
  return budget
}

const anyPolicy = fc.record({
  ratio: fc.double({ min: 0, max: 1, noNaN: true }),
  minPerSecond: fc.double({ min: 0, max: 100, noNaN: true }),
})

describe('the retry budget', () => {
  it('refuses when it is empty', () => {
    expect(canWithdraw(emptied(POLICY), POLICY, T)).toBe(false)
  })

  it('allows one retry for every four requests at ratio 0.25', () => {
    const quarter = { ratio: 0.25, minPerSecond: 2 }
    const budget = emptied(quarter)
    for (let i = 0; i < 40; i++) deposit(budget, quarter, T)
    expect(spend(budget, quarter, T)).toBe(10)
  })

  it('drips, so that a quiet pool may retry too', () => {
    const budget = emptied(POLICY)
    expect(canWithdraw(budget, POLICY, T + 499)).toBe(false)
    expect(spend(budget, POLICY, T + 1_000)).toBe(2)
  })

  it('is not filled by being asked', () => {
    const budget = emptied(POLICY)
    for (let i = 0; i < 1000; i++) canWithdraw(budget, POLICY, T)
    expect(canWithdraw(budget, POLICY, T)).toBe(false)
  })

  it('neither gives nor takes anything when the clock steps back and returns', () => {
    const budget = emptied(POLICY)
    expect(spend(budget, POLICY, T + 5_000)).toBe(10)
    expect(canWithdraw(budget, POLICY, T)).toBe(false)
    expect(canWithdraw(budget, POLICY, T + 5_000)).toBe(false)
    expect(canWithdraw(budget, POLICY, T + 5_500)).toBe(true)
  })

  it('saves up no more than ten seconds of drip or the deposits of a hundred requests', () => {
    for (const policy of [POLICY, { ratio: 1, minPerSecond: 0 }, { ratio: 0, minPerSecond: 100 }]) {
      const budget = emptied(policy)
      for (let i = 0; i < 5_000; i++) deposit(budget, policy, T + i * 100)
      const most = Math.max(10 * policy.minPerSecond, 100 * policy.ratio)
      expect(spend(budget, policy, T + 500_000)).toBe(most)
    }
  })

  it('never allows a retry when nothing is deposited and nothing drips', () => {
    const nothing = { ratio: 0, minPerSecond: 0 }
    const budget = createRetryBudget(nothing, T)
    for (let i = 0; i < 1000; i++) {
      deposit(budget, nothing, T + i * 3_600_000)
      expect(canWithdraw(budget, nothing, T + i * 3_600_000)).toBe(false)
    }
  })

  it('lets through a lone retry in time even when it drips slower than one in ten seconds', () => {
    const slow = { ratio: 0, minPerSecond: 0.01 }
    const budget = createRetryBudget(slow, T)
    expect(canWithdraw(budget, slow, T + 89_000)).toBe(false)
    expect(canWithdraw(budget, slow, T + 100_000)).toBe(true)
  })

  it('never pays out more than it started with, was paid and has dripped', () => {
    const steps = fc.array(fc.record({ afterMs: fc.nat({ max: 5_000 }), retry: fc.boolean() }), {
      maxLength: 300,
    })
    fc.assert(
      fc.property(anyPolicy, steps, (policy, history) => {
        const budget = createRetryBudget(policy, T)
        const initial = budget.tokens
        let [nowMs, requests, retries] = [T, 0, 0]
        for (const { afterMs, retry } of history) {
          nowMs += afterMs
          if (!retry) {
            requests += 1
            deposit(budget, policy, nowMs)
          } else if (canWithdraw(budget, policy, nowMs)) {
            retries += 1
            withdraw(budget)
          }
          const dripped = ((nowMs - T) / 1000) * policy.minPerSecond
          // Sums of doubles are inexact. The slack is far below one retry.
          expect(retries).toBeLessThanOrEqual(initial + requests * policy.ratio + dripped + 1e-6)
          expect(budget.tokens).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })
})

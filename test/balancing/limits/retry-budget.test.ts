import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ModelId, modelId } from '../../../src/balancing/ids.ts'
import {
  canWithdraw,
  createRetryBudget,
  deposit,
  type RetryBudget,
  type RetryBudgetPolicy,
  withdraw,
} from '../../../src/balancing/limits/retry-budget.ts'

const T = 1_000_000
const MODEL = modelId('vendor/model')

/** One model's budget, as a pool of one model has it. */
const of = (policy: RetryBudgetPolicy, model = MODEL) => ({ model, policy })
const POLICY: RetryBudgetPolicy = { ratio: 0.2, minPerSecond: 2 }

/** Retries until the budget is empty. Returns the number of retries. */
function spend(budget: RetryBudget, policy: RetryBudgetPolicy, nowMs: number): number {
  let retries = 0
  while (canWithdraw(budget, of(policy), nowMs) && retries < 10_000) {
    withdraw(budget, of(policy), nowMs)
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
    expect(canWithdraw(emptied(POLICY), of(POLICY), T)).toBe(false)
  })

  it('allows one retry for every four requests at ratio 0.25', () => {
    const quarter = { ratio: 0.25, minPerSecond: 2 }
    const budget = emptied(quarter)
    for (let i = 0; i < 40; i++) deposit(budget, of(quarter), T)
    expect(spend(budget, quarter, T)).toBe(10)
  })

  it('drips, so that a quiet pool may retry too', () => {
    const budget = emptied(POLICY)
    expect(canWithdraw(budget, of(POLICY), T + 499)).toBe(false)
    expect(spend(budget, POLICY, T + 1_000)).toBe(2)
  })

  it('is not filled by being asked', () => {
    const budget = emptied(POLICY)
    for (let i = 0; i < 1000; i++) canWithdraw(budget, of(POLICY), T)
    expect(canWithdraw(budget, of(POLICY), T)).toBe(false)
  })

  it('neither gives nor takes anything when the clock steps back and returns', () => {
    const budget = emptied(POLICY)
    expect(spend(budget, POLICY, T + 5_000)).toBe(10)
    expect(canWithdraw(budget, of(POLICY), T)).toBe(false)
    expect(canWithdraw(budget, of(POLICY), T + 5_000)).toBe(false)
    expect(canWithdraw(budget, of(POLICY), T + 5_500)).toBe(true)
  })

  it('saves up no more than ten seconds of drip or the deposits of a hundred requests', () => {
    for (const policy of [POLICY, { ratio: 1, minPerSecond: 0 }, { ratio: 0, minPerSecond: 100 }]) {
      const budget = emptied(policy)
      for (let i = 0; i < 5_000; i++) deposit(budget, of(policy), T + i * 100)
      const most = Math.max(10 * policy.minPerSecond, 100 * policy.ratio)
      expect(spend(budget, policy, T + 500_000)).toBe(most)
    }
  })

  it('never allows a retry when nothing is deposited and nothing drips', () => {
    const nothing = { ratio: 0, minPerSecond: 0 }
    const budget = createRetryBudget(nothing, T)
    for (let i = 0; i < 1000; i++) {
      deposit(budget, of(nothing), T + i * 3_600_000)
      expect(canWithdraw(budget, of(nothing), T + i * 3_600_000)).toBe(false)
    }
  })

  it('lets through a lone retry in time even when it drips slower than one in ten seconds', () => {
    const slow = { ratio: 0, minPerSecond: 0.01 }
    const budget = createRetryBudget(slow, T)
    expect(canWithdraw(budget, of(slow), T + 89_000)).toBe(false)
    expect(canWithdraw(budget, of(slow), T + 100_000)).toBe(true)
  })

  it('never pays out more than it started with, was paid and has dripped', () => {
    const steps = fc.array(fc.record({ afterMs: fc.nat({ max: 5_000 }), retry: fc.boolean() }), {
      maxLength: 300,
    })
    fc.assert(
      fc.property(anyPolicy, steps, (policy, history) => {
        const budget = createRetryBudget(policy, T)
        const initial = 10 * policy.minPerSecond
        let [nowMs, requests, retries] = [T, 0, 0]
        for (const { afterMs, retry } of history) {
          nowMs += afterMs
          if (!retry) {
            requests += 1
            deposit(budget, of(policy), nowMs)
          } else if (canWithdraw(budget, of(policy), nowMs)) {
            retries += 1
            withdraw(budget, of(policy), nowMs)
          }
          const dripped = ((nowMs - T) / 1000) * policy.minPerSecond
          // Sums of doubles are inexact. The slack is far below one retry.
          expect(retries).toBeLessThanOrEqual(initial + requests * policy.ratio + dripped + 1e-6)
          expect(budget.ceiling.tokens).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })
})

describe('the budgets of several models', () => {
  const [first, second] = [modelId('vendor/down'), modelId('vendor/other')]

  /** Retries one model until nothing pays for more. */
  function exhaust(budget: RetryBudget, model: ModelId): number {
    let retries = 0
    while (canWithdraw(budget, of(POLICY, model), T)) {
      withdraw(budget, of(POLICY, model), T)
      retries += 1
    }
    return retries
  }

  it('one that fails does not use up the retries of another', () => {
    const budget = createRetryBudget(POLICY, T)
    expect(exhaust(budget, first)).toBe(20)
    expect(exhaust(budget, second)).toBe(20)
  })

  it('a hundred invented names get no more together than two models', () => {
    const budget = createRetryBudget(POLICY, T)
    const names = Array.from({ length: 100 }, (_, i) => modelId(`invented/${i}`))
    expect(names.reduce((retries, name) => retries + exhaust(budget, name), 0)).toBe(40)
  })

  it('what an unused lease was paid is given back, once', () => {
    const budget = emptied(POLICY)
    deposit(budget, of(POLICY), T)
    deposit(budget, of(POLICY), T, -1)
    for (let i = 0; i < 5; i++) deposit(budget, of(POLICY), T)
    expect(canWithdraw(budget, of(POLICY), T)).toBe(true)
    withdraw(budget, of(POLICY), T)
    expect(canWithdraw(budget, of(POLICY), T)).toBe(false)
    withdraw(budget, of(POLICY), T, -1)
    expect(canWithdraw(budget, of(POLICY), T)).toBe(true)
  })
})

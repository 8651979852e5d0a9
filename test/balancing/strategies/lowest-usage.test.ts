import { describe, expect, it } from 'vitest'
import { lowestUsage } from '../../../src/balancing/strategies/lowest-usage.ts'
import type { Choice } from '../../../src/balancing/strategies/strategy.ts'
import { drivePool, START_MS, usageOf } from '../pool-driver.ts'
import {
  choiceOf,
  hold,
  type Key,
  keyAt,
  meterWith,
  nonEmpty,
  tallyWith,
} from './strategy-driver.ts'

const chosen = (keys: readonly Partial<Key>[], more: Partial<Choice> = {}) =>
  lowestUsage.choose(nonEmpty(keys.map((key, position) => keyAt(position, key))), choiceOf(1, more))
    .position

const scoreOf = (key: Partial<Key>, more: Partial<Choice> = {}) =>
  lowestUsage.score(keyAt(0, key), choiceOf(1, more))

describe('lowest-usage', () => {
  it('picks the lowest share of a limit, not the smallest amount', () => {
    const small = { rpm: meterWith(10, [4, 1_000]) }
    const large = { rpm: meterWith(100, [30, 1_000]) }
    expect(chosen([small, large])).toBe(1)
  })

  it('counts the fuller of the two limits: the one that the key will meet', () => {
    const wordy = { rpm: meterWith(100, [10, 1_000]), tpm: meterWith(1_000, [900, 1_000]) }
    const hasty = { rpm: meterWith(100, [80, 1_000]), tpm: meterWith(1_000, [100, 1_000]) }
    expect(scoreOf(wordy)).toBe(0.9)
    expect(scoreOf(hasty)).toBe(0.8)
    expect(chosen([wordy, hasty])).toBe(1)
  })

  it('counts the last sixty seconds only', () => {
    const rpm = meterWith(10, [9, 40_000])
    const key = keyAt(0, { rpm })
    expect(lowestUsage.score(key, choiceOf(1))).toBe(0.9)
    expect(lowestUsage.score(key, choiceOf(1, { nowMs: START_MS + 20_100 }))).toBe(0)
  })

  it('goes by the share of today’s spend where no limit is set', () => {
    const spends = [6, 1, 3].map((usd) => ({ tally: tallyWith(usd) }))
    expect(chosen(spends, { spentTodayUsd: 10 })).toBe(1)
    expect(spends.map((key) => scoreOf(key, { spentTodayUsd: 10 }))).toEqual([0.6, 0.1, 0.3])
  })

  it('forgets what was spent yesterday', () => {
    const yesterday = { tally: tallyWith(900, START_MS - 86_400_000) }
    expect(scoreOf(yesterday, { spentTodayUsd: 10 })).toBe(0)
    expect(chosen([{ tally: tallyWith(1) }, yesterday], { spentTodayUsd: 10 })).toBe(1)
  })

  it('goes by what is in flight, then in turn, while nothing is spent', () => {
    expect(chosen([{ inFlight: 2 }, { inFlight: 1 }, { inFlight: 3 }])).toBe(1)
    expect(chosen([{ lastTurn: 5 }, { lastTurn: 9 }, { lastTurn: 2 }])).toBe(2)
  })

  it('reckons with what runs: a burst does not all go to the thriftiest key', () => {
    const keys = [4, 1].map((usd, position) => keyAt(position, { tally: tallyWith(usd) }))
    hold(lowestUsage, 11, choiceOf(1, { meanCostUsd: 1, spentTodayUsd: 5 }), keys)
    // Three requests on the second key make both equal. The other eight are shared.
    expect(keys.map(({ inFlight }) => inFlight)).toEqual([4, 7])
  })

  it('fills keys in proportion to their limits, so that all come to the end of theirs at once', () => {
    const pool = drivePool(
      [
        { id: 'a', rpm: 10 },
        { id: 'b', rpm: 20 },
        { id: 'c', rpm: 30 },
      ],
      { strategy: 'lowest-usage' },
    )
    const half = Array.from({ length: 30 }, () => pool.grant().keyId)
    expect(['a', 'b', 'c'].map((id) => half.filter((key) => key === id).length)).toEqual([
      5, 10, 15,
    ])
    for (let i = 0; i < 30; i++) pool.give(pool.grant())
    expect(pool.refusal().reasons).toEqual({ at_rpm: 3 })
  })

  it('levels the spend of keys without limits over the day', () => {
    const pool = drivePool(['a', 'b', 'c'], { strategy: 'lowest-usage' })
    for (let i = 0; i < 300; i++) {
      const lease = pool.grant()
      // Answers of key a cost ten times as much.
      const costUsd = lease.keyId === 'a' ? 0.5 : 0.05
      pool.give(lease, { usage: usageOf(10, 10, costUsd) })
      pool.wait(10)
    }
    const spent = ['a', 'b', 'c'].map((id) => pool.key(id).tally.today.costUsd)
    expect(Math.max(...spent) - Math.min(...spent)).toBeLessThanOrEqual(0.5 + 1e-9)
  })
})

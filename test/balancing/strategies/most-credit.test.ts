import { describe, expect, it } from 'vitest'
import type { Credit } from '../../../src/balancing/accounting/credit.ts'
import { mostCredit } from '../../../src/balancing/strategies/most-credit.ts'
import type { Choice } from '../../../src/balancing/strategies/strategy.ts'
import { drivePool, START_MS, usageOf } from '../pool-driver.ts'
import { choiceOf, creditOf, hold, type Key, keyAt, play, sharesOf } from './strategy-driver.ts'

const UNKNOWN: Credit = { kind: 'unknown' }

const keysWith = (...credits: Credit[]): Key[] =>
  credits.map((credit, position) => keyAt(position, { credit }))

/** The ranking of the keys: who serves, and who serves without those. One entry per result. */
function ranking(credits: readonly Credit[], more: Partial<Choice> = {}): string[] {
  const ranked = Array.from({ length: 30 }, (_, seed) => {
    let left = keysWith(...credits)
    const order: number[] = []
    while (left.length > 0) {
      const [first] = play(mostCredit, 1, choiceOf(seed, more), () => left)
      order.push(first ?? -1)
      left = left.filter(({ position }) => position !== first)
    }
    return order.join(' ')
  })
  return [...new Set(ranked)]
}

describe('most-credit', () => {
  it('picks the highest credit, wherever it is in the list', () => {
    expect(ranking([creditOf(3), creditOf(20), creditOf(7)])).toEqual(['1 2 0'])
    expect(ranking([creditOf(20), creditOf(7), creditOf(3)])).toEqual(['0 1 2'])
  })

  it('ranks uncapped keys first and unknown ones last, below a key that has nothing', () => {
    expect(ranking([UNKNOWN, creditOf(0), creditOf(500), creditOf(null)])).toEqual(['3 2 1 0'])
  })

  it('lets several uncapped keys take turns, and several unknown ones', () => {
    for (const credit of [creditOf(null), UNKNOWN, creditOf(5)]) {
      const keys = keysWith(credit, credit, credit)
      const picks = play(mostCredit, 30, choiceOf(1), () => keys)
      expect(sharesOf(picks, keys)).toEqual([10, 10, 10])
    }
  })

  it('takes a cap whose reset has passed for whole again', () => {
    const reset = creditOf(0, { limitUsd: 50, resetsAtMs: START_MS - 1 })
    const empty = creditOf(0, { limitUsd: 50, resetsAtMs: START_MS + 1 })
    expect(ranking([empty, creditOf(10), reset])).toEqual(['2 1 0'])
  })

  it('goes by an answer that is old where there is no newer one', () => {
    expect(ranking([creditOf(3), creditOf(20, { stale: true })])).toEqual(['1 0'])
  })

  it('reckons with what runs: a burst levels the keys instead of draining the richest', () => {
    const keys = keysWith(creditOf(10), creditOf(6), creditOf(1))
    hold(mostCredit, 10, choiceOf(1, { meanCostUsd: 1 }), keys)
    // Seven leases of a dollar on the key with 10, and three on the key with 6, leave both with 3.
    expect(keys.map(({ inFlight }) => inFlight)).toEqual([7, 3, 0])
  })

  it('scores the dollars that it reckons with, and nothing where it knows nothing', () => {
    const choice = choiceOf(1, { meanCostUsd: 0.5 })
    const score = (more: Partial<Key>) => mostCredit.score(keyAt(0, more), choice)
    expect(score({ credit: creditOf(3), inFlight: 2 })).toBe(2)
    expect(score({ credit: creditOf(3), inFlight: 100 })).toBe(0)
    expect(score({ credit: creditOf(null), inFlight: 100 })).toBe(Number.POSITIVE_INFINITY)
    expect(score({ credit: UNKNOWN })).toBeNull()
  })

  it('follows the credit down while it is spent, between two lookups', () => {
    const pool = drivePool(['a', 'b', 'c'], { strategy: 'most-credit' })
    pool.lookUp('a', 9)
    pool.lookUp('b', 6)
    pool.lookUp('c', 3)
    const served: string[] = []
    for (let i = 0; i < 9; i++) {
      const lease = pool.grant()
      served.push(lease.keyId)
      pool.give(lease, { usage: usageOf(10, 10, 1) })
    }
    // Key a serves alone until it has as much as b. Then both serve in turn until they have as much
    // as c.
    expect(served.slice(0, 3).join('')).toBe('aaa')
    expect(served.slice(3).toSorted().join('')).toBe('aaabbb')
    expect(pool.key('a').credit).toMatchObject({ remainingUsd: 3 })
  })
})

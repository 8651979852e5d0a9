import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Strategy } from '../../../src/balancing/strategies/strategy.ts'
import {
  STRATEGIES,
  STRATEGY_NAMES,
  type StrategyName,
} from '../../../src/balancing/strategies/strategy-registry.ts'
import {
  anyChoice,
  anyKey,
  anyKeys,
  choiceOf,
  creditOf,
  equal,
  hold,
  type Key,
  keysOf,
  nonEmpty,
  play,
  sharesOf,
  timesOf,
} from './strategy-driver.ts'

/**
 * What every strategy promises, and then what the strategies promise that share the load. The
 * promises of a single strategy are in the test file with its name.
 */

/** These always prefer one key, by definition. */
const PREFERRING: readonly StrategyName[] = ['priority', 'credit-threshold']
/** It draws at random, so its shares are even only by the law of large numbers. */
const DRAWING: readonly StrategyName[] = ['lowest-latency']
/** These respect weights, by the contract. */
const WEIGHING: readonly StrategyName[] = ['weighted', 'least-busy']

const others = (...lists: readonly (readonly StrategyName[])[]) =>
  STRATEGY_NAMES.filter((name) => !lists.some((list) => list.includes(name)))

const SHARING = others(PREFERRING)
const TURN_TAKING = others(PREFERRING, DRAWING)

it('there are eight strategies, by the names of the contract', () => {
  expect(STRATEGY_NAMES).toEqual([
    'round-robin',
    'weighted',
    'least-busy',
    'most-credit',
    'credit-threshold',
    'lowest-latency',
    'lowest-usage',
    'priority',
  ])
})

describe.each(STRATEGY_NAMES)('%s, as any strategy,', (name) => {
  const strategy: Strategy = STRATEGIES[name]

  it('works with one key, however it stands', () => {
    fc.assert(
      fc.property(anyKey, anyChoice, (key, choice) => {
        const only = { ...key, position: 3 }
        expect(strategy.choose([only], choice([only]))).toBe(only)
      }),
    )
  })

  it('picks one of the keys it was given and changes nothing but its memory', () => {
    fc.assert(
      fc.property(anyKeys, anyChoice, (keys, anyChoice) => {
        const choice = anyChoice(keys)
        const before = structuredClone(keys)
        expect(keys).toContain(strategy.choose(nonEmpty(keys), choice))
        expect(keys).toEqual(before)
        const { nowMs, thresholdUsd, meanCostUsd, spentTodayUsd } = anyChoice(keys)
        expect(choice).toMatchObject({ nowMs, thresholdUsd, meanCostUsd, spentTodayUsd })
        for (const weight of choice.memory.smoothedWeights.values()) expect(weight).not.toBeNaN()
        expect(Number.isInteger(choice.memory.current)).toBe(true)
      }),
    )
  })

  it('does not touch even its memory by scoring', () => {
    fc.assert(
      fc.property(anyKeys, anyChoice, (keys, anyChoice) => {
        const choice = anyChoice(keys)
        const before = structuredClone(keys)
        for (const key of keys) strategy.score(key, choice)
        expect(keys).toEqual(before)
        expect(choice.memory).toEqual(anyChoice(keys).memory)
      }),
    )
  })

  it('scores no key below zero and none with what is no number', () => {
    fc.assert(
      fc.property(anyKeys, anyChoice, (keys, anyChoice) => {
        const choice = anyChoice(keys)
        for (let turn = 0; turn < 3; turn++) {
          for (const key of keys) {
            const score = strategy.score(key, choice)
            expect(score).not.toBeNaN()
            expect(score === null || score >= 0).toBe(true)
          }
          strategy.choose(nonEmpty(keys), choice)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('decides alike when seed and history are alike', () => {
    fc.assert(
      fc.property(anyKeys, anyChoice, (keys, choice) => {
        const again = structuredClone(keys)
        const picks = play(strategy, 30, choice(keys), () => keys)
        expect(play(strategy, 30, choice(again), () => again)).toEqual(picks)
      }),
      { numRuns: 50 },
    )
  })

  it('never picks a key while it is away, and knows it when it is back', () => {
    const keys = equal(4)
    const [home, guest] = [keys.slice(0, 3), keys.slice(3)]
    const choice = choiceOf(7)
    play(strategy, 10, choice, () => keys)
    const meanwhile = play(strategy, 50, choice, () => home, 11)
    expect(timesOf(meanwhile, 3)).toBe(0)
    expect(play(strategy, 1, choice, () => guest, 61)).toEqual([3])
  })

  it('chooses among a thousand keys', () => {
    const keys = equal(1000)
    const picks = play(strategy, 2000, choiceOf(3), () => keys)
    expect(picks.every((position) => keys[position] !== undefined)).toBe(true)
  })
})

describe.each(others(WEIGHING))('%s, which knows no weights,', (name) => {
  it('chooses as if all were equal', () => {
    fc.assert(
      fc.property(anyKeys, anyChoice, (keys, choice) => {
        const equals = keys.map((key) => ({ ...key, weight: 1 }))
        const picks = play(STRATEGIES[name], 20, choice(keys), () => keys)
        expect(play(STRATEGIES[name], 20, choice(equals), () => equals)).toEqual(picks)
      }),
      { numRuns: 50 },
    )
  })
})

/** These pick the best score, so the scores explain the choice. */
describe.each(others(DRAWING, ['credit-threshold']))('%s', (name) => {
  const strategy: Strategy = STRATEGIES[name]

  it('picks no key with a worse score than another’s', () => {
    const sign = strategy.best === 'lowest' ? 1 : -1
    fc.assert(
      fc.property(anyKeys, anyChoice, (keys, anyChoice) => {
        const before = anyChoice(keys)
        const costs = keys.map((key) => sign * (strategy.score(key, before) ?? sign * Infinity))
        const chosen = strategy.choose(nonEmpty(keys), anyChoice(keys))
        const cost = costs[chosen.position] ?? Number.NaN
        // A strategy may compare products, not quotients. Then the last digit may differ.
        const least = Math.min(...costs)
        expect(cost === least || cost <= least + Math.abs(least) * 1e-9).toBe(true)
      }),
      { numRuns: 200 },
    )
  })
})

describe.each(SHARING)('%s, as one that shares,', (name) => {
  const strategy: Strategy = STRATEGIES[name]

  it('does not break ties by list order: over many seeds every key comes first as often', () => {
    const firsts = Array.from(
      { length: 600 },
      (_, seed) => strategy.choose(nonEmpty(equal(6)), choiceOf(seed)).position,
    )
    // Each key is expected 100 times, with a standard deviation of 9.
    for (const share of sharesOf(firsts, equal(6))) {
      expect(share).toBeGreaterThan(60)
      expect(share).toBeLessThan(140)
    }
  })

  it('is not moved by the order in which the keys are handed to it', () => {
    const keys = equal(5)
    const ordered = (turn: number) => (turn % 2 ? keys : keys.toReversed())
    const shares = sharesOf(play(strategy, 500, choiceOf(5), ordered), keys)
    // In turn each key has 100. If pairs are drawn and the longer idle key wins, it has nearly 100.
    const slack = DRAWING.includes(name) ? 30 : 0
    for (const share of shares) expect(Math.abs(share - 100)).toBeLessThanOrEqual(slack)
  })

  it('lets no equal key starve, however many there are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.integer(), (count, seed) => {
        const keys = equal(count)
        const turns = 20 * count
        const picks = play(strategy, turns, choiceOf(seed), () => keys)
        const longest = DRAWING.includes(name) ? 15 * count : 2 * count
        for (const { position } of keys) {
          expect(longestWait(picks, position, turns)).toBeLessThanOrEqual(longest)
        }
      }),
    )
  })

  it('spreads a burst before any of it has ended: it counts what runs', () => {
    for (const meanCostUsd of [0, 0.01]) {
      const keys = equal(6, {
        credit: creditOf(50),
        latency: { valueMs: 200, atMs: choiceOf(0).nowMs },
      })
      hold(strategy, 60, choiceOf(2, { meanCostUsd, spentTodayUsd: 5 }), keys)
      const slack = DRAWING.includes(name) ? 3 : 0
      for (const { inFlight } of keys) expect(Math.abs(inFlight - 10)).toBeLessThanOrEqual(slack)
    }
  })

  it('neither starves nor floods a key that was away for long', () => {
    const keys = equal(5)
    const choice = choiceOf(11)
    play(strategy, 5, choice, () => keys)
    play(strategy, 1000, choice, () => keys.slice(0, 4), 6)
    const turns = timesOf(
      play(strategy, 100, choice, () => keys, 1006),
      4,
    )
    expect(turns).toBeGreaterThanOrEqual(DRAWING.includes(name) ? 10 : 19)
    expect(turns).toBeLessThanOrEqual(DRAWING.includes(name) ? 30 : 21)
  })
})

describe.each(TURN_TAKING)('%s, as one that goes in turn,', (name) => {
  const strategy: Strategy = STRATEGIES[name]

  it('gives equal keys equal shares, give or take one turn', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 200 }),
        fc.integer(),
        (count, turns, seed) => {
          const keys = equal(count)
          const shares = sharesOf(
            play(strategy, turns, choiceOf(seed), () => keys),
            keys,
          )
          expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
        },
      ),
    )
  })

  it('lets no eligible key wait longer than two rounds, whatever the weights', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 8 }),
        fc.integer(),
        (weights, seed) => {
          const round = weights.reduce((sum, weight) => sum + weight, 0)
          const keys = keysOf(...weights)
          const picks = play(strategy, 4 * round, choiceOf(seed), () => keys)
          for (const { position } of keys) {
            expect(longestWait(picks, position, 4 * round)).toBeLessThanOrEqual(2 * round)
          }
        },
      ),
    )
  })

  it('hands a thousand equal keys one turn each before any has its second', () => {
    const keys = equal(1000)
    expect(new Set(play(strategy, 1000, choiceOf(13), () => keys)).size).toBe(1000)
  })
})

describe.each(WEIGHING)('%s, which respects weights,', (name) => {
  it('gives each key its part of a burst', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 }),
        fc.integer(),
        (weights, seed) => {
          const round = weights.reduce((sum, weight) => sum + weight, 0)
          const keys: Key[] = keysOf(...weights)
          hold(STRATEGIES[name], 3 * round, choiceOf(seed), keys)
          expect(keys.map(({ inFlight }) => inFlight)).toEqual(weights.map((weight) => 3 * weight))
        },
      ),
    )
  })
})

/** The longest wait of a key, in turns. The start and the end count like turns of the key. */
function longestWait(picks: readonly number[], position: number, end: number): number {
  const turns = [-1, ...picks.flatMap((pick, i) => (pick === position ? [i] : [])), end]
  return Math.max(...turns.slice(1).map((turn, i) => turn - (turns[i] ?? 0)))
}

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Balanced, NonEmpty, Random } from '../../src/balancing/selection.ts'
import { isNonEmpty } from '../../src/balancing/selection.ts'
import { STRATEGIES, STRATEGY_NAMES, type Strategy } from '../../src/balancing/strategy.ts'
import { seededRandom } from './seeded-random.ts'

interface Key extends Balanced {
  position: number
  weight: number
  inFlight: number
  lastTurn: number
}

function keysOf(...weights: number[]): Key[] {
  return weights.map((weight, position) => ({
    position,
    weight,
    inFlight: 0,
    lastTurn: 0,
    share: 1,
    smoothedWeight: 0,
  }))
}

const equal = (count: number) => keysOf(...Array.from({ length: count }, () => 1))

function nonEmpty<T>(items: readonly T[]): NonEmpty<T> {
  if (!isNonEmpty(items)) throw new Error('a strategy is only asked when somebody is eligible')
  return items
}

/** Takes `turns` turns, each settled before the next, and tells who had them. */
function play(
  strategy: Strategy,
  turns: number,
  random: Random,
  eligibleAt: (turn: number) => readonly Key[],
  firstTurn = 1,
): number[] {
  return Array.from({ length: turns }, (_, i) => {
    const chosen = strategy(nonEmpty(eligibleAt(firstTurn + i)), random)
    chosen.lastTurn = firstTurn + i
    return chosen.position
  })
}

const timesOf = (picks: readonly number[], position: number) =>
  picks.filter((pick) => pick === position).length

const anyKey = fc.record({
  weight: fc.integer({ min: 1, max: 1000 }),
  inFlight: fc.nat({ max: 5000 }),
  lastTurn: fc.nat(),
  share: fc.constantFrom(1, 0.5, 0.1),
  smoothedWeight: fc.integer({ min: -1_000_000, max: 1_000_000 }),
})
const anyPool = fc
  .array(anyKey, { minLength: 1, maxLength: 20 })
  .map((keys): Key[] => keys.map((key, position) => ({ ...key, position })))

/** Strategies that prefer some keys for ever, by what they promise. Everyone else must be fair. */
const UNFAIR = new Set<string>(['priority'])
const FAIR_NAMES = STRATEGY_NAMES.filter((name) => !UNFAIR.has(name))

describe.each(STRATEGY_NAMES)('%s, as any strategy,', (name) => {
  const strategy: Strategy = STRATEGIES[name]

  it('works with one key, however busy', () => {
    fc.assert(
      fc.property(anyKey, fc.integer(), (key, seed) => {
        const only = { ...key, position: 0 }
        expect(strategy([only], seededRandom(seed))).toBe(only)
      }),
    )
  })

  it('picks one of the keys it was given and changes nothing but the smoothed weight', () => {
    fc.assert(
      fc.property(anyPool, fc.integer(), (keys, seed) => {
        const before = structuredClone(keys)
        const chosen = strategy(nonEmpty(keys), seededRandom(seed))
        expect(keys).toContain(chosen)
        for (const [i, key] of keys.entries()) {
          expect({ ...key, smoothedWeight: 0 }).toEqual({ ...before[i], smoothedWeight: 0 })
          expect(key.smoothedWeight).not.toBeNaN()
        }
      }),
    )
  })

  it('decides alike when seed and history are alike', () => {
    fc.assert(
      fc.property(anyPool, fc.integer(), (keys, seed) => {
        const again = structuredClone(keys)
        const picks = play(strategy, 30, seededRandom(seed), () => keys)
        expect(play(strategy, 30, seededRandom(seed), () => again)).toEqual(picks)
      }),
    )
  })

  it('never picks a key while it is away, and knows it when it is back', () => {
    const [home, guest] = [keysOf(1, 1, 1), keysOf(1, 1, 1, 1)[3]]
    if (guest === undefined) throw new Error('four keys have a fourth')
    const random = seededRandom(7)
    const both = [guest, ...home]
    play(strategy, 10, random, () => both)
    expect(
      timesOf(
        play(strategy, 50, random, () => home, 11),
        guest.position,
      ),
    ).toBe(0)
    expect(play(strategy, 1, random, () => [guest], 61)).toEqual([guest.position])
  })

  it('chooses among a thousand keys', () => {
    const keys = equal(1000)
    const picks = play(strategy, 2000, seededRandom(3), () => keys)
    expect(picks.every((position) => keys[position] !== undefined)).toBe(true)
  })
})

describe.each(FAIR_NAMES)('%s, as a fair strategy,', (name) => {
  const strategy: Strategy = STRATEGIES[name]

  it('gives equal keys equal shares, give or take one turn', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 200 }),
        fc.integer(),
        (count, turns, seed) => {
          const keys = equal(count)
          const picks = play(strategy, turns, seededRandom(seed), () => keys)
          const shares = keys.map(({ position }) => timesOf(picks, position))
          expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
        },
      ),
    )
  })

  it('does not break ties by list order: over many seeds every key comes first as often', () => {
    const firsts = Array.from(
      { length: 600 },
      (_, seed) => strategy(nonEmpty(equal(6)), seededRandom(seed)).position,
    )
    // 100 each are expected, with a standard deviation of 9.
    for (const { position } of equal(6)) {
      expect(timesOf(firsts, position)).toBeGreaterThan(60)
      expect(timesOf(firsts, position)).toBeLessThan(140)
    }
  })

  it('is not moved by the order in which the keys are handed to it', () => {
    const keys = equal(5)
    const random = seededRandom(5)
    const picks = play(strategy, 500, random, (turn) => (turn % 2 ? keys : keys.toReversed()))
    expect(keys.map(({ position }) => timesOf(picks, position))).toEqual([100, 100, 100, 100, 100])
  })

  it('lets no eligible key wait longer than two rounds, whatever the weights', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 8 }),
        fc.integer(),
        (weights, seed) => {
          const round = weights.reduce((sum, weight) => sum + weight, 0)
          const keys = keysOf(...weights)
          const picks = play(strategy, 4 * round, seededRandom(seed), () => keys)
          for (const { position } of keys) {
            const turns = [-1, ...picks.flatMap((p, i) => (p === position ? [i] : [])), 4 * round]
            const waits = turns.slice(1).map((turn, i) => turn - (turns[i] ?? 0))
            expect(Math.max(...waits)).toBeLessThanOrEqual(2 * round)
          }
        },
      ),
    )
  })

  it('neither starves nor floods a key that was away for long', () => {
    const keys = equal(5)
    const home = keys.slice(0, 4)
    const random = seededRandom(11)
    play(strategy, 5, random, () => keys)
    play(strategy, 1000, random, () => home, 6)
    const picks = play(strategy, 20, random, () => keys, 1006)
    expect(timesOf(picks, 4)).toBeGreaterThanOrEqual(3)
    expect(timesOf(picks, 4)).toBeLessThanOrEqual(5)
  })

  it('hands a thousand equal keys one turn each before any has its second', () => {
    const keys = equal(1000)
    const picks = play(strategy, 1000, seededRandom(13), () => keys)
    expect(new Set(picks).size).toBe(1000)
  })
})

/** By how much the lead of one key over another swings at most, while both stay eligible. */
function widestLead(
  picks: readonly number[],
  present: readonly (readonly number[])[],
  a: number,
  b: number,
): number {
  let widest = 0
  let leads = [0]
  for (const [turn, pick] of picks.entries()) {
    const there = present[turn] ?? []
    if (!(there.includes(a) && there.includes(b))) leads = [0]
    else leads.push((leads.at(-1) ?? 0) + Number(pick === a) - Number(pick === b))
    widest = Math.max(widest, Math.max(...leads) - Math.min(...leads))
  }
  return widest
}

describe('round-robin', () => {
  const strategy: Strategy = STRATEGIES['round-robin']

  it('rotates strictly: from the second round on in the order of the first', () => {
    const keys = equal(4)
    const picks = play(strategy, 40, seededRandom(2), () => keys)
    for (const [turn, pick] of picks.slice(4).entries()) expect(pick).toBe(picks[turn])
  })

  it('is blind to weight and to what is in flight', () => {
    const keys = keysOf(1000, 1, 5).map((key, i) => ({ ...key, inFlight: i * 100 }))
    const picks = play(strategy, 30, seededRandom(2), () => keys)
    expect(keys.map(({ position }) => timesOf(picks, position))).toEqual([10, 10, 10])
  })

  it('differs by at most one turn between any two keys for as long as both are there', () => {
    const visits = fc.array(fc.uniqueArray(fc.nat({ max: 5 }), { minLength: 1 }), {
      minLength: 1,
      maxLength: 60,
    })
    fc.assert(
      fc.property(visits, fc.integer(), (present, seed) => {
        const keys = equal(6)
        const picks = play(strategy, present.length, seededRandom(seed), (turn) =>
          keys.filter(({ position }) => present[turn - 1]?.includes(position)),
        )
        for (const a of [0, 1, 2, 3, 4]) {
          expect(widestLead(picks, present, a, a + 1)).toBeLessThanOrEqual(1)
        }
      }),
    )
  })
})

describe('weighted', () => {
  const strategy: Strategy = STRATEGIES.weighted

  it('gives weights 3, 2, 1 exactly 3, 2, 1 of every six turns, wherever the six begin', () => {
    for (const seed of [1, 2, 3]) {
      const keys = keysOf(3, 2, 1)
      const picks = play(strategy, 60, seededRandom(seed), () => keys)
      for (let start = 0; start + 6 <= picks.length; start++) {
        const window = picks.slice(start, start + 6)
        expect([0, 1, 2].map((position) => timesOf(window, position))).toEqual([3, 2, 1])
      }
    }
  })

  it('gives exact shares in every period from the start, whatever the weights', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 }),
        fc.integer(),
        (weights, seed) => {
          const period = weights.reduce((sum, weight) => sum + weight, 0)
          const keys = keysOf(...weights)
          const random = seededRandom(seed)
          for (let round = 0; round < 3; round++) {
            const picks = play(strategy, period, random, () => keys, 1 + round * period)
            expect(keys.map(({ position }) => timesOf(picks, position))).toEqual(weights)
          }
        },
      ),
    )
  })

  it('interleaves: no key runs on for twice as long as its share makes it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 2, maxLength: 8 }),
        fc.integer(),
        (weights, seed) => {
          const period = weights.reduce((sum, weight) => sum + weight, 0)
          const keys = keysOf(...weights)
          const picks = play(strategy, 3 * period, seededRandom(seed), () => keys)
          for (const { position, weight } of keys) {
            const runs = picks
              .map((pick) => (pick === position ? 'x' : ' '))
              .join('')
              .split(' ')
            const longest = Math.max(...runs.map((run) => run.length))
            // The others' turns cut a period into as many gaps, which have to hold this key's.
            const needed = Math.ceil(weight / (period - weight))
            expect(longest).toBeLessThanOrEqual(2 * needed)
          }
        },
      ),
    )
  })

  it('keeps the proportion of the keys that are left', () => {
    const keys = keysOf(3, 2, 1)
    const random = seededRandom(4)
    play(strategy, 6, random, () => keys)
    const picks = play(strategy, 400, random, () => keys.filter(({ weight }) => weight !== 2), 7)
    expect([0, 1, 2].map((position) => timesOf(picks, position))).toEqual([300, 0, 100])
  })
})

describe('least-busy', () => {
  const strategy: Strategy = STRATEGIES['least-busy']
  const chosenOf = (...loads: [inFlight: number, weight: number][]) => {
    const keys = loads.map(([inFlight, weight], position) => ({
      position,
      weight,
      inFlight,
      lastTurn: 0,
      share: 1,
      smoothedWeight: 0,
    }))
    return strategy(nonEmpty(keys), seededRandom(1)).position
  }

  it('picks the key with the fewest leases in flight', () => {
    expect(chosenOf([2, 1], [1, 1], [3, 1])).toBe(1)
  })

  it('weighs leases in flight by weight', () => {
    expect(chosenOf([2, 1], [5, 3], [2, 1])).toBe(1)
    expect(chosenOf([3, 3], [9, 10])).toBe(1)
    expect(chosenOf([1, 1], [11, 10])).toBe(0)
  })

  it('prefers any idle key to any busy one', () => {
    expect(chosenOf([1, 1000], [0, 1])).toBe(1)
  })

  it('fills keys in proportion to their weights when nothing is given back', () => {
    const keys = keysOf(3, 2, 1)
    const random = seededRandom(6)
    for (let turn = 1; turn <= 60; turn++) {
      const chosen = strategy(nonEmpty(keys), random)
      chosen.inFlight += 1
      chosen.lastTurn = turn
    }
    expect(keys.map(({ inFlight }) => inFlight)).toEqual([30, 20, 10])
  })

  it('never leaves a key with less load per weight aside', () => {
    fc.assert(
      fc.property(anyPool, fc.integer(), (keys, seed) => {
        const chosen = strategy(nonEmpty(keys), seededRandom(seed))
        const loads = keys.map((key) => key.inFlight / (key.weight * key.share))
        const load = chosen.inFlight / (chosen.weight * chosen.share)
        expect(load).toBeCloseTo(Math.min(...loads), 6)
      }),
    )
  })
})

describe('priority', () => {
  it('picks the first in configured order, whatever the load, the weights and the list', () => {
    fc.assert(
      fc.property(anyPool, (keys) => {
        const shuffled = keys.toSorted((a, b) => a.lastTurn - b.lastTurn)
        expect(STRATEGIES.priority(nonEmpty(shuffled))).toBe(keys[0])
        const standbys = keys.slice(1)
        if (isNonEmpty(standbys)) expect(STRATEGIES.priority(standbys)).toBe(keys[1])
      }),
    )
  })
})

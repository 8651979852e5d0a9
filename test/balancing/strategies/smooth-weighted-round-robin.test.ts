import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { smoothWeightedRoundRobin } from '../../../src/balancing/strategies/smooth-weighted-round-robin.ts'
import { choiceOf, keysOf, play, sharesOf } from './strategy-driver.ts'

const anyWeights = (minLength: number) =>
  fc.array(fc.integer({ min: 1, max: 20 }), { minLength, maxLength: 8 })

describe('weighted', () => {
  it('gives weights 3, 2, 1 exactly 3, 2, 1 of every six turns, wherever the six begin', () => {
    for (const seed of [1, 2, 3]) {
      const keys = keysOf(3, 2, 1)
      const picks = play(smoothWeightedRoundRobin, 60, choiceOf(seed), () => keys)
      for (let start = 0; start + 6 <= picks.length; start++) {
        expect(sharesOf(picks.slice(start, start + 6), keys)).toEqual([3, 2, 1])
      }
    }
  })

  it('gives exact shares in every period from the start, whatever the weights', () => {
    fc.assert(
      fc.property(anyWeights(1), fc.integer(), (weights, seed) => {
        const period = weights.reduce((sum, weight) => sum + weight, 0)
        const keys = keysOf(...weights)
        const choice = choiceOf(seed)
        for (let round = 0; round < 3; round++) {
          const firstTurn = 1 + round * period
          const picks = play(smoothWeightedRoundRobin, period, choice, () => keys, firstTurn)
          expect(sharesOf(picks, keys)).toEqual(weights)
        }
      }),
    )
  })

  it('interleaves: no key runs on for twice as long as its share makes it', () => {
    fc.assert(
      fc.property(anyWeights(2), fc.integer(), (weights, seed) => {
        const period = weights.reduce((sum, weight) => sum + weight, 0)
        const keys = keysOf(...weights)
        const picks = play(smoothWeightedRoundRobin, 3 * period, choiceOf(seed), () => keys)
        for (const { position, weight } of keys) {
          const runs = picks
            .map((pick) => (pick === position ? 'x' : ' '))
            .join('')
            .split(' ')
          const longest = Math.max(...runs.map((run) => run.length))
          // The turns of the other keys leave as many gaps in a period. This key's turns have to
          // fit into these gaps.
          const needed = Math.ceil(weight / (period - weight))
          expect(longest).toBeLessThanOrEqual(2 * needed)
        }
      }),
    )
  })

  it('keeps the proportion of the keys that are left', () => {
    const keys = keysOf(3, 2, 1)
    const choice = choiceOf(4)
    play(smoothWeightedRoundRobin, 6, choice, () => keys)
    const left = keys.filter(({ weight }) => weight !== 2)
    const picks = play(smoothWeightedRoundRobin, 400, choice, () => left, 7)
    expect(sharesOf(picks, keys)).toEqual([300, 0, 100])
  })

  it('keeps the accounts of two routes apart', () => {
    const keys = keysOf(3, 2, 1)
    const [one, other] = [choiceOf(1), choiceOf(1)]
    const picks = Array.from({ length: 60 }, (_, turn) => {
      play(smoothWeightedRoundRobin, 1, other, () => keys.slice(0, 2), 2 * turn + 1)
      return play(smoothWeightedRoundRobin, 1, one, () => keys, 2 * turn + 2)
    }).flat()
    for (let start = 0; start < 60; start += 6) {
      expect(sharesOf(picks.slice(start, start + 6), keys)).toEqual([3, 2, 1])
    }
  })

  it('scores what a key is owed, so that the one with most comes next', () => {
    const keys = keysOf(3, 2, 1)
    const choice = choiceOf(1)
    const owed = () => keys.map((key) => smoothWeightedRoundRobin.score(key, choice))
    expect(owed()).toEqual([3, 2, 1])
    play(smoothWeightedRoundRobin, 1, choice, () => keys)
    expect(owed()).toEqual([0, 4, 2])
  })
})

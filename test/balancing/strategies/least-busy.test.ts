import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { leastBusy } from '../../../src/balancing/strategies/least-busy.ts'
import {
  anyKeys,
  choiceOf,
  hold,
  keyAt,
  keysOf,
  nonEmpty,
  play,
  sharesOf,
} from './strategy-driver.ts'

function chosenOf(...loads: [inFlight: number, weight: number][]): number {
  const keys = loads.map(([inFlight, weight], position) => keyAt(position, { inFlight, weight }))
  return leastBusy.choose(nonEmpty(keys), choiceOf(1)).position
}

describe('least-busy', () => {
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
    hold(leastBusy, 60, choiceOf(6), keys)
    expect(keys.map(({ inFlight }) => inFlight)).toEqual([30, 20, 10])
  })

  it('loads a key that recovers by its share of its weight', () => {
    const keys = [keyAt(0, { share: 0.5 }), keyAt(1), keyAt(2)]
    hold(leastBusy, 50, choiceOf(6), keys)
    expect(keys.map(({ inFlight }) => inFlight)).toEqual([10, 20, 20])
  })

  it('never leaves a key with less load per weight aside', () => {
    fc.assert(
      fc.property(anyKeys, fc.integer(), (keys, seed) => {
        const chosen = leastBusy.choose(nonEmpty(keys), choiceOf(seed))
        const loads = keys.map((key) => key.inFlight / (key.weight * key.share))
        const load = chosen.inFlight / (chosen.weight * chosen.share)
        expect(load).toBeCloseTo(Math.min(...loads), 6)
      }),
    )
  })
})

describe('a pool that never has two requests at once', () => {
  it.each([
    [9, 1],
    [3, 2, 1],
    [1, 1, 1],
  ])('keeps to the weights %d, %d, %d', (...weights) => {
    const keys = keysOf(...weights.filter((weight) => typeof weight === 'number'))
    const total = keys.reduce((sum, { weight }) => sum + weight, 0)
    const picks = play(leastBusy, 10 * total, choiceOf(3), () => keys)
    expect(sharesOf(picks, keys)).toEqual(keys.map(({ weight }) => 10 * weight))
  })
})

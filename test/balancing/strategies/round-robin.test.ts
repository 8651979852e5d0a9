import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { roundRobin } from '../../../src/balancing/strategies/round-robin.ts'
import { choiceOf, equal, keysOf, play, sharesOf } from './strategy-driver.ts'

/** How far the lead of one key over another varies at most, while both stay eligible. */
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
  it('rotates strictly: from the second round on in the order of the first', () => {
    const keys = equal(4)
    const picks = play(roundRobin, 40, choiceOf(2), () => keys)
    for (const [turn, pick] of picks.slice(4).entries()) expect(pick).toBe(picks[turn])
  })

  it('is blind to weight and to what is in flight', () => {
    const keys = keysOf(1000, 1, 5).map((key, i) => ({ ...key, inFlight: i * 100 }))
    const picks = play(roundRobin, 30, choiceOf(2), () => keys)
    expect(sharesOf(picks, keys)).toEqual([10, 10, 10])
  })

  it('differs by at most one turn between any two keys for as long as both are there', () => {
    const visits = fc.array(fc.uniqueArray(fc.nat({ max: 5 }), { minLength: 1 }), {
      minLength: 1,
      maxLength: 60,
    })
    fc.assert(
      fc.property(visits, fc.integer(), (present, seed) => {
        const keys = equal(6)
        const picks = play(roundRobin, present.length, choiceOf(seed), (turn) =>
          keys.filter(({ position }) => present[turn - 1]?.includes(position)),
        )
        for (const a of [0, 1, 2, 3, 4]) {
          expect(widestLead(picks, present, a, a + 1)).toBeLessThanOrEqual(1)
        }
      }),
    )
  })
})

import { minimumBy } from './minimum.ts'
import type { Strategy } from './strategy.ts'

/**
 * Each eligible key in turn, as "the one whose last turn is longest ago".
 *
 * A cursor over the list would hand the share of every ineligible key to the
 * one that follows it; ordering by last turn spreads that share evenly, and is
 * the same strict rotation while all keys are eligible.
 */
export const roundRobin: Strategy = {
  choose: (eligible, { random }) => minimumBy(eligible, (a, b) => a.lastTurn - b.lastTurn, random),
  score: (key) => key.lastTurn,
  best: 'lowest',
}

import { minimumBy } from './minimum.ts'
import type { Strategy } from './strategy.ts'

/**
 * Each eligible key in turn: always the key whose last turn was longest ago.
 *
 * A cursor over the list would give the share of every ineligible key to the key that follows it.
 * The order by last turn spreads that share evenly. While all keys are eligible, both are the same
 * strict rotation.
 */
export const roundRobin: Strategy = {
  choose: (eligible, { random }) => minimumBy(eligible, (a, b) => a.lastTurn - b.lastTurn, random),
  score: (key) => key.lastTurn,
  best: 'lowest',
}

import { type Balanced, least, type NonEmpty, type Random } from './selection.ts'

/**
 * Each eligible key in turn, as "the one whose last turn is longest ago".
 *
 * A cursor over the list would hand the share of every ineligible key to the
 * one that follows it; ordering by last turn spreads that share evenly, and is
 * the same strict rotation while all keys are eligible.
 */
export function roundRobin<K extends Balanced>(eligible: NonEmpty<K>, random: Random): K {
  return least(eligible, (a, b) => a.lastTurn - b.lastTurn, random)
}

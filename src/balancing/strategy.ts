import { leastBusy } from './least-busy.ts'
import { priority } from './priority.ts'
import { roundRobin } from './round-robin.ts'
import type { Balanced, NonEmpty, Random } from './selection.ts'
import { smoothWeightedRoundRobin } from './smooth-weighted-round-robin.ts'

/** Picks one of the eligible keys. Only `smoothedWeight` may be changed by it. */
export type Strategy = <K extends Balanced>(eligible: NonEmpty<K>, random: Random) => K

export const STRATEGIES = {
  'round-robin': roundRobin,
  weighted: smoothWeightedRoundRobin,
  'least-busy': leastBusy,
  priority,
} as const satisfies Record<string, Strategy>

export type StrategyName = keyof typeof STRATEGIES

export const STRATEGY_NAMES = Object.keys(STRATEGIES) as [StrategyName, ...StrategyName[]]

import { creditThreshold } from './credit-threshold.ts'
import { leastBusy } from './least-busy.ts'
import { lowestLatency } from './lowest-latency.ts'
import { lowestUsage } from './lowest-usage.ts'
import { mostCredit } from './most-credit.ts'
import { priority } from './priority.ts'
import { roundRobin } from './round-robin.ts'
import { smoothWeightedRoundRobin } from './smooth-weighted-round-robin.ts'
import type { Strategy } from './strategy.ts'

/** Every strategy, by the name that operators configure. */
export const STRATEGIES = {
  'round-robin': roundRobin,
  weighted: smoothWeightedRoundRobin,
  'least-busy': leastBusy,
  'most-credit': mostCredit,
  'credit-threshold': creditThreshold,
  'lowest-latency': lowestLatency,
  'lowest-usage': lowestUsage,
  priority,
} as const satisfies Record<string, Strategy>

export type StrategyName = keyof typeof STRATEGIES

export const STRATEGY_NAMES = Object.keys(STRATEGIES) as [StrategyName, ...StrategyName[]]

import type { Usage } from '../../balancing/settlement.ts'

const NANOS_PER_USD = 1e9

/**
 * What an answer cost, in whole nano-dollars.
 *
 * It rounds to the nearest and not up: OpenRouter's costs are decimals of at most nano-dollars, and
 * their floating-point forms lie a hair above or below. Rounded up, 0.00002 USD would be a nano too much.
 * @param includesByok whether what the provider charged the account's own provider key counts too
 */
export function spentNanos({ costUsd, byokUsd = 0 }: Usage, includesByok: boolean): number {
  const nanos = Math.round((costUsd + (includesByok ? byokUsd : 0)) * NANOS_PER_USD)
  return Math.min(nanos, Number.MAX_SAFE_INTEGER)
}

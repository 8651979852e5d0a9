import type { Settlement, Usage } from '../../balancing/settlement.ts'
import type { Blame } from '../../openrouter/failures/blame.ts'
import type { Leased } from '../leases/lease-broker.ts'
import type { Attempt } from './attempt.ts'
import {
  type CallTimes,
  type Observation,
  observationOf,
  settlementsOf,
} from './attempt-settlement.ts'
import { type EstimatePrice, pricedUsage } from './estimated-usage.ts'

/** A lease with what its attempt has shown so far. It ends exactly once. */
export class OpenLease {
  readonly leased: Leased
  readonly #price: EstimatePrice | null
  readonly #nowMs: () => number
  #observation: Observation = {}
  #beganMs: number | null = null
  #hasEnded = false

  /** @param price null where nobody counts the request's money */
  constructor(leased: Leased, price: EstimatePrice | null, nowMs: () => number) {
    this.leased = leased
    this.#price = price
    this.#nowMs = nowMs
  }

  /** The upstream call begins. */
  begin(): void {
    this.#beganMs = this.#nowMs()
  }

  observe(result: Attempt, took: CallTimes): void {
    this.#observation = observationOf(result, took)
  }

  /**
   * The settlement of the lease; none if it was taken without the pool, or has ended before.
   * @param verdict null for an answer that is proven good
   * @param usage null if it is not known
   */
  end(verdict: Blame | null, usage: Usage | null): readonly Settlement[] {
    if (this.#hasEnded) return []
    this.#hasEnded = true
    const priced = pricedUsage(usage, this.leased.model, this.#price)
    const took = this.#beganMs === null ? {} : { tookMs: this.#nowMs() - this.#beganMs }
    return settlementsOf(this.leased, verdict, priced, { ...this.#observation, ...took })
  }
}

import type { Settlement, Usage } from '../../balancing/settlement.ts'
import type { Blame } from '../../openrouter/failures/blame.ts'
import type { Leased } from '../leases/lease-broker.ts'
import type { Attempt } from './attempt.ts'
import { type Observation, observationOf, settlementsOf } from './attempt-settlement.ts'

/** A lease with what its attempt has shown so far. It ends exactly once. */
export class OpenLease {
  readonly leased: Leased
  #observation: Observation = {}
  #hasEnded = false

  constructor(leased: Leased) {
    this.leased = leased
  }

  observe(result: Attempt, took: Parameters<typeof observationOf>[1]): void {
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
    return settlementsOf(this.leased, verdict, usage, this.#observation)
  }
}

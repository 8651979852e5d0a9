import type { KeyId } from '../balancing/ids.ts'
import type { Grant, Refusal, Want } from '../balancing/pool.ts'
import type { Lookup, Settlement } from '../balancing/settlement.ts'

/**
 * What Workers and the pool object say to each other. After a deployment new
 * Workers talk to an old object for minutes, and the other way round: fields are
 * only ever added, and both sides pass over those that they don't know.
 */
export interface ExchangeRequest {
  readonly version: 1
  readonly wants: readonly Want[]
  readonly settlements: readonly Settlement[]
  readonly lookups: readonly Lookup[]
}

export interface ExchangeReply {
  readonly version: 1
  /** One for each want, in their order. */
  readonly decisions: readonly (Grant | Refusal)[]
  /** Keys that this asker, and nobody else, should now look up and report. */
  readonly lookups: readonly KeyId[]
}

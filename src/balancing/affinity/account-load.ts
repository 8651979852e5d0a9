import type { AccountId } from '../ids.ts'
import { hash32 } from './rendezvous-hash.ts'

/** What an account carries. */
export interface AccountLoad {
  readonly id: AccountId
  /** `hash32` of the id. */
  readonly hash: number
  /** Conversations whose home it is, by generation. */
  youngHomes: number
  oldHomes: number
  /**
   * Recent requests. Each counts 1 at first, and less and less over a minute. Instead of making the
   * old ones less, each new one counts more than those before it (Cormode and others, "Forward
   * decay", 2009): so loads can be compared without a look at the clock.
   */
  recent: number
  /** Leases of all its keys. */
  inFlight: number
  /** The last sorting that it was part of, and its place there: see candidate-accounts.ts. */
  sorting: number
  place: number
}

/** The load of an account that nothing is known of. */
export function createLoad(id: AccountId): AccountLoad {
  return {
    id,
    hash: hash32(id),
    youngHomes: 0,
    oldHomes: 0,
    recent: 0,
    inFlight: 0,
    sorting: 0,
    place: 0,
  }
}

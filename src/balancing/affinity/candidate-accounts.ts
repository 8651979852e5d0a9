import type { AccountLoad } from './account-load.ts'
import type { RendezvousNode } from './rendezvous-hash.ts'

/** The accounts of some keys, each once, by what these keys weigh. */
export interface CandidateAccounts {
  readonly parts: readonly AccountPart[]
  /** The sum over the accounts. */
  readonly weights: number
}

/** An account, as far as the keys in question are concerned. */
export interface AccountPart extends RendezvousNode {
  readonly load: AccountLoad
  weight: number
  keyCount: number
}

/** A key, and the load of its account. */
export interface AccountKey {
  readonly weight: number
  readonly account: { readonly load: AccountLoad }
}

/**
 * Sorts keys by account, in one pass and without a map: an account notes its place in the latest such
 * sorting. A route keeps the result for all of its keys, since most of the time all of them may serve.
 */
export function accountsOf(
  affinities: { sortings: number },
  keys: readonly AccountKey[],
): CandidateAccounts {
  affinities.sortings += 1
  const { sortings } = affinities
  const parts: AccountPart[] = []
  let weights = 0
  for (let i = 0; i < keys.length; i++) {
    const { weight, account } = keys[i] as AccountKey
    const { load } = account
    if (load.sorting !== sortings) {
      load.sorting = sortings
      load.place = parts.length
      parts.push({ hash: load.hash, weight, load, keyCount: 1 })
      weights += weight
    } else {
      const part = parts[load.place] as AccountPart
      part.keyCount += 1
      // A second key does not make an account able to bear more: it weighs what its keys do on average.
      const change = (weight - part.weight) / part.keyCount
      part.weight += change
      weights += change
    }
  }
  return { parts, weights }
}

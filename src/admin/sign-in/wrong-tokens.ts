import {
  createRotatingMap,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../../balancing/limits/rotating-map.ts'
import { type Allowance, earned, networkOf } from '../../http/guess-allowance.ts'

/**
 * How many wrong tokens each network may still send to this isolate. A network without any left is
 * let in by no token, since an answer to the right one would tell it apart. Sessions go on.
 */
export interface WrongTokens {
  readonly byNetwork: RotatingMap<string, Allowance>
  /** The hashes of tokens that were wrong already. */
  readonly hashes: RotatingMap<string, true>
}

/** Some mistakes at once. */
const RATE = { most: 10, everyMs: 6_000 }

export function createWrongTokens(): WrongTokens {
  return {
    byNetwork: createRotatingMap({ termMs: RATE.most * RATE.everyMs, capacity: 2_000 }),
    hashes: createRotatingMap({ termMs: 10 * 60_000, capacity: 2_000 }),
  }
}

/**
 * @param address from where the request comes; an empty text if that is not known, which is so on no
 *   deployed Worker
 * @returns how long that network must wait before a token of it is looked at, in milliseconds
 */
export function waitMs({ byNetwork }: WrongTokens, address: string, nowMs: number): number {
  const allowance = getEntry(byNetwork, networkOf(address))
  if (allowance === undefined) return 0
  const missing = 1 - earned(allowance, RATE, nowMs)
  return missing <= 0 ? 0 : missing * RATE.everyMs
}

/** A wrong token, and where it came from. */
export interface WrongToken {
  readonly hash: string
  readonly address: string
  /** Whether somebody has typed it, else a script has sent it. */
  readonly isTyped: boolean
}

/**
 * Counts a wrong token. A script repeats the one that it has, as long as nobody sets it right, and in
 * that guesses nothing: an old token in a monitor shuts nobody out of its network.
 */
export function noteWrongToken(
  { byNetwork, hashes }: WrongTokens,
  { hash, address, isTyped }: WrongToken,
  nowMs: number,
): void {
  if (address === '') return
  if (!isTyped && getEntry(hashes, hash) !== undefined) return
  setEntry(hashes, hash, true, nowMs)
  const network = networkOf(address)
  const allowance = getEntry(byNetwork, network) ?? { calls: RATE.most, atMs: nowMs }
  earned(allowance, RATE, nowMs)
  allowance.calls = Math.max(0, allowance.calls - 1)
  setEntry(byNetwork, network, allowance, nowMs)
}

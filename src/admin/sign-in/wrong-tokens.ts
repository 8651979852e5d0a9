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
export type WrongTokens = RotatingMap<string, Allowance>

/** Some mistakes at once. A script with an old token that calls ten times a minute shuts nobody out. */
const RATE = { most: 10, everyMs: 6_000 }

export function createWrongTokens(): WrongTokens {
  return createRotatingMap({ termMs: RATE.most * RATE.everyMs, capacity: 2_000 })
}

/**
 * @param address from where the request comes; an empty text if that is not known, which is so on no
 *   deployed Worker
 * @returns how long that network must wait before a token of it is looked at, in milliseconds
 */
export function waitMs(wrong: WrongTokens, address: string, nowMs: number): number {
  const allowance = getEntry(wrong, networkOf(address))
  if (allowance === undefined) return 0
  const missing = 1 - earned(allowance, RATE, nowMs)
  return missing <= 0 ? 0 : missing * RATE.everyMs
}

/** Counts a wrong token. */
export function noteWrongToken(wrong: WrongTokens, address: string, nowMs: number): void {
  if (address === '') return
  const network = networkOf(address)
  const allowance = getEntry(wrong, network) ?? { calls: RATE.most, atMs: nowMs }
  earned(allowance, RATE, nowMs)
  allowance.calls = Math.max(0, allowance.calls - 1)
  setEntry(wrong, network, allowance, nowMs)
}

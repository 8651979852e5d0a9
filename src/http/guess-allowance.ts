import {
  createRotatingMap,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../balancing/limits/rotating-map.ts'

/**
 * How many calls an isolate spends on tokens that it does not know. One that was made a moment ago is
 * worth a call, and a guess is not; nobody can tell one from the other. Somebody who guesses must
 * neither keep the pool's object busy nor use up what others may ask.
 */
export interface GuessAllowance {
  readonly ofIsolate: Allowance
  readonly byNetwork: RotatingMap<string, Allowance>
  /** The hashes of tokens that the pool did not know. It is not asked about them again. */
  readonly refused: RotatingMap<string, true>
}

export interface Allowance {
  calls: number
  atMs: number
}

/** How many there may be at once, and how often one is earned. */
interface Rate {
  readonly most: number
  readonly everyMs: number
}

const OF_ISOLATE = { most: 10, everyMs: 20_000 }
const OF_NETWORK = { most: 3, everyMs: 30_000 }
const NETWORKS = { termMs: 90_000, capacity: 2_000 }
const REFUSED = { termMs: 10 * 60_000, capacity: 2_000 }

export function createGuessAllowance(): GuessAllowance {
  return {
    ofIsolate: { calls: OF_ISOLATE.most, atMs: 0 },
    byNetwork: createRotatingMap(NETWORKS),
    refused: createRotatingMap(REFUSED),
  }
}

/**
 * Takes a call that may be spent on an unknown token, if there is one.
 * @param hash of the token
 * @param address from where the request comes; an empty text if that is not known
 */
export function spendOnGuess(
  { ofIsolate, byNetwork, refused }: GuessAllowance,
  hash: string,
  address: string,
  nowMs: number,
): boolean {
  if (getEntry(refused, hash) !== undefined) return false
  const network = networkOf(address)
  const ofNetwork = getEntry(byNetwork, network) ?? { calls: OF_NETWORK.most, atMs: nowMs }
  setEntry(byNetwork, network, ofNetwork, nowMs)
  return spend(ofNetwork, OF_NETWORK, nowMs) && spend(ofIsolate, OF_ISOLATE, nowMs)
}

/** Remembers that the pool does not know a token. */
export function noteRefused({ refused }: GuessAllowance, hash: string, nowMs: number): void {
  setEntry(refused, hash, true, nowMs)
}

function spend(allowance: Allowance, rate: Rate, nowMs: number): boolean {
  if (earned(allowance, rate, nowMs) < 1) return false
  allowance.calls -= 1
  return true
}

/** How many calls there are by now. */
export function earned(allowance: Allowance, { most, everyMs }: Rate, nowMs: number): number {
  const more = Math.max(0, (nowMs - allowance.atMs) / everyMs)
  allowance.calls = Math.min(most, allowance.calls + more)
  allowance.atMs = nowMs
  return allowance.calls
}

/** One subscriber has 2^64 addresses of IPv6: those that agree in their first 64 bits. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [left = '', right] = address.split('::')
  const parts = (text: string) => (text === '' ? [] : text.split(':'))
  const head = parts(left)
  const tail = parts(right ?? '')
  const zeros = right === undefined ? 0 : Math.max(0, 8 - head.length - tail.length)
  return [...head, ...Array.from({ length: zeros }, () => '0'), ...tail].slice(0, 4).join(':')
}

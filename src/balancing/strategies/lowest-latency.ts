import type { NonEmpty } from '../non-empty.ts'
import { minimumBy } from './minimum.ts'
import { valueMs } from './peak-ewma.ts'
import type { Candidate, Choice, Strategy } from './strategy.ts'

/**
 * Draws two keys at random and picks the better one (Mitzenmacher, "The power of two choices in
 * randomized load balancing", 2001). That is nearly as good as the best of all keys. It also avoids
 * the herd effect, where every request goes to the key that was last measured as the fastest.
 * The better key has the lower product of its time to first output and the requests that would then
 * be in flight (finagle's peak EWMA balancer).
 */
export const lowestLatency: Strategy = {
  choose(eligible, choice) {
    const pair = twoOf(eligible, choice)
    return minimumBy(
      pair,
      (a, b) =>
        load(a, choice) - load(b, choice) || a.inFlight - b.inFlight || a.lastTurn - b.lastTurn,
      choice.random,
    )
  },
  score: (key, choice) => (valueMs(key.latency, choice.nowMs) === null ? null : load(key, choice)),
  best: 'lowest',
}

/**
 * The load per request in flight of a key without a measurement. It is worse than any measured key.
 * An idle key without a measurement has load 0 and is tried at once. So a key that may be slow is
 * tried with one request and not with a hundred.
 */
const UNMEASURED_MS = 1e9

function load({ latency, inFlight }: Candidate, { nowMs }: Choice): number {
  const latencyMs = valueMs(latency, nowMs)
  if (latencyMs !== null) return latencyMs * (inFlight + 1)
  return inFlight === 0 ? 0 : UNMEASURED_MS * inFlight
}

function twoOf<K extends Candidate>(keys: NonEmpty<K>, { random }: Choice): NonEmpty<K> {
  if (keys.length < 3) return keys
  const first = Math.floor(random() * keys.length)
  const other = Math.floor(random() * (keys.length - 1))
  const second = other < first ? other : other + 1
  return [keys[first] ?? keys[0], keys[second] ?? keys[0]]
}

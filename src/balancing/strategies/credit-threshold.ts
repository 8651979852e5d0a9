import type { NonEmpty } from '../non-empty.ts'
import { creditOf, mostCredit } from './most-credit.ts'
import type { Candidate, Strategy } from './strategy.ts'

/**
 * Spends one key's credit down to the threshold before it uses the next key. This is for credit
 * that expires, or for a key that has to be used up first. It begins with the first key in
 * configured order, moves on in that order, and begins again after the last. If no key has the
 * threshold, the key with the most credit serves. If no credit is known, the order decides.
 *
 * The current key may have credit but be unable to serve for another reason (busy, benched). Then
 * the next key with credit serves in its place, and the current key stays the current one. It also
 * stays while its credit is unknown, because that is no evidence of low credit.
 */
export const creditThreshold: Strategy = {
  choose(eligible, choice) {
    const { memory, members, thresholdUsd } = choice
    const current = members.find(({ position }) => position === memory.current)
    const stays =
      current !== undefined && (creditOf(current, choice) ?? thresholdUsd) >= thresholdUsd
    const ordered = inOrder(eligible, memory.current)
    const [first] = ordered
    if (stays && first.position === memory.current) return first
    const above = ordered.find((key) => (creditOf(key, choice) ?? -1) >= thresholdUsd)
    if (above !== undefined) {
      if (!stays) memory.current = above.position
      return above
    }
    const nothingKnown = ordered.every((key) => creditOf(key, choice) === null)
    return nothingKnown ? first : mostCredit.choose(eligible, choice)
  },
  score: creditOf,
  best: 'highest',
}

/** In configured order from a position on, and then from the start up to that position. */
function inOrder<K extends Candidate>(keys: NonEmpty<K>, from: number): NonEmpty<K> {
  const lap = (key: K) => (key.position >= from ? 0 : 1)
  const ordered = keys.toSorted((a, b) => lap(a) - lap(b) || a.position - b.position)
  return ordered as unknown as NonEmpty<K>
}

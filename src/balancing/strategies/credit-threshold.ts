import type { NonEmpty } from '../non-empty.ts'
import { creditOf, mostCredit } from './most-credit.ts'
import type { Candidate, Strategy } from './strategy.ts'

/**
 * Spends one key's credit down to the threshold before it touches the next: for
 * credit that expires, or for a key that has to be used up first. It begins with
 * the first key in configured order and moves on in that order, round and round;
 * when every key is below, the one that has most serves.
 *
 * A current key that has credit and cannot serve for another reason (busy, benched)
 * is stood in for by the next, and stays the current one. It stays so, too, while
 * nothing is known of its credit: that is no evidence that it is low.
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

/** In configured order, beginning at a position and going round. */
function inOrder<K extends Candidate>(keys: NonEmpty<K>, from: number): NonEmpty<K> {
  const lap = (key: K) => (key.position >= from ? 0 : 1)
  const ordered = keys.toSorted((a, b) => lap(a) - lap(b) || a.position - b.position)
  return ordered as unknown as NonEmpty<K>
}

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
    const first = firstFrom(memory.current, eligible, () => true) ?? eligible[0]
    if (stays && first.position === memory.current) return first
    const above = firstFrom(
      memory.current,
      eligible,
      (key) => (creditOf(key, choice) ?? -1) >= thresholdUsd,
    )
    if (above !== null) {
      if (!stays) memory.current = above.position
      return above
    }
    const nothingKnown = eligible.every((key) => creditOf(key, choice) === null)
    return nothingKnown ? first : mostCredit.choose(eligible, choice)
  },
  score: creditOf,
  isOrdered: true,
  best: 'highest',
}

/** The first accepted key in configured order, beginning at a position and going round. */
function firstFrom<K extends Candidate>(
  position: number,
  keys: NonEmpty<K>,
  accepts: (key: K) => boolean,
): K | null {
  let ahead: K | null = null
  let behind: K | null = null
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as K
    const isAhead = key.position >= position
    const best = isAhead ? ahead : behind
    if ((best !== null && key.position > best.position) || !accepts(key)) continue
    if (isAhead) ahead = key
    else behind = key
  }
  return ahead ?? behind
}

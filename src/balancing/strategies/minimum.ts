import type { NonEmpty } from '../non-empty.ts'
import type { Random } from '../random.ts'

/**
 * The least item by `compare`. Ties are broken uniformly at random in one pass (reservoir sampling
 * of size one: Vitter, "Random Sampling with a Reservoir", 1985). With ties broken by list order,
 * all traffic of a quiet pool would go to its first key.
 *
 * @param compare negative if `a` should be chosen before `b`, 0 for a tie
 */
export function minimumBy<T>(
  items: NonEmpty<T>,
  compare: (a: T, b: T) => number,
  random: Random,
): T {
  let chosen = items[0]
  let ties = 1
  for (let i = 1; i < items.length; i++) {
    const item = items[i] as T
    const order = compare(item, chosen)
    if (order < 0) {
      chosen = item
      ties = 1
    } else if (order === 0) {
      ties += 1
      if (random() * ties < 1) chosen = item
    }
  }
  return chosen
}

/**
 * The item with the least score, where a score is too dear to be computed for every comparison.
 * Equal ones are compared, and then drawn from as in `minimumBy`.
 * @param scoreOf called once for each item; never NaN
 */
export function minimumByScore<T>(
  items: NonEmpty<T>,
  scoreOf: (item: T) => number,
  compare: (a: T, b: T) => number,
  random: Random,
): T {
  let chosen = items[0]
  let least = scoreOf(chosen)
  let ties = 1
  for (let i = 1; i < items.length; i++) {
    const item = items[i] as T
    const score = scoreOf(item)
    const order = score < least ? -1 : score > least ? 1 : compare(item, chosen)
    ties = order < 0 ? 1 : ties + Number(order === 0)
    if (order < 0 || (order === 0 && random() * ties < 1)) {
      chosen = item
      least = score
    }
  }
  return chosen
}

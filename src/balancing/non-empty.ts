/** A list with at least one item in it, as the compiler can see. */
export type NonEmpty<T> = readonly [T, ...T[]]

export function isNonEmpty<T>(items: readonly T[]): items is NonEmpty<T> {
  return items.length > 0
}

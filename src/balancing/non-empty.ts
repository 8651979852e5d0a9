/** A list with at least one item, which the compiler can check. */
export type NonEmpty<T> = readonly [T, ...T[]]

/** Whether a list has an item. Narrows its type to `NonEmpty`. */
export function isNonEmpty<T>(items: readonly T[]): items is NonEmpty<T> {
  return items.length > 0
}

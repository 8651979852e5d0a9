/**
 * A map that forgets, in constant time: two generations of entries, of which the older is let go as a
 * whole. A `Map` that is used as a queue (delete the first, insert at the end) is not constant: V8
 * leaves a tombstone for each deletion, and every new iterator walks over all of them.
 *
 * An entry lives for one to two times the term, and there are at most twice as many as a generation
 * holds. An entry that is set again stays in the older generation too, where the younger hides it: to
 * look for it there would cost every new entry a look-up.
 */
export interface RotatingMap<K, V> {
  young: Map<K, V>
  old: Map<K, V>
  rotatedAtMs: number
  readonly policy: RotationPolicy
}

export interface RotationPolicy {
  /** For how long an entry is remembered at least, unless there are too many. Milliseconds. */
  readonly termMs: number
  /** How many entries are remembered at least, if they are young enough. */
  readonly capacity: number
}

export function createRotatingMap<K, V>(policy: RotationPolicy): RotatingMap<K, V> {
  return { young: new Map(), old: new Map(), rotatedAtMs: 0, policy }
}

export function getEntry<K, V>(map: RotatingMap<K, V>, key: K): V | undefined {
  const young = map.young.get(key)
  return young === undefined ? map.old.get(key) : young
}

/** Remembers an entry as the youngest, in place of an older one of the same key. */
export function setEntry<K, V>(map: RotatingMap<K, V>, key: K, value: V, nowMs: number): void {
  const { capacity, termMs } = map.policy
  if (map.young.size >= capacity || nowMs - map.rotatedAtMs >= termMs) {
    map.old = map.young
    map.young = new Map()
    map.rotatedAtMs = nowMs
  }
  map.young.set(key, value)
}

/**
 * The entry of a key, made where there is none, as one of the younger generation. Within a generation's
 * term an entry that is there already costs a look-up, where to set it again would cost twice as much.
 */
export function keepEntry<K, V>(map: RotatingMap<K, V>, key: K, make: () => V, nowMs: number): V {
  const young = map.young.get(key)
  if (young !== undefined && nowMs - map.rotatedAtMs < map.policy.termMs) return young
  const value = young ?? map.old.get(key) ?? make()
  setEntry(map, key, value, nowMs)
  return value
}

export function deleteEntry<K, V>(map: RotatingMap<K, V>, key: K): void {
  if (map.young.size > 0) map.young.delete(key)
  if (map.old.size > 0) map.old.delete(key)
}

/** All entries, the older generation first. */
export function entriesOf<K, V>({ young, old }: RotatingMap<K, V>): [K, V][] {
  return [...[...old].filter(([key]) => !young.has(key)), ...young]
}

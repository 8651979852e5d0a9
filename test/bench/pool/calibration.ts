/**
 * A loop of what the reducer is made of: texts looked up in a Map, small objects made and changed.
 * How long it takes says how fast this machine is at such work now, and the reducer's times are
 * given as multiples of it: those hold on other machines too.
 */

const ENTRIES = 1_000

interface Entry {
  inFlight: number
  last: { readonly atMs: number; readonly by: string }
}

const names = Array.from({ length: ENTRIES }, (_, i) => `name-${i}`)
const entries = new Map<string, Entry>(
  names.map((name) => [name, { inFlight: 0, last: { atMs: 0, by: name } }]),
)

/** One step of the loop; what is timed is many. */
export function calibrationStep(i: number): void {
  const name = names[(i * 7919) % ENTRIES]
  const entry = name === undefined ? undefined : entries.get(name)
  if (entry === undefined || name === undefined) return
  entry.inFlight += entry.last.atMs > i ? -1 : 1
  entry.last = { atMs: i, by: name }
}

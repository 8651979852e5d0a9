import type { IsolateId } from '../ids.ts'

/**
 * The isolates that have leases, and when each was heard last. An isolate tells of itself at least
 * once a second while it has a lease. One that is silent for almost three has died, or cannot reach
 * the object: its leases end then, and not only after the longest time that a request may take.
 */
export interface Isolates {
  readonly heardAtMs: Map<IsolateId, number>
  /** No isolate has been silent for too long before this moment. */
  silentAtMs: number
}

/**
 * How long an isolate may be silent. Two of its signs of life may be lost, and three seconds after its
 * death others have had their turn.
 */
export const SILENCE_MS = 2_800

export function createIsolates(): Isolates {
  return { heardAtMs: new Map(), silentAtMs: Number.POSITIVE_INFINITY }
}

/** Notes a sign of life. */
export function hear(isolates: Isolates, id: IsolateId, nowMs: number): void {
  isolates.heardAtMs.set(id, nowMs)
  isolates.silentAtMs = Math.min(isolates.silentAtMs, nowMs + SILENCE_MS)
}

/**
 * Forgets the isolates that have been silent for too long, and returns them; null if there is none.
 * Between two signs of life it is one comparison.
 */
export function takeSilent(isolates: Isolates, nowMs: number): ReadonlySet<IsolateId> | null {
  if (nowMs < isolates.silentAtMs) return null
  const silent = new Set<IsolateId>()
  let silentAtMs = Number.POSITIVE_INFINITY
  for (const [id, heardAtMs] of isolates.heardAtMs) {
    if (heardAtMs + SILENCE_MS <= nowMs) silent.add(id)
    else silentAtMs = Math.min(silentAtMs, heardAtMs + SILENCE_MS)
  }
  for (const id of silent) isolates.heardAtMs.delete(id)
  isolates.silentAtMs = silentAtMs
  return silent.size === 0 ? null : silent
}

/**
 * Forgives a time in which the object itself stood still: whoever told of himself meanwhile could not
 * be heard.
 * @param stalledMs how long it stood still, in milliseconds
 */
export function forgive(isolates: Isolates, stalledMs: number, nowMs: number): void {
  for (const [id, heardAtMs] of isolates.heardAtMs) {
    isolates.heardAtMs.set(id, Math.min(nowMs, heardAtMs + stalledMs))
  }
  isolates.silentAtMs += stalledMs
}

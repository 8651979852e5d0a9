import type { RequestNote } from '../../balancing/accounting/request-row.ts'
import {
  createRotatingMap,
  getEntry,
  type RotatingMap,
  setEntry,
} from '../../balancing/limits/rotating-map.ts'
import type { RequestsPart } from './archive-rows.ts'

/** So many requests are kept. */
export const REQUESTS_KEPT = 1_000

/**
 * A row of the store holds this many of them. Small parts mean many rows while much happens, large ones
 * that much is written again for one request.
 */
export const PART_LENGTH = 250

/** So far back a row that was sent twice is looked for. It comes again within a minute. */
const MAX_STEPS_BACK = 64

interface Slot {
  readonly number: number
  readonly note: RequestNote
  /** The number of the request before it that has the same id; null for none. */
  readonly before: number | null
}

/** The last requests, numbered in the order in which they came to be known. */
export interface RequestRing {
  readonly slots: (Slot | undefined)[]
  /** The number of the next. */
  next: number
  /** The latest number of each id. */
  readonly byId: RotatingMap<string, number>
}

export function createRequestRing(): RequestRing {
  const byId = createRotatingMap<string, number>({
    termMs: Number.POSITIVE_INFINITY,
    capacity: REQUESTS_KEPT,
  })
  return { slots: Array.from({ length: REQUESTS_KEPT }), next: 0, byId }
}

/**
 * Keeps a request in the place of the oldest.
 * @returns the part that it is in; null if it was there already
 */
export function keepRequest(ring: RequestRing, note: RequestNote): number | null {
  const before = getEntry(ring.byId, note.id) ?? null
  let steps = 0
  for (const { note: known } of ofSameId(ring, before)) {
    if (known.mark === note.mark) return null
    steps += 1
    if (steps === MAX_STEPS_BACK) break
  }
  const number = ring.next
  ring.next += 1
  put(ring, { number, note, before })
  return partOf(number)
}

/** All kept requests with an id, the latest first. */
export function requestsOfId(ring: RequestRing, id: string): RequestNote[] {
  return Array.from(ofSameId(ring, getEntry(ring.byId, id) ?? null), ({ note }) => note)
}

/** All kept requests, the latest first. */
export function* latestRequests(ring: RequestRing): Generator<RequestNote> {
  for (let number = ring.next - 1; number >= 0; number--) {
    const slot = slotAt(ring, number)
    if (slot === undefined && ring.next - number > REQUESTS_KEPT) return
    if (slot !== undefined) yield slot.note
  }
}

/** What is to be written of a part. */
export function requestsPart({ slots }: RequestRing, part: number): RequestsPart {
  const from = part * PART_LENGTH
  return slots.slice(from, from + PART_LENGTH).flatMap((slot): RequestsPart[number][] => {
    if (slot === undefined) return []
    const { id, mark, text } = slot.note
    return [[slot.number, id, mark, text]]
  })
}

/** Puts what was written into a fresh ring. */
export function restoreRequests(ring: RequestRing, parts: readonly RequestsPart[]): void {
  for (const [number, id, mark, text] of parts.flat().toSorted(([a], [b]) => a - b)) {
    const before = getEntry(ring.byId, id) ?? null
    put(ring, { number, note: { id, mark, text }, before })
    ring.next = number + 1
  }
}

function put(ring: RequestRing, slot: Slot): void {
  ring.slots[slot.number % REQUESTS_KEPT] = slot
  setEntry(ring.byId, slot.note.id, slot.number, 0)
}

function partOf(number: number): number {
  return Math.floor((number % REQUESTS_KEPT) / PART_LENGTH)
}

/** What is kept under a number; nothing if a later one has taken its place. */
function slotAt({ slots }: RequestRing, number: number): Slot | undefined {
  const slot = slots[number % REQUESTS_KEPT]
  return slot?.number === number ? slot : undefined
}

function* ofSameId(ring: RequestRing, latest: number | null): Generator<Slot> {
  for (let number = latest; number !== null; ) {
    const slot = slotAt(ring, number)
    if (slot === undefined) return
    yield slot
    number = slot.before
  }
}

import {
  MAX_REQUEST_ID_LENGTH,
  MAX_ROW_LENGTH,
  type RequestNote,
  type RequestRow,
} from '../../balancing/accounting/request-row.ts'
import type { Archive } from './archive.ts'
import { requestRowSchema } from './archive-schemas.ts'
import type { RequestsQuery } from './history-protocol.ts'
import {
  createRequestRing,
  keepRequest,
  latestRequests,
  REQUESTS_KEPT,
  type RequestRing,
  requestsOfId,
  requestsPart,
  restoreRequests,
} from './request-ring.ts'

/** A Worker that sends more at once has been cut off from the object, and keeps no more. */
const MAX_AT_ONCE = 200
const MAX_MARK_LENGTH = 100

/**
 * The last requests. To note one costs next to nothing: it is put in its place with the checkpoint, or
 * when somebody asks, and only then are the older ones read from disk. Rows stay texts until somebody
 * reads them.
 */
export class RequestJournal {
  readonly #archive: Archive
  readonly #count: (note: RequestNote) => void
  #ring: RequestRing | null = null
  /** Noted, and not in the ring yet. */
  readonly #fresh: RequestNote[] = []
  readonly #changedParts = new Set<number>()

  /** @param count called once for each request, however often it is sent */
  constructor(archive: Archive, count: (note: RequestNote) => void) {
    this.#archive = archive
    this.#count = count
  }

  /** Notes requests as a Worker sends them. What is malformed costs itself. */
  note(items: readonly unknown[]): void {
    for (const item of items.slice(0, MAX_AT_ONCE)) if (isRequestNote(item)) this.#fresh.push(item)
    if (this.#fresh.length <= 2 * REQUESTS_KEPT) return
    // They would be gone from the ring before anybody reads it, but they have happened.
    for (const note of this.#fresh.splice(0, this.#fresh.length - REQUESTS_KEPT)) this.#count(note)
  }

  /** Puts what was noted into its place, and has it counted. */
  settle(): void {
    if (this.#fresh.length > 0) this.#settled()
  }

  /** The latest requests that a query wants, the latest first. */
  read(query: RequestsQuery): readonly RequestRow[] {
    const ring = this.#settled()
    const { id } = query
    const notes = id === undefined ? latestRequests(ring) : requestsOfId(ring, id)
    const isLike = likenessOf(query)
    const found: RequestRow[] = []
    for (const { text } of notes) {
      if (found.length >= query.limit) break
      const row = isLike(text) ? readRow(text) : null
      if (row !== null && isWanted(row, query)) found.push(row)
    }
    return found
  }

  /** Writes the parts that have changed since the last time: at most four. */
  write(): void {
    this.settle()
    if (this.#ring === null) return
    const ring = this.#ring
    for (const part of this.#changedParts) {
      this.#archive.putRequests(part, requestsPart(ring, part))
      this.#changedParts.delete(part)
    }
  }

  /** The ring with all that was noted. */
  #settled(): RequestRing {
    if (this.#ring === null) {
      this.#ring = createRequestRing()
      restoreRequests(this.#ring, this.#archive.requests())
    }
    for (const note of this.#fresh.splice(0)) {
      const part = keepRequest(this.#ring, note)
      if (part === null) continue
      this.#changedParts.add(part)
      this.#count(note)
    }
    return this.#ring
  }
}

function isRequestNote(item: unknown): item is RequestNote {
  if (typeof item !== 'object' || item === null) return false
  const { id, mark, text }: { readonly [Name in keyof RequestNote]?: unknown } = item
  return (
    isShort(id, MAX_REQUEST_ID_LENGTH) &&
    isShort(mark, MAX_MARK_LENGTH) &&
    isShort(text, MAX_ROW_LENGTH)
  )
}

function isShort(value: unknown, most: number): value is string {
  return typeof value === 'string' && value !== '' && value.length <= most
}

/** Whether a text may be a row that is wanted. It spares those that are not from being parsed. */
function likenessOf({ clientId, keyId, outcome }: RequestsQuery): (text: string) => boolean {
  const words = [clientId, keyId, outcome].flatMap((word) =>
    word === undefined ? [] : JSON.stringify(word),
  )
  return (text) => words.every((word) => text.includes(word))
}

function isWanted(row: RequestRow, { clientId, keyId, outcome, sinceMs }: RequestsQuery): boolean {
  return (
    (clientId === undefined || row.clientId === clientId) &&
    (keyId === undefined || row.attempts.some(({ key }) => key === keyId)) &&
    (outcome === undefined || row.outcome === outcome) &&
    (sinceMs === undefined || row.endedAtMs >= sinceMs)
  )
}

function readRow(text: string): RequestRow | null {
  try {
    const parsed = requestRowSchema.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : null
  } catch {
    return null
  }
}

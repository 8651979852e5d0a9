import * as z from 'zod/mini'
import type { AnswerHead } from '../answer-head.ts'

/** An answer that is kept. */
export interface KeptAnswer {
  readonly head: AnswerHead
  readonly storedAtMs: number
  /** It is not given to anybody from this moment on. */
  readonly expiresAtMs: number
  /** Of a durable answer: tells whether a request has the same body. */
  readonly bodyKey: string | null
  /** What it has cost, in USD; null if that is not known. */
  readonly costUsd: number | null
  /**
   * Null if it has come to its end. Else the object has died that made it, and this is the path of its
   * API shape.
   */
  readonly cutPath: string | null
  readonly bytes: Uint8Array
}

/** What is known of an answer that is being made. Its bytes are added as they come. */
export type UnendedAnswer = Omit<KeptAnswer, 'bytes' | 'costUsd' | 'cutPath'> & {
  readonly cutPath: string
}

/** Where kept answers lie. Everything is written and read synchronously. */
export interface AnswerRows {
  /** Null if there is none, or none that this version understands. */
  read(id: string): KeptAnswer | null
  /** In the place of what was there. */
  write(id: string, answer: KeptAnswer): void
  /** Begins an answer that may never be written whole, in the same place. @returns its next part */
  begin(id: string, answer: UnendedAnswer): number
  /** Adds bytes to one that was begun. @returns its next part */
  append(id: string, part: number, bytes: Uint8Array): number
  drop(id: string): void
  /** Drops what is over. @returns when the next one is over; null if nothing is left, and no table */
  dropExpired(nowMs: number): number | null
}

/** A row holds 2 MB. */
const MAX_ROW_BYTES = 1_900_000

const SCHEMA = `CREATE TABLE IF NOT EXISTS answers (
  id TEXT NOT NULL,
  part INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  record TEXT,
  bytes BLOB,
  PRIMARY KEY (id, part)
) WITHOUT ROWID`

const recordSchema = z.object({
  status: z.int(),
  headers: z.catchall(z.object({}), z.string()),
  storedAtMs: z.number(),
  bodyKey: z.nullable(z.string()),
  // Not in a row of an earlier release.
  costUsd: z.optional(z.nullable(z.number())),
  cutPath: z.optional(z.nullable(z.string())),
  /** Null while it is made, and for ever if the object dies meanwhile. */
  length: z.nullable(z.int()),
})

interface Row extends Record<string, SqlStorageValue> {
  readonly part: number
  readonly expires_at_ms: number
  readonly record: string | null
  readonly bytes: ArrayBuffer | null
}

const SELECT = 'SELECT part, expires_at_ms, record, bytes FROM answers WHERE id = ? ORDER BY part'
const INSERT = 'INSERT INTO answers (id, part, expires_at_ms, record, bytes) VALUES (?, ?, ?, ?, ?)'

/** It ends when its record does, and without that there is nothing to add to. */
const APPEND = `INSERT INTO answers (id, part, expires_at_ms, bytes)
  SELECT id, ?, expires_at_ms, ? FROM answers WHERE id = ? AND part = 0`

type Begun = Omit<KeptAnswer, 'bytes' | 'costUsd'> & { readonly length: number | null }

/**
 * Kept answers in the object's own SQLite: the first row of each is a record and the first of its bytes.
 * The table is made with the first of them, so that an object that keeps nothing stores nothing.
 */
export function createAnswerRows({ sql }: Pick<DurableObjectStorage, 'sql'>): AnswerRows {
  let hasTable =
    sql.exec("SELECT name FROM sqlite_master WHERE name = 'answers'").toArray().length > 0
  const drop = (id: string) => {
    if (hasTable) sql.exec('DELETE FROM answers WHERE id = ?', id)
  }
  const begin = (id: string, { head, expiresAtMs, ...about }: Begun, first?: Uint8Array) => {
    if (!hasTable) sql.exec(SCHEMA)
    hasTable = true
    drop(id)
    sql.exec(
      INSERT,
      id,
      0,
      expiresAtMs,
      JSON.stringify({ ...head, ...about }),
      first?.slice().buffer ?? null,
    )
    return 1
  }
  const append = (id: string, part: number, bytes: Uint8Array) => {
    let next = part
    for (let from = 0; from < bytes.length; from += MAX_ROW_BYTES) {
      const piece = bytes.slice(from, from + MAX_ROW_BYTES)
      sql.exec(APPEND, next, piece.buffer, id)
      next += 1
    }
    return next
  }
  return {
    drop,
    read(id) {
      if (!hasTable) return null
      const rows = sql.exec<Row>(SELECT, id).toArray()
      return answerOf(rows)
    },
    write(id, { bytes, ...about }) {
      const first = bytes.subarray(0, MAX_ROW_BYTES)
      const part = begin(id, { ...about, length: bytes.length }, first)
      append(id, part, bytes.subarray(MAX_ROW_BYTES))
    },
    begin: (id, about) => begin(id, { ...about, length: null }),
    append,
    dropExpired(nowMs) {
      if (!hasTable) return null
      sql.exec('DELETE FROM answers WHERE expires_at_ms <= ?', nowMs)
      const [next] = sql
        .exec<{ at: number | null }>('SELECT min(expires_at_ms) AS at FROM answers')
        .toArray()
      if (next?.at === null || next === undefined) hasTable = false
      return next?.at ?? null
    },
  }
}

function answerOf([first, ...others]: readonly Row[]): KeptAnswer | null {
  if (first?.record === null || first === undefined) return null
  const record = recordSchema.safeParse(parsed(first.record))
  if (!record.success) return null
  const { status, headers, length, costUsd = null, cutPath = null, ...about } = record.data
  const pieces = [first, ...others].flatMap(({ bytes }) => (bytes === null ? [] : [bytes]))
  const sum = pieces.reduce((bytes, { byteLength }) => bytes + byteLength, 0)
  if (length !== null && length !== sum) return null
  const bytes = new Uint8Array(sum)
  let offset = 0
  for (const piece of pieces) {
    bytes.set(new Uint8Array(piece), offset)
    offset += piece.byteLength
  }
  const expiresAtMs = first.expires_at_ms
  return { head: { status, headers }, ...about, costUsd, cutPath, expiresAtMs, bytes }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

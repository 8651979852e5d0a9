import * as z from 'zod/mini'
import type { AnswerHead } from '../answer-head.ts'

/** An answer that has ended and is kept. */
export interface KeptAnswer {
  readonly head: AnswerHead
  readonly storedAtMs: number
  /** It is not given to anybody from this moment on. */
  readonly expiresAtMs: number
  /** Of a durable answer: tells whether a request has the same body. */
  readonly bodyKey: string | null
  readonly bytes: Uint8Array
}

/** Where kept answers lie. Everything is written and read synchronously. */
export interface AnswerRows {
  /** Null if there is none, or none that this version understands. */
  read(id: string): KeptAnswer | null
  write(id: string, answer: KeptAnswer): void
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
  length: z.int(),
})

interface Row extends Record<string, SqlStorageValue> {
  readonly part: number
  readonly expires_at_ms: number
  readonly record: string | null
  readonly bytes: ArrayBuffer | null
}

const SELECT = 'SELECT part, expires_at_ms, record, bytes FROM answers WHERE id = ? ORDER BY part'
const INSERT = 'INSERT INTO answers (id, part, expires_at_ms, record, bytes) VALUES (?, ?, ?, ?, ?)'

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
  return {
    drop,
    read(id) {
      if (!hasTable) return null
      const rows = sql.exec<Row>(SELECT, id).toArray()
      return answerOf(rows)
    },
    write(id, { head, storedAtMs, expiresAtMs, bodyKey, bytes }) {
      if (!hasTable) sql.exec(SCHEMA)
      hasTable = true
      drop(id)
      const record = JSON.stringify({ ...head, storedAtMs, bodyKey, length: bytes.length })
      for (let part = 0; part === 0 || part * MAX_ROW_BYTES < bytes.length; part += 1) {
        const piece = bytes.slice(part * MAX_ROW_BYTES, (part + 1) * MAX_ROW_BYTES)
        sql.exec(INSERT, id, part, expiresAtMs, part === 0 ? record : null, piece.buffer)
      }
    },
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
  const { status, headers, storedAtMs, bodyKey, length } = record.data
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const { bytes: piece } of [first, ...others]) {
    if (piece === null || offset + piece.byteLength > length) return null
    bytes.set(new Uint8Array(piece), offset)
    offset += piece.byteLength
  }
  if (offset !== length) return null
  const expiresAtMs = first.expires_at_ms
  return { head: { status, headers }, storedAtMs, expiresAtMs, bodyKey, bytes }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

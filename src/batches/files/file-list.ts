import type { InputLines, StoredFile } from './stored-file.ts'

/** What a client asks of its list, as OpenAI's client pages through it. */
export interface ListQuery {
  readonly limit: number
  /** The id after which the page begins; null for the first page. */
  readonly after: string | null
  readonly order: 'asc' | 'desc'
  readonly purpose: string | null
}

export interface Page<Item> {
  readonly items: readonly Item[]
  readonly hasMore: boolean
}

/** The part of an object's SQL storage that a list needs. */
export interface SqlPort {
  exec(query: string, ...values: SqlValue[]): Iterable<Record<string, SqlValue>>
}
type SqlValue = string | number | null | ArrayBuffer

const SCHEMA = `CREATE TABLE IF NOT EXISTS files (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  purpose TEXT NOT NULL,
  is_there INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  file TEXT NOT NULL,
  lines TEXT
);
CREATE TABLE IF NOT EXISTS batches (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  input_file_id TEXT NOT NULL,
  is_over INTEGER NOT NULL
)`

/** An upload that has not ended by then has died. */
const UPLOAD_MS = 24 * 60 * 60_000

/** A file that a running batch reads is looked at again after this time. */
const IN_USE_MS = 60 * 60_000

/**
 * One client's files and batches, in the order in which they came. A listing of the bucket knows one
 * order only, and costs more than this object; and what is uploaded has to be on some list before it is
 * in the bucket, so that nothing stays there unknown when a Worker dies.
 */
export class FileListRows {
  readonly #sql: SqlPort

  constructor(sql: SqlPort) {
    this.#sql = sql
    for (const statement of SCHEMA.split(';')) this.#sql.exec(statement)
  }

  /** Notes a file that is about to be written. It is on no page before `keep`. */
  begin(file: StoredFile, nowMs: number): void {
    const expiresAtMs = nowMs + UPLOAD_MS
    this.#sql.exec(
      'INSERT OR IGNORE INTO files (id, purpose, is_there, expires_at_ms, file) VALUES (?, ?, 0, ?, ?)',
      ...[file.id, file.purpose, expiresAtMs, JSON.stringify(file)],
    )
  }

  /** The file is written. Safe to call twice. */
  keep(file: StoredFile, lines: InputLines | null): void {
    this.#sql.exec(
      `INSERT INTO files (id, purpose, is_there, expires_at_ms, file, lines) VALUES (?, ?, 1, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET is_there = 1, expires_at_ms = excluded.expires_at_ms,
         file = excluded.file, lines = excluded.lines`,
      ...[file.id, file.purpose, file.expiresAtMs, JSON.stringify(file)],
      lines === null ? null : JSON.stringify(lines),
    )
  }

  file(id: string): StoredFile | null {
    const [row] = this.#sql.exec('SELECT file FROM files WHERE id = ? AND is_there = 1', id)
    return row === undefined ? null : JSON.parse(String(row.file))
  }

  lines(id: string): InputLines | null {
    const [row] = this.#sql.exec('SELECT lines FROM files WHERE id = ? AND is_there = 1', id)
    return row === undefined || row.lines === null ? null : JSON.parse(String(row.lines))
  }

  files({ limit, after, order, purpose }: ListQuery): Page<StoredFile> {
    const rows = this.#page(
      `SELECT file AS item FROM files WHERE is_there = 1 AND (? IS NULL OR purpose = ?)`,
      [purpose, purpose],
      { table: 'files', limit, after, order },
    )
    return { ...rows, items: rows.items.map((text) => JSON.parse(text)) }
  }

  addBatch(id: string, inputFileId: string): void {
    this.#sql.exec(
      'INSERT OR IGNORE INTO batches (id, input_file_id, is_over) VALUES (?, ?, 0)',
      ...[id, inputFileId],
    )
  }

  /** The batch does not read its file any more, or does again. */
  setOver(id: string, isOver: boolean): void {
    this.#sql.exec('UPDATE batches SET is_over = ? WHERE id = ?', isOver ? 1 : 0, id)
  }

  hasBatch(id: string): boolean {
    return [...this.#sql.exec('SELECT id FROM batches WHERE id = ?', id)].length > 0
  }

  batches({ limit, after, order }: Omit<ListQuery, 'purpose'>): Page<string> {
    return this.#page('SELECT id AS item FROM batches WHERE 1', [], {
      ...{ table: 'batches', limit, after, order },
    })
  }

  isInUse(fileId: string): boolean {
    return this.readersOf(fileId).length > 0
  }

  /** The batches that read a file, as far as the list knows. */
  readersOf(fileId: string): readonly string[] {
    const rows = this.#sql.exec(
      'SELECT id FROM batches WHERE input_file_id = ? AND is_over = 0',
      fileId,
    )
    return [...rows].map(({ id }) => String(id))
  }

  remove(id: string): void {
    this.#sql.exec('DELETE FROM files WHERE id = ?', id)
  }

  /** Files whose time is over, and that a batch reads. */
  expiredInUse(nowMs: number): readonly string[] {
    return this.#due(nowMs).filter((id) => this.isInUse(id))
  }

  #due(nowMs: number): readonly string[] {
    const rows = this.#sql.exec('SELECT id FROM files WHERE expires_at_ms <= ? LIMIT 100', nowMs)
    return [...rows].map(({ id }) => String(id))
  }

  /** Files whose time is over. One that a batch reads has its turn later. */
  expired(nowMs: number): readonly string[] {
    const ids = this.#due(nowMs)
    const inUse = ids.filter((id) => this.isInUse(id))
    for (const id of inUse) {
      this.#sql.exec('UPDATE files SET expires_at_ms = ? WHERE id = ?', nowMs + IN_USE_MS, id)
    }
    return ids.filter((id) => !inUse.includes(id))
  }

  /** When `expired` has something to say; null if there is no file. */
  nextExpiryMs(): number | null {
    const [row] = this.#sql.exec('SELECT MIN(expires_at_ms) AS at_ms FROM files')
    return typeof row?.at_ms === 'number' ? row.at_ms : null
  }

  #page(
    select: string,
    values: readonly (string | null)[],
    { table, limit, after, order }: Omit<ListQuery, 'purpose'> & { readonly table: string },
  ): Page<string> {
    const from = after === null ? null : this.#placeOf(table, after)
    // Nothing comes after what is not there.
    if (from === 'unknown') return { items: [], hasMore: false }
    const [sign, direction] = order === 'asc' ? ['>', 'ASC'] : ['<', 'DESC']
    const rows = this.#sql.exec(
      `${select} AND (? IS NULL OR seq ${sign} ?) ORDER BY seq ${direction} LIMIT ?`,
      ...[...values, from, from, limit + 1],
    )
    const items = [...rows].map(({ item }) => String(item))
    return { items: items.slice(0, limit), hasMore: items.length > limit }
  }

  #placeOf(table: string, id: string): number | 'unknown' {
    const [row] = this.#sql.exec(`SELECT seq FROM ${table} WHERE id = ?`, id)
    return typeof row?.seq === 'number' ? row.seq : 'unknown'
  }
}

import type { RecordRow, RecordRows } from './record-store.ts'

/**
 * One table of JSON records, by kind and id. All of it is read once, when the object starts, so
 * columns or indexes would speed nothing up. An index would double the price of each write.
 */
const SCHEMA = `CREATE TABLE IF NOT EXISTS records (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (kind, id)
) WITHOUT ROWID`

/** See archive-rows.ts. */
const ARCHIVE_SCHEMA = SCHEMA.replace('records', 'archive')

const OUTDATED = 'outdated'

/** The rows in the object's own SQLite. Everything but the mark is written and read synchronously. */
export function createSqlRows(storage: DurableObjectStorage): RecordRows {
  const { sql } = storage
  sql.exec(SCHEMA)
  sql.exec(ARCHIVE_SCHEMA)
  return {
    all: () => sql.exec<Record<keyof RecordRow, string>>(SELECT).toArray(),
    put: ({ kind, id, record }) => void sql.exec(INSERT, kind, id, record),
    drop: (kind, id) => void sql.exec('DELETE FROM records WHERE kind = ? AND id = ?', kind, id),
    isOutdated: () => storage.kv.get(OUTDATED) === true,
    setOutdated(isOutdated) {
      // Without a wait for the disk. See `Store.outdate`.
      if (isOutdated) void storage.put(OUTDATED, true, { allowUnconfirmed: true })
      else void storage.delete(OUTDATED)
    },
    archive: {
      between: (kind, first, last) =>
        sql
          .exec<{ record: string }>(SELECT_BETWEEN, kind, first, last)
          .toArray()
          .map(({ record }) => record),
      put: (kind, id, record) => void sql.exec(ARCHIVE, kind, id, record),
      dropBefore: (kind, id) => void sql.exec(DROP_BEFORE, kind, id),
    },
  }
}

const SELECT = 'SELECT kind, id, record FROM records'
const INSERT = 'INSERT OR REPLACE INTO records (kind, id, record) VALUES (?, ?, ?)'
const SELECT_BETWEEN =
  'SELECT record FROM archive WHERE kind = ? AND id BETWEEN ? AND ? ORDER BY id'
const ARCHIVE = 'INSERT OR REPLACE INTO archive (kind, id, record) VALUES (?, ?, ?)'
const DROP_BEFORE = 'DELETE FROM archive WHERE kind = ? AND id < ?'

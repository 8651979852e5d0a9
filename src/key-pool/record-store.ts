import type { z } from 'zod'
import {
  accountRecord,
  type Checkpoint,
  isBlank,
  keyRecord,
  type PoolRecords,
} from '../balancing/checkpoint.ts'
import { type AccountId, accountId, type KeyId, keyId } from '../balancing/ids.ts'
import type { ChangedRecords } from '../balancing/pool.ts'
import {
  accountRecordSchema,
  checkpointSchemas,
  keyRecordSchema,
  modelsRecordSchema,
  spendRecordSchema,
} from './record-schemas.ts'

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

/** A row holds 2 MB. A character of JSON may take three bytes. */
const MAX_ROW_CHARACTERS = 600_000

type Kind = 'key' | 'account' | 'models' | 'spend' | 'checkpoint'

/** This entry is set while the pool has changes that the checkpoint does not hold. */
const OUTDATED = 'outdated'

export interface Store {
  load(): Promise<PoolRecords>
  /** Writes what one step changed. */
  save(changed: ChangedRecords): void
  /**
   * Marks the checkpoint as outdated. No answer waits until the mark is on disk. A crash that loses
   * the mark costs little. A wait would slow down the first request after every quiet time.
   */
  outdate(): void
  /** Writes only the rows that differ from what was last written or loaded. */
  saveCheckpoint(checkpoint: Checkpoint): void
  /** Drops the rows of these keys and accounts. */
  forget(gone: { readonly keys: readonly KeyId[]; readonly accounts: readonly AccountId[] }): void
}

export function createStore(storage: DurableObjectStorage): Store {
  const { sql } = storage
  sql.exec(SCHEMA)
  const written = new Map<string, string>()

  const put = (kind: Kind, id: string, json: string) => {
    const name = `${kind} ${id}`
    if (written.get(name) === json) return
    sql.exec('INSERT OR REPLACE INTO records (kind, id, record) VALUES (?, ?, ?)', kind, id, json)
    written.set(name, json)
  }
  const drop = (kind: Kind, id: string) => {
    if (!written.delete(`${kind} ${id}`)) return
    sql.exec('DELETE FROM records WHERE kind = ? AND id = ?', kind, id)
  }

  return {
    async load() {
      const rows = sql.exec<Row>('SELECT kind, id, record FROM records').toArray()
      for (const { kind, id, record } of rows) written.set(`${kind} ${id}`, record)
      return { ...readRecords(rows), outdated: (await storage.get(OUTDATED)) === true }
    },
    save({ keys, accounts, models, spends }) {
      for (const key of keys) {
        const record = keyRecord(key)
        if (isBlank(record)) drop('key', key.id)
        else put('key', key.id, JSON.stringify(record))
      }
      for (const account of accounts) {
        put('account', account.id, JSON.stringify(accountRecord(account)))
      }
      for (const [id, spend] of spends) put('spend', id, JSON.stringify(spend))
      if (models !== null) put('models', 'benched', JSON.stringify([...models]))
    },
    outdate() {
      void storage.put(OUTDATED, true, { allowUnconfirmed: true })
    },
    saveCheckpoint(checkpoint) {
      // There is no `await` between these writes, so the platform commits all of them or none.
      for (const [part, record] of Object.entries(checkpoint)) {
        const pieces = piecesOf(JSON.stringify(record))
        for (const [i, piece] of pieces.entries()) put('checkpoint', pieceId(part, i), piece)
        for (let i = pieces.length; written.has(`checkpoint ${pieceId(part, i)}`); i++) {
          drop('checkpoint', pieceId(part, i))
        }
      }
      void storage.delete(OUTDATED)
    },
    forget({ keys, accounts }) {
      for (const id of keys) for (const kind of ['key', 'spend'] as const) drop(kind, id)
      for (const id of accounts) drop('account', id)
    },
  }
}

type Row = { kind: string; id: string; record: string }

/** Splits a text that may be too long for one row into rows. */
function piecesOf(text: string): string[] {
  const count = Math.max(1, Math.ceil(text.length / MAX_ROW_CHARACTERS))
  return Array.from({ length: count }, (_, i) =>
    text.slice(i * MAX_ROW_CHARACTERS, (i + 1) * MAX_ROW_CHARACTERS),
  )
}

const pieceId = (part: string, i: number) => (i === 0 ? part : `${part}/${i}`)

function textOf(rows: readonly Row[], part: string): string | null {
  const pieces: string[] = []
  for (;;) {
    const row = rows.find(({ id }) => id === pieceId(part, pieces.length))
    if (row === undefined) break
    pieces.push(row.record)
  }
  return pieces.length === 0 ? null : pieces.join('')
}

function readRecords(rows: readonly Row[]): Omit<PoolRecords, 'outdated'> {
  const ofKind = (kind: Kind) => rows.filter((row) => row.kind === kind)
  const read = <T>({ record }: Pick<Row, 'record'>, schema: z.ZodType<T>): T[] => {
    const parsed = schema.safeParse(parseJson(record))
    return parsed.success ? [parsed.data] : []
  }
  const checkpointRows = ofKind('checkpoint')
  const part = <Part extends keyof Checkpoint>(name: Part): Partial<Pick<Checkpoint, Part>> => {
    const record = textOf(checkpointRows, name)
    const [value] = record === null ? [] : read({ record }, checkpointSchemas[name])
    return value === undefined ? {} : ({ [name]: value } as Partial<Pick<Checkpoint, Part>>)
  }
  return {
    keys: new Map(
      ofKind('key').flatMap((row) =>
        read(row, keyRecordSchema).map((record) => [keyId(row.id), record] as const),
      ),
    ),
    accounts: new Map(
      ofKind('account').flatMap((row) =>
        read(row, accountRecordSchema).map((record) => [accountId(row.id), record] as const),
      ),
    ),
    models: ofKind('models').flatMap((row) => read(row, modelsRecordSchema).flat()),
    spends: new Map(
      ofKind('spend').flatMap((row) =>
        read(row, spendRecordSchema).map((record) => [keyId(row.id), record] as const),
      ),
    ),
    checkpoint: {
      ...part('counters'),
      ...part('byModel'),
      ...part('leases'),
      ...part('meters'),
      ...part('generations'),
    },
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

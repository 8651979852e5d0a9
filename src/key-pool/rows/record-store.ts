import type * as z from 'zod/mini'
import { accountId, keyId } from '../../balancing/ids.ts'
import type { QuotaOwner } from '../../balancing/limits/quota-charge.ts'
import type { ChangedRecords } from '../../balancing/records/changed-records.ts'
import {
  accountRecord,
  type Checkpoint,
  isBlank,
  keyRecord,
  type PoolRecords,
} from '../../balancing/records/checkpoint.ts'
import type { ForgottenRows } from '../../balancing/records/forgotten-rows.ts'
import { activeAlertSchema, deliverySchema } from '../alerts/alert-schemas.ts'
import { type Archive, createArchive } from '../history/archive.ts'
import type { ArchiveRows } from '../history/archive-rows.ts'
import {
  auditEntrySchema,
  budgetRecordsSchema,
  clientRecordSchema,
  groupRecordSchema,
  purgesRecordSchema,
  spendRecordSchema,
} from './client-schemas.ts'
import {
  accountRecordSchema,
  checkpointSchemas,
  keyRecordSchema,
  modelsRecordSchema,
} from './record-schemas.ts'

/** A row holds 2 MB. A character of JSON may take three bytes, and mostly takes one. */
const MAX_ROW_BYTES = 1_900_000
const MAX_BYTES_PER_CHARACTER = 3
const ASCII_ONLY = /^[\0-\x7f]*$/

type Kind =
  | ('key' | 'account' | 'models' | 'spend' | 'checkpoint')
  | ('budget' | 'client' | 'group' | 'audit')
  | ('alert' | 'alert_message')
  | ('budget' | 'client' | 'group' | 'audit' | 'purges')

/** A JSON record, by kind and id. */
export interface RecordRow {
  readonly kind: string
  readonly id: string
  readonly record: string
}

/** Where the rows lie. What is written between two waits is stored together, or not at all. */
export interface RecordRows {
  all(): readonly RecordRow[]
  put(row: RecordRow): void
  drop(kind: string, id: string): void
  /** A mark that is set while the pool has changes that the checkpoint does not hold. */
  isOutdated(): boolean
  setOutdated(isOutdated: boolean): void
  readonly archive: ArchiveRows
}

/**
 * Parts that share a row. A row costs the same whatever it holds, and each of these changes with nearly
 * every request. Counters have rows of their own, by which an earlier release finds them again.
 */
const RECENT_PARTS = [
  'leases',
  'meters',
  'generations',
  'reconciliations',
] as const satisfies readonly (keyof Checkpoint)[]
const RECENT = 'recent'

export interface Store {
  load(): PoolRecords
  /** Writes what one step changed. */
  save(changed: ChangedRecords): void
  /**
   * Marks the checkpoint as outdated. No answer waits until the mark is on disk. A crash that loses
   * the mark costs little. A wait would slow down the first request after every quiet time.
   */
  outdate(): void
  /** Writes the rows of a checkpoint that differ from what was last written or loaded. */
  saveCheckpoint(checkpoint: Checkpoint): void
  /** Takes the mark away: the pool is what the checkpoint holds. */
  confirm(): void
  /** Drops the rows of keys, of accounts, and of the budgets of clients and groups. */
  forget(gone: ForgottenRows): void
  /** What nothing is decided by, and what is read only when somebody asks for it. */
  readonly archive: Archive
}

export function createStore(rows: RecordRows): Store {
  const written = new Map<string, string>()

  const put = (kind: Kind, id: string, record: string) => {
    const name = `${kind} ${id}`
    if (written.get(name) === record) return
    rows.put({ kind, id, record })
    written.set(name, record)
  }
  const drop = (kind: Kind, id: string) => {
    if (written.delete(`${kind} ${id}`)) rows.drop(kind, id)
  }
  const putAll = (kind: Kind, records: ReadonlyMap<string, unknown>) => {
    for (const [id, record] of records) {
      if (record === null) drop(kind, id)
      else put(kind, id, JSON.stringify(record))
    }
  }
  const dropPieces = (part: string, from: number) => {
    for (let i = from; written.has(`checkpoint ${pieceId(part, i)}`); i++) {
      drop('checkpoint', pieceId(part, i))
    }
  }
  const putPart = (part: string, record: unknown) => {
    const pieces = piecesOf(JSON.stringify(record))
    for (const [i, piece] of pieces.entries()) put('checkpoint', pieceId(part, i), piece)
    dropPieces(part, pieces.length)
  }

  return {
    load() {
      const stored = rows.all()
      for (const { kind, id, record } of stored) written.set(`${kind} ${id}`, record)
      return { ...readRecords(stored), outdated: rows.isOutdated() }
    },
    save({ keys, accounts, models, spends, purges, ...others }) {
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
      if (purges !== null) put('purges', 'epochs', JSON.stringify([...purges]))
      const { budgets, clients, groups, audit, alerts, deliveries } = others
      putAll('budget', budgets)
      putAll('client', clients)
      putAll('group', groups)
      putAll('audit', audit)
      putAll('alert', alerts)
      putAll('alert_message', deliveries)
    },
    outdate: () => rows.setOutdated(true),
    confirm: () => rows.setOutdated(false),
    saveCheckpoint({ counters, byModel, quotas, ...recent }) {
      putPart('counters', counters)
      putPart('byModel', byModel)
      // Most pools never have a quota: while there is none it needs no row.
      if (quotas.length > 0 || written.has('checkpoint quotas')) putPart('quotas', quotas)
      putPart(RECENT, recent)
      for (const part of RECENT_PARTS) dropPieces(part, 0)
    },
    forget({ keys, accounts, budgets }) {
      for (const id of keys) for (const kind of ['key', 'spend'] as const) drop(kind, id)
      for (const id of accounts) drop('account', id)
      for (const owner of budgets) drop('budget', owner)
    },
    archive: createArchive(rows.archive),
  }
}

/** Splits a text that may be too long for one row into rows. */
function piecesOf(text: string): string[] {
  const bytesPerCharacter = ASCII_ONLY.test(text) ? 1 : MAX_BYTES_PER_CHARACTER
  const length = Math.floor(MAX_ROW_BYTES / bytesPerCharacter)
  const count = Math.max(1, Math.ceil(text.length / length))
  return Array.from({ length: count }, (_, i) => text.slice(i * length, (i + 1) * length))
}

const pieceId = (part: string, i: number) => (i === 0 ? part : `${part}/${i}`)

function textOf(rows: readonly RecordRow[], part: string): string | null {
  const pieces: string[] = []
  for (;;) {
    const row = rows.find(({ id }) => id === pieceId(part, pieces.length))
    if (row === undefined) break
    pieces.push(row.record)
  }
  return pieces.length === 0 ? null : pieces.join('')
}

/**
 * The parts that share a row. Where a part has a row of its own too, that one is newer: an earlier
 * release has written it, for this one drops it.
 */
function recentParts(rows: readonly RecordRow[]): {
  readonly [Part in keyof Checkpoint]?: unknown
} {
  const recent = parseJson(textOf(rows, RECENT) ?? 'null')
  return typeof recent === 'object' && recent !== null ? recent : {}
}

function readRecords(rows: readonly RecordRow[]): Omit<PoolRecords, 'outdated'> {
  const ofKind = (kind: Kind) => rows.filter((row) => row.kind === kind)
  const read = <T>({ record }: Pick<RecordRow, 'record'>, schema: z.ZodMiniType<T>): T[] => {
    const parsed = schema.safeParse(parseJson(record))
    return parsed.success ? [parsed.data] : []
  }
  const checkpointRows = ofKind('checkpoint')
  const recent = recentParts(checkpointRows)
  const part = <Part extends keyof Checkpoint>(name: Part): Partial<Pick<Checkpoint, Part>> => {
    const text = textOf(checkpointRows, name)
    const schema: z.ZodMiniType<Checkpoint[Part]> = checkpointSchemas[name]
    const parsed = schema.safeParse(text === null ? recent[name] : parseJson(text))
    return parsed.success ? ({ [name]: parsed.data } as Partial<Pick<Checkpoint, Part>>) : {}
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
    budgets: new Map(
      ofKind('budget').flatMap((row) =>
        read(row, budgetRecordsSchema).map((record) => [row.id as QuotaOwner, record] as const),
      ),
    ),
    clients: ofKind('client').flatMap((row) => read(row, clientRecordSchema)),
    groups: ofKind('group').flatMap((row) => read(row, groupRecordSchema)),
    audit: ofKind('audit').flatMap((row) => read(row, auditEntrySchema)),
    alerts: ofKind('alert').flatMap((row) => read(row, activeAlertSchema)),
    deliveries: ofKind('alert_message').flatMap((row) => read(row, deliverySchema)),
    purges: ofKind('purges').flatMap((row) => read(row, purgesRecordSchema).flat()),
    checkpoint: {
      ...part('counters'),
      ...part('byModel'),
      ...part('leases'),
      ...part('meters'),
      ...part('quotas'),
      ...part('generations'),
      ...part('reconciliations'),
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

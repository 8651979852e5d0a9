import type { SqlPort } from '../files/file-list.ts'
import type { LineRange } from '../files/line-ranges.ts'
import { type BatchRecord, emptyTally, type Tally } from './batch-record.ts'
import { type BatchState, type LineOutcome, openLines, type RangePhase } from './batch-state.ts'

/** What a line came to. */
export interface LineResult {
  readonly outcome: LineOutcome
  /** One line of the output or error file, with its end. */
  readonly text: Uint8Array
  readonly usage: LineUsage
}

export type LineUsage = Omit<Tally, 'completed' | 'failed' | 'dead'>

/** A row may have two megabytes. */
const PIECE_BYTES = 1024 * 1024
/** So many pieces at most, which is far more than an answer may have. */
const PIECES = 64
/** So many are read at once: a query for each would cost more than all else that is done with it. */
const PIECES_AT_ONCE = 16

const SCHEMA = `CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ranges (id INTEGER PRIMARY KEY, range TEXT NOT NULL, progress TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (
  id INTEGER PRIMARY KEY,
  outcome TEXT NOT NULL,
  usage TEXT NOT NULL,
  piece BLOB NOT NULL
)`

interface Progress {
  readonly phase: RangePhase
  readonly tries: readonly (readonly [number, number])[]
  readonly sends: number
  readonly deaths: number
}

/**
 * The rows of a batch's object: the batch, its ranges, and for each line that has ended its result. A
 * line without a result is open, so a result and its line's state are one row and never disagree. The
 * text of a result comes last in its row: what is read before it costs no page of it.
 */
export class BatchRows {
  readonly #sql: SqlPort

  constructor(sql: SqlPort) {
    this.#sql = sql
    for (const statement of SCHEMA.split(';')) this.#sql.exec(statement)
  }

  /** What was written; null for an object without a batch. */
  read(): BatchState | null {
    const [row] = this.#sql.exec('SELECT record FROM batch WHERE id = 1')
    if (row === undefined) return null
    const record: BatchRecord = JSON.parse(String(row.record))
    const { ended, tally } = this.#results()
    const ranges = [...this.#sql.exec('SELECT id, range, progress FROM ranges ORDER BY id')]
    return {
      record,
      ranges: ranges.map(({ id, range: rangeText, progress: text }) => {
        const range: LineRange = JSON.parse(String(rangeText))
        const { tries, ...progress }: Progress = JSON.parse(String(text))
        const isDone = progress.phase.kind === 'done'
        const open = isDone ? new Set<number>() : openLines(range)
        for (const line of open) if (ended.has(line)) open.delete(line)
        return { id: Number(id), range, open, tries: new Map(tries), ...progress }
      }),
      tally: record.tally ?? tally,
      changed: { record: false, ranges: new Set() },
    }
  }

  /** Writes down what has changed. */
  write({ record, ranges, changed }: BatchState): void {
    if (changed.record) {
      this.#sql.exec(
        'INSERT OR REPLACE INTO batch (id, record) VALUES (1, ?)',
        JSON.stringify(record),
      )
    }
    for (const id of changed.ranges) {
      const range = ranges[id]
      if (range === undefined) continue
      const { phase, tries, sends, deaths } = range
      const progress: Progress = { phase, tries: [...tries], sends, deaths }
      this.#sql.exec(
        'INSERT OR REPLACE INTO ranges (id, range, progress) VALUES (?, ?, ?)',
        ...[id, JSON.stringify(range.range), JSON.stringify(progress)],
      )
    }
    changed.record = false
    changed.ranges.clear()
  }

  /** Keeps what a line came to. */
  keep(line: number, { outcome, text, usage }: LineResult): void {
    for (let i = 0; i * PIECE_BYTES < text.length; i += 1) {
      const piece = text.slice(i * PIECE_BYTES, (i + 1) * PIECE_BYTES)
      this.#sql.exec(
        'INSERT INTO results (id, outcome, usage, piece) VALUES (?, ?, ?, ?)',
        ...[line * PIECES + i, outcome, JSON.stringify(usage), piece.buffer],
      )
    }
  }

  /** The lines that were recorded as dead. */
  deadLines(): readonly number[] {
    const rows = this.#sql.exec(`SELECT id FROM results WHERE outcome = 'dead'`)
    return [...rows].map(({ id }) => Math.floor(Number(id) / PIECES))
  }

  forgetDeadLines(): void {
    this.#sql.exec(`DELETE FROM results WHERE outcome = 'dead'`)
  }

  /** Pieces of the results of one file, in the order of the lines. */
  *texts(file: 'output' | 'error'): Generator<Uint8Array> {
    const only = file === 'output' ? `outcome = 'completed'` : `outcome <> 'completed'`
    for (let last = -1; ; ) {
      // A cursor must not stay open while others write.
      const rows = [
        ...this.#sql.exec(
          `SELECT id, piece FROM results WHERE id > ? AND ${only} ORDER BY id LIMIT ?`,
          ...[last, PIECES_AT_ONCE],
        ),
      ]
      for (const { id, piece } of rows) {
        last = Number(id)
        if (piece instanceof ArrayBuffer) yield new Uint8Array(piece)
      }
      if (rows.length < PIECES_AT_ONCE) return
    }
  }

  /** Forgets the lines of a batch whose files are written. */
  purge(): void {
    for (const table of ['results', 'ranges']) this.#sql.exec(`DELETE FROM ${table}`)
  }

  #results(): { readonly ended: ReadonlySet<number>; readonly tally: Tally } {
    const ended = new Set<number>()
    const tally = emptyTally()
    const rows = this.#sql.exec(`SELECT id, outcome, usage FROM results WHERE id % ${PIECES} = 0`)
    for (const { id, outcome, usage } of rows) {
      ended.add(Number(id) / PIECES)
      if (outcome === 'completed') tally.completed += 1
      else tally.failed += 1
      if (outcome === 'dead') tally.dead += 1
      addUsage(tally, JSON.parse(String(usage)))
    }
    return { ended, tally }
  }
}

export function addUsage(tally: Tally, usage: LineUsage): void {
  tally.promptTokens += usage.promptTokens
  tally.cachedTokens += usage.cachedTokens
  tally.completionTokens += usage.completionTokens
  tally.reasoningTokens += usage.reasoningTokens
  tally.costUsd += usage.costUsd
}

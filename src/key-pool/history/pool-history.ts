import { type DayUsage, letDayEnd, usageOfDay } from '../../balancing/accounting/day-usage.ts'
import { NO_SPENDING, type Spending, spendingOf } from '../../balancing/accounting/ledger.ts'
import {
  MINUTES_KEPT,
  type MinuteRecord,
  minuteOf,
  minuteRecord,
} from '../../balancing/accounting/recent-minutes.ts'
import { countRequest } from '../../balancing/accounting/request-row.ts'
import type { ClientId } from '../../balancing/ids.ts'
import type { PoolState } from '../../balancing/pool-state.ts'
import type { Archive } from './archive.ts'
import type {
  HistoryQuery,
  HistoryReply,
  RequestsQuery,
  RequestsReply,
  UsageQuery,
  UsageReply,
  UsageRow,
} from './history-protocol.ts'
import { RequestJournal } from './request-journal.ts'

/** A megabyte or two. */
const MAX_USAGE_ROWS = 5_000

/** Who has not asked for so long is not looking at the hour any more. */
const UNWATCHED_MS = 10 * 60_000

/** What the pool has done: its last requests, its last hour, and its days. */
export class PoolHistory {
  readonly #pool: PoolState
  readonly #archive: Archive
  readonly #journal: RequestJournal
  /** The minutes on disk, while somebody looks at them. */
  #minutes: readonly MinuteRecord[] | null = null
  #lookedAtMs = 0

  constructor(pool: PoolState, archive: Archive) {
    this.#pool = pool
    this.#archive = archive
    this.#journal = new RequestJournal(archive, (note) => countRequest(pool.ledger.requests, note))
  }

  /** What a client has spent. */
  spending(clientId: ClientId, nowMs: number): Spending {
    const tally = this.#pool.ledger.byClient.get(clientId)
    return tally === undefined ? NO_SPENDING : spendingOf(tally, nowMs)
  }

  /** Notes requests that have ended, as a Worker sends them. */
  note(requests: readonly unknown[]): void {
    this.#journal.note(requests)
  }

  /** Counts the requests that were noted. They are not on disk yet. */
  settle(): void {
    this.#journal.settle()
  }

  requests(query: RequestsQuery): RequestsReply {
    return { version: 1, requests: this.#journal.read(query) }
  }

  history({ byKey }: HistoryQuery, nowMs: number): HistoryReply {
    this.#lookedAtMs = nowMs
    this.#minutes ??= this.#archive.minutes()
    const { running, ended } = this.#pool.minutes
    const unwritten = [...ended, ...(running === null ? [] : [running])].map(minuteRecord)
    const minute = minuteOf(nowMs)
    const isRecent = (one: MinuteRecord) => one.minute > minute - MINUTES_KEPT
    // What is in memory is newer than what a checkpoint before a crash has written of it.
    const all = new Map([...this.#minutes, ...unwritten].map((one) => [one.minute, one]))
    const recent = [...all.values()].filter(isRecent).toSorted((a, b) => a.minute - b.minute)
    const minutes = recent.map(({ keys, ...one }) => {
      return { ...one, keys: byKey ? keys.map(([keyId, counters]) => ({ keyId, counters })) : [] }
    })
    return { version: 1, minute, minutes }
  }

  /** The usage of some days, with what was booked of today so far. */
  usage({ by, firstDay, lastDay }: UsageQuery, nowMs: number): UsageReply {
    const { days, ledger } = this.#pool
    letDayEnd(days, ledger, nowMs)
    const today = usageOfDay(ledger)
    const inMemory = new Map([...days.ended, today].map((usage) => [usage.day, usage]))
    const rows: UsageRow[] = []
    const last = Math.min(lastDay, today.day)
    for (let day = firstDay; day <= last; day++) {
      if (rows.length >= MAX_USAGE_ROWS) return { version: 1, rows, nextDay: day }
      const usage = inMemory.get(day) ?? this.#archive.days(day, day)[0]
      if (usage !== undefined) rows.push(...rowsOf(usage, by))
    }
    return { version: 1, rows, nextDay: null }
  }

  /** Writes what has changed: with the checkpoint, so that a crash keeps or loses both. */
  write(nowMs: number): void {
    const { days, minutes, ledger } = this.#pool
    letDayEnd(days, ledger, nowMs)
    for (const usage of days.ended) this.#archive.putDay(usage)
    days.ended = []
    this.#archive.correct(days.late)
    days.late = []
    const ended = minutes.ended.map(minuteRecord)
    for (const minute of ended) this.#archive.putMinute(minute)
    minutes.ended = []
    if (nowMs - this.#lookedAtMs > UNWATCHED_MS) this.#minutes = null
    const isRecent = ({ minute }: MinuteRecord) => minute > minuteOf(nowMs) - MINUTES_KEPT
    this.#minutes = this.#minutes && [...this.#minutes, ...ended].filter(isRecent)
    this.#journal.write()
  }
}

function rowsOf(usage: DayUsage, by: UsageQuery['by']): UsageRow[] {
  return Array.from(usage[by], ([name, counters]) => ({ day: usage.day, name, counters }))
}

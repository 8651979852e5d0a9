import type { UsageBy } from '../../balancing/accounting/day-usage.ts'
import type { Counters } from '../../balancing/accounting/ledger.ts'
import type { MinuteCounters } from '../../balancing/accounting/recent-minutes.ts'
import type { RequestOutcome, RequestRow } from '../../balancing/accounting/request-row.ts'
import type { KeyId } from '../../balancing/ids.ts'

/** What operators ask the object about the past. Fields are only ever added: see protocol.ts. */

export interface RequestsQuery {
  /** The most rows. */
  readonly limit: number
  /** As in `x-request-id`. */
  readonly id?: string | undefined
  readonly clientId?: string | undefined
  /** Only requests with an attempt of this key. */
  readonly keyId?: string | undefined
  readonly outcome?: RequestOutcome | undefined
  /** Only requests that have ended since, in epoch milliseconds. */
  readonly sinceMs?: number | undefined
}

export interface RequestsReply {
  readonly version: 1
  /** The latest first, in the order in which the object has heard of them. */
  readonly requests: readonly RequestRow[]
}

export interface UsageQuery {
  readonly by: UsageBy
  /** UTC days since 1970-01-01, both included. */
  readonly firstDay: number
  readonly lastDay: number
}

/** A day's counters under one name. */
export interface UsageRow {
  readonly day: number
  readonly name: string
  readonly counters: Counters
}

export interface UsageReply {
  readonly version: 1
  /** The first day first; of each day the dearest first. */
  readonly rows: readonly UsageRow[]
  /** From where on to ask again, since a reply holds only so many rows; null if this is all. */
  readonly nextDay: number | null
}

export interface HistoryQuery {
  /** Whether the counters of each key are wanted too. */
  readonly byKey: boolean
}

/** The last hour, by minutes. Minutes in which nothing was booked are left out. */
export interface HistoryReply {
  readonly version: 1
  /** The minute that runs: minutes since 1970-01-01. */
  readonly minute: number
  /** The first minute first. */
  readonly minutes: readonly HistoryMinute[]
}

export interface HistoryMinute {
  /** Minutes since 1970-01-01. */
  readonly minute: number
  readonly all: MinuteCounters
  /** Those with attempts in it. Empty unless asked for. */
  readonly keys: readonly { readonly keyId: KeyId; readonly counters: MinuteCounters }[]
}

import type * as z from 'zod/mini'
import {
  correctDay,
  DAYS_KEPT,
  type DayUsage,
  dateOf,
  type LateUsage,
} from '../../balancing/accounting/day-usage.ts'
import { dayOf } from '../../balancing/accounting/ledger.ts'
import { MINUTES_KEPT, type MinuteRecord } from '../../balancing/accounting/recent-minutes.ts'
import { minuteSchema } from '../rows/record-schemas.ts'
import type { ArchiveKind, ArchiveRows, RequestsPart } from './archive-rows.ts'
import { daySchema, requestsPartSchema } from './archive-schemas.ts'

/** What the pool has done, on disk. What does not parse is passed over. */
export interface Archive {
  /** The usage of some UTC days, the first first. */
  days(firstDay: number, lastDay: number): readonly DayUsage[]
  /** Writes a day in the place of what was known of it, and drops those that are too old. */
  putDay(usage: DayUsage): void
  /** Corrects days that are there. */
  correct(late: readonly LateUsage[]): void
  /** The minutes of the hour that have ended, in no order. Older ones may be among them. */
  minutes(): readonly MinuteRecord[]
  putMinute(minute: MinuteRecord): void
  requests(): readonly RequestsPart[]
  putRequests(part: number, requests: RequestsPart): void
}

export function createArchive(rows: ArchiveRows): Archive {
  const read = <T>(kind: ArchiveKind, first: string, last: string, schema: z.ZodMiniType<T>) =>
    rows.between(kind, first, last).flatMap((record): T[] => {
      const parsed = schema.safeParse(parseJson(record))
      return parsed.success ? [parsed.data] : []
    })
  const days = (firstDay: number, lastDay: number) =>
    read('day', dateOf(firstDay), dateOf(lastDay), daySchema)
  const writeDay = (usage: DayUsage) =>
    rows.put('day', dateOf(usage.day), JSON.stringify(usage, mapsAsLists))
  return {
    days,
    putDay(usage) {
      writeDay(usage)
      rows.dropBefore('day', dateOf(usage.day - DAYS_KEPT + 1))
    },
    correct(late) {
      for (const [day, ofDay] of Map.groupBy(late, (one) => dayOf(one.estimate.bookedAtMs))) {
        for (const usage of days(day, day)) {
          for (const one of ofDay) correctDay(usage, one)
          writeDay(usage)
        }
      }
    },
    minutes: () => read('minute', '', '~', minuteSchema),
    putMinute: (minute) =>
      rows.put('minute', String(minute.minute % MINUTES_KEPT), JSON.stringify(minute)),
    requests: () => read('requests', '', '~', requestsPartSchema),
    putRequests: (part, requests) => rows.put('requests', String(part), JSON.stringify(requests)),
  }
}

const mapsAsLists = (_: string, value: unknown) => (value instanceof Map ? [...value] : value)

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

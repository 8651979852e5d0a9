import type { ClientId, GroupId, KeyId } from '../ids.ts'
import type { Usage } from '../settlement.ts'
import {
  addCounters,
  asOfToday,
  type BookedEstimate,
  type Counters,
  createCounters,
  DAY_MS,
  dayOf,
  type Ledger,
  replaceUsage,
  type Tally,
} from './ledger.ts'

/** By what usage is told. */
export const USAGE_BY = ['client', 'group', 'key', 'model'] as const

export type UsageBy = (typeof USAGE_BY)[number]

/** What was booked on one UTC day: in all, and by name. The names of each list add up to all. */
export interface DayUsage extends Readonly<Record<UsageBy, Map<string, Counters>>> {
  /** Days since 1970-01-01. */
  readonly day: number
  readonly all: Counters
}

/** Days that have ended, until the next checkpoint writes them. */
export interface Days {
  ended: DayUsage[]
  /** What was learned of answers of a day that is on disk already. */
  late: LateUsage[]
}

/** What an answer has really used that was booked as an estimate, on a day that has ended. */
export interface LateUsage {
  readonly estimate: BookedEstimate
  readonly actual: Usage
}

/** For so many days the usage of a day can be asked for. */
export const DAYS_KEPT = 400

/** Of each kind, those that cost the most have a name on a day. A row of the store holds 2 MB. */
export const MAX_NAMES = 1_000

/** A longer name is none: callers name models. */
const MAX_NAME_LENGTH = 200

/** What has no name on its day: clients without a group, keys that are gone, all beyond the bound. */
export const OTHER_NAMES = '(other)'

export function createDays(): Days {
  return { ended: [], late: [] }
}

/**
 * Ends the day on which something was booked last, once it is over. It has to be called before anything
 * is booked on another day: a tally knows the counters of one day only.
 */
export function letDayEnd(days: Days, ledger: Ledger, nowMs: number): void {
  const { all } = ledger
  const day = dayOf(nowMs)
  // A clock that was set back must not end a day that goes on.
  if (all.day >= day) return
  if (all.today.attempts > 0) days.ended = [...days.ended, usageOfDay(ledger)].slice(-MAX_ENDED)
  asOfToday(all, nowMs)
}

/** While nothing can be written: what is older is lost, and not the memory. */
const MAX_ENDED = 10

/** What was booked on the day on which something was booked last. */
export function usageOfDay(ledger: Ledger): DayUsage {
  const { day, today } = ledger.all
  return {
    day,
    all: copyOf(today),
    client: namesOf(ledger.byClient, ledger.all),
    group: namesOf(ledger.byGroup, ledger.all),
    key: namesOf(ledger.byKey, ledger.all),
    model: namesOf(ledger.byModel, ledger.all),
  }
}

function namesOf(
  tallies: ReadonlyMap<string, Tally> | ReadonlyMap<ClientId | GroupId | KeyId, Tally>,
  all: Tally,
): Map<string, Counters> {
  const ofDay = [...tallies].filter(
    ([name, { day, today }]) =>
      day === all.day && today.attempts > 0 && name.length <= MAX_NAME_LENGTH,
  )
  const first = ofDay.toSorted(([, a], [, b]) => weightOf(b.today) - weightOf(a.today))
  const names = new Map<string, Counters>()
  const rest = copyOf(all.today)
  for (const [name, { today }] of first.slice(0, MAX_NAMES)) {
    addCounters(rest, today, -1)
    names.set(name, copyOf(today))
  }
  if (rest.attempts <= 0) return names
  const others = names.get(OTHER_NAMES)
  if (others === undefined) names.set(OTHER_NAMES, withoutRounding(rest))
  else addCounters(others, withoutRounding(rest))
  return names
}

/** Money counts; where there is none, attempts do. */
const weightOf = ({ costUsd, attempts }: Counters) => costUsd + attempts * 1e-9

function copyOf(counters: Counters): Counters {
  const copy = createCounters()
  addCounters(copy, counters)
  return copy
}

/** What is left of a sum of fractions when all of them are taken away is next to nothing, or less. */
function withoutRounding(counters: Counters): Counters {
  const money = (usd: number) => Math.max(0, Math.round(usd * 1e12) / 1e12)
  return {
    ...counters,
    costUsd: money(counters.costUsd),
    estimatedUsd: money(counters.estimatedUsd),
  }
}

/** Notes the real usage of an answer whose day has ended. Of today's the ledger knows already. */
export function noteLateUsage(
  days: Days,
  estimate: BookedEstimate,
  actual: Usage,
  nowMs: number,
): void {
  const day = dayOf(estimate.bookedAtMs)
  if (day === dayOf(nowMs)) return
  const ended = days.ended.find((usage) => usage.day === day)
  if (ended === undefined) days.late.push({ estimate, actual })
  else correctDay(ended, { estimate, actual })
}

/** Puts a real usage in the place of its estimate, on the day on which that was booked. */
export function correctDay(usage: DayUsage, { estimate, actual }: LateUsage): void {
  const { clientId, groupId = null, keyId, model, booked } = estimate
  replaceUsage(usage.all, booked, actual)
  const names = { client: clientId, group: groupId, key: keyId, model }
  for (const by of USAGE_BY) {
    const name = names[by]
    const counters = (name === null ? undefined : usage[by].get(name)) ?? usage[by].get(OTHER_NAMES)
    if (counters !== undefined) replaceUsage(counters, booked, actual)
  }
}

/** A day as a date: 2026-01-31. */
export function dateOf(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10)
}

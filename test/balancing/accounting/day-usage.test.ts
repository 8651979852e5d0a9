import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  correctDay,
  createDays,
  type DayUsage,
  dateOf,
  letDayEnd,
  MAX_NAMES,
  noteLateUsage,
  OTHER_NAMES,
  USAGE_BY,
  type UsageBy,
  usageOfDay,
} from '../../../src/balancing/accounting/day-usage.ts'
import {
  book,
  type Counters,
  correct,
  createLedger,
  type Entry,
  type Ledger,
} from '../../../src/balancing/accounting/ledger.ts'
import {
  bookInMinute,
  createRecentMinutes,
  minuteRecord,
  noMinuteCounters,
} from '../../../src/balancing/accounting/recent-minutes.ts'
import { clientId, groupId, keyId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import type { Outcome } from '../../../src/balancing/settlement.ts'
import { START_MS, usageOf } from '../pool-driver.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

const entryOf = (changes: Partial<Entry> = {}): Entry => ({
  keyId: keyId('k'),
  model: modelId('m'),
  clientId: clientId('c'),
  groupId: groupId('g'),
  outcome: 'success',
  fault: undefined,
  usage: usageOf(10, 5, 0.5),
  ...changes,
})

const anyEntry: fc.Arbitrary<Entry> = fc.record({
  keyId: fc.constantFrom('k1', 'k2', null).map((id) => id && keyId(id)),
  model: fc.constantFrom('m1', 'm2', null).map((id) => id && modelId(id)),
  clientId: fc.constantFrom('c1', 'c2', null).map((id) => id && clientId(id)),
  groupId: fc.constantFrom('g1', 'g2', null).map((id) => id && groupId(id)),
  outcome: fc.constantFrom<Outcome[]>('success', 'failure', 'ignorable'),
  fault: fc.constantFrom<Entry['fault'][]>(undefined, 'upstream', 'caller'),
  // Eighths of a dollar are exact as doubles, so they add up without rounding.
  usage: fc.nat({ max: 800 }).map((eighths) => usageOf(eighths, 3, eighths / 8)),
})

/** What is done after some hours: an answer is booked, or an estimate of the last days is corrected. */
interface Step {
  readonly afterHours: number
  readonly entry: Entry
  /** How many entries ago that was booked which is corrected. */
  readonly corrects: number | undefined
}

const anyStep: fc.Arbitrary<Step> = fc.record({
  afterHours: fc.nat({ max: 40 }),
  entry: anyEntry,
  corrects: fc.option(fc.nat({ max: 5 }), { nil: undefined }),
})

/** A ledger whose days are put away as they end: what a year of checkpoints has on disk. */
function lived(steps: readonly Step[]) {
  const ledger = createLedger()
  const days = createDays()
  const onDisk = new Map<number, DayUsage>()
  const booked: { readonly entry: Entry; readonly atMs: number }[] = []
  const putAway = () => {
    for (const usage of days.ended.splice(0)) onDisk.set(usage.day, usage)
    for (const late of days.late.splice(0)) {
      const usage = onDisk.get(Math.floor(late.estimate.bookedAtMs / DAY_MS))
      if (usage !== undefined) correctDay(usage, late)
    }
  }
  let nowMs = START_MS
  for (const { afterHours, entry, corrects } of steps) {
    nowMs += afterHours * HOUR_MS
    letDayEnd(days, ledger, nowMs)
    const estimated = corrects === undefined ? undefined : booked.splice(-1 - corrects, 1)[0]
    if (estimated === undefined) {
      book(ledger, entry, nowMs)
      booked.push({ entry, atMs: nowMs })
    } else {
      const { atMs, entry: of } = estimated
      const estimate = { ...of, bookedAtMs: atMs, booked: of.usage ?? null }
      correct(ledger, estimate, usageOf(2_000, 9, 200), nowMs)
      noteLateUsage(days, estimate, usageOf(2_000, 9, 200), nowMs)
    }
    if (afterHours % 2 === 0) putAway()
  }
  putAway()
  return { ledger, days: [...onDisk.values(), usageOfDay(ledger)] }
}

function sumOf(days: readonly DayUsage[], by: UsageBy, name?: string): Partial<Counters> {
  const sum = { attempts: 0, successes: 0, failures: 0, ignored: 0, promptTokens: 0, costUsd: 0 }
  for (const usage of days) {
    for (const [of, counters] of usage[by]) {
      if (name !== undefined && name !== of) continue
      for (const field of Object.keys(sum) as (keyof typeof sum)[]) sum[field] += counters[field]
    }
  }
  return sum
}

const tallies = ({ byClient, byGroup, byKey, byModel }: Ledger) =>
  ({ client: byClient, group: byGroup, key: byKey, model: byModel }) as const

describe('the days', () => {
  it('add up to the ledger, in all and by each name, whatever is learned late', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 60 }), (steps) => {
        const { ledger, days } = lived(steps)
        for (const by of USAGE_BY) {
          expect(ledger.all.total).toMatchObject(sumOf(days, by))
          for (const [name, { total }] of tallies(ledger)[by]) {
            expect(total).toMatchObject(sumOf(days, by, name))
          }
        }
      }),
    )
  })

  it('name those that cost the most, and put the others together', () => {
    const ledger = createLedger()
    for (let i = 0; i < MAX_NAMES + 50; i++) {
      const usage = usageOf(1, 1, i / 8)
      book(ledger, entryOf({ clientId: clientId(`c${i}`), usage }), START_MS)
    }
    const { client, all } = usageOfDay(ledger)
    expect(client.size).toBe(MAX_NAMES + 1)
    expect([...client.keys()][0]).toBe(`c${MAX_NAMES + 49}`)
    expect(client.get(OTHER_NAMES)?.attempts).toBe(50)
    expect(sumOf([usageOfDay(ledger)], 'client').costUsd).toBe(all.costUsd)
  })

  it('name no model whose name is longer than a name', () => {
    const ledger = createLedger()
    book(ledger, entryOf({ model: modelId('m'.repeat(100_000)) }), START_MS)
    expect([...usageOfDay(ledger).model.keys()]).toEqual([OTHER_NAMES])
  })

  it('keep what was booked of a model that makes room for another', () => {
    const ledger = createLedger()
    for (let i = 0; i < 500; i++) {
      book(ledger, entryOf({ model: modelId(`m${i}`), outcome: 'failure' }), START_MS)
    }
    book(ledger, entryOf({ model: modelId('new') }), START_MS)
    const { model } = usageOfDay(ledger)
    expect(model.get(OTHER_NAMES)?.attempts).toBe(1)
    expect(sumOf([usageOfDay(ledger)], 'model').attempts).toBe(501)
  })

  it('end once, and not for a clock that is set back', () => {
    const ledger = createLedger()
    const days = createDays()
    book(ledger, entryOf(), START_MS)
    for (const atMs of [START_MS, START_MS - DAY_MS, START_MS + DAY_MS, START_MS + 3 * DAY_MS]) {
      letDayEnd(days, ledger, atMs)
    }
    expect(days.ended.map(({ day }) => dateOf(day))).toEqual(['2026-01-15'])
  })
})

function settlementOf({ fault, outcome, usage }: Entry, i: number) {
  const told = { outcome, benches: [], suspect: false, firstOutputMs: 10, tookMs: 20 }
  return {
    ...{ leaseId: leaseId(`l${i}`), keyId: keyId('k1'), ...told },
    ...(fault === undefined ? {} : { fault }),
    ...(usage === undefined ? {} : { usage }),
  }
}

describe('the minutes', () => {
  it('add up to the ledger, in all and by key', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 60 }), (steps) => {
        const ledger = createLedger()
        const minutes = createRecentMinutes()
        let nowMs = START_MS
        for (const [i, { afterHours, entry }] of steps.entries()) {
          nowMs += afterHours * 1_500
          book(ledger, entry, nowMs)
          bookInMinute(minutes, entry.keyId, settlementOf(entry, i), nowMs)
        }
        const { running, ended } = minutes
        const records = [...ended, ...(running === null ? [] : [running])].map(minuteRecord)
        const sum = (pick: (record: (typeof records)[number]) => number) =>
          records.reduce((total, record) => total + pick(record), 0)
        const { total } = ledger.all
        expect(sum(({ all }) => all.attempts)).toBe(total.attempts)
        expect(sum(({ all }) => all.successes)).toBe(total.successes)
        expect(sum(({ all }) => all.faults.upstream ?? 0)).toBe(total.faults.upstream ?? 0)
        expect(sum(({ all }) => all.costUsd)).toBe(total.costUsd)
        expect(sum(({ all }) => all.answerMs)).toBe(20 * total.successes)
        for (const [id, tally] of ledger.byKey) {
          const ofKey = records.map(({ keys }) => new Map(keys).get(id) ?? noMinuteCounters())
          const attempts = ofKey.reduce((total, counters) => total + counters.attempts, 0)
          expect(attempts).toBe(tally.total.attempts)
        }
      }),
    )
  })
})

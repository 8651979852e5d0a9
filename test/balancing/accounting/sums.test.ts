import { describe, expect, it } from 'vitest'
import {
  addCacheCounters,
  bookCache,
  cacheRecord,
  createCacheBook,
  NO_CACHE_COUNTERS,
  restoreCache,
} from '../../../src/balancing/accounting/cache-counters.ts'
import { afterDayReport, dayOfMoment, isDrift } from '../../../src/balancing/accounting/drift.ts'
import {
  addCounters,
  book,
  correct,
  countersOfToday,
  createCounters,
  createLedger,
  isEstimate,
  spendingOf,
  tallyOf,
} from '../../../src/balancing/accounting/ledger.ts'
import {
  bookInMinute,
  createRecentMinutes,
  MINUTES_KEPT,
  minuteRecord,
  restoreMinute,
} from '../../../src/balancing/accounting/recent-minutes.ts'
import { countRequest, createRequestCounts } from '../../../src/balancing/accounting/request-row.ts'
import {
  afterCost,
  projectedEndMs,
  usdPerHour,
} from '../../../src/balancing/accounting/spend-rate.ts'
import { clientId, keyId, leaseId, modelId } from '../../../src/balancing/ids.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { usageOf } from '../pool-driver.ts'

const HOUR = 3_600_000
const KEY = keyId('k')
const entry = (costUsd: number) => ({
  keyId: KEY,
  model: modelId('m'),
  clientId: clientId('c'),
  outcome: 'success' as const,
  fault: undefined,
  usage: usageOf(10, 5, costUsd),
})

describe('what was spent in a day, a week and a month', () => {
  const SUNDAY = Date.UTC(2026, 10, 29, 23)
  const booked = () => {
    const ledger = createLedger()
    book(ledger, entry(1), SUNDAY - 24 * HOUR)
    book(ledger, entry(2), SUNDAY)
    return ledger
  }
  const at = (ledger: ReturnType<typeof createLedger>, nowMs: number) => {
    const tally = ledger.byKey.get(KEY) ?? tallyOf(ledger.byKey, KEY, nowMs)
    const { totalUsd, todayUsd, weekUsd, monthUsd } = spendingOf(tally, nowMs)
    return [totalUsd, todayUsd, weekUsd, monthUsd]
  }

  it.each([
    ['on Sunday', SUNDAY, [3, 2, 3, 3]],
    ['on Monday, a new week', SUNDAY + HOUR, [3, 0, 0, 3]],
    ['on Tuesday, a new month', SUNDAY + 25 * HOUR, [3, 0, 0, 0]],
    ['in the same month of another year', Date.UTC(2027, 10, 29), [3, 0, 0, 0]],
    ['in the month before of another year', Date.UTC(2027, 9, 29), [3, 0, 0, 0]],
  ])('is told %s', (_, nowMs, spending) => {
    expect(at(booked(), nowMs)).toEqual(spending)
  })

  it('goes on after midnight with the week and the month that it was', () => {
    const ledger = booked()
    book(ledger, entry(4), SUNDAY + HOUR)
    expect(at(ledger, SUNDAY + HOUR)).toEqual([7, 4, 4, 7])
    book(ledger, entry(8), SUNDAY + 25 * HOUR)
    expect(at(ledger, SUNDAY + 25 * HOUR)).toEqual([15, 8, 12, 8])
  })

  it('is corrected in those in which it was booked, and not below nothing', () => {
    const ledger = booked()
    const booking = { ...entry(0), bookedAtMs: SUNDAY, booked: usageOf(10, 5, 2) }
    correct(ledger, booking, usageOf(10, 5, 0.5), SUNDAY + HOUR)
    expect(at(ledger, SUNDAY + HOUR)).toEqual([1.5, 0, 0, 1.5])
    const sameWeek = booked()
    correct(sameWeek, booking, usageOf(10, 5, 5), SUNDAY)
    expect(at(sameWeek, SUNDAY)).toEqual([6, 5, 6, 6])
  })

  it('of today is nothing yet where nothing was booked today', () => {
    const tally = tallyOf(booked().byKey, KEY, SUNDAY)
    expect(countersOfToday(tally, SUNDAY).attempts).toBe(1)
    expect(countersOfToday(tally, SUNDAY + HOUR)).toEqual(createCounters())
  })
})

it('counters are added and taken away again, faults too', () => {
  const [into, from] = [createCounters(), { ...createCounters(), attempts: 3, costUsd: 2 }]
  from.faults.key = 2
  addCounters(into, from)
  addCounters(into, from)
  expect(into).toMatchObject({ attempts: 6, costUsd: 4, faults: { key: 4 } })
  addCounters(into, from, -1)
  expect(into).toMatchObject({ attempts: 3, costUsd: 2, faults: { key: 2 } })
})

it.each([
  [true, { estimated: true, promptTokens: 1, completionTokens: 0 }],
  [true, { estimated: true, promptTokens: 0, completionTokens: 1 }],
  [true, { estimated: true, promptTokens: 1, completionTokens: 1 }],
  [false, { estimated: true, promptTokens: 0, completionTokens: 0 }],
  [false, { estimated: false, promptTokens: 1, completionTokens: 1 }],
])('a usage is an estimate of something: %s', (is, told) => {
  expect(isEstimate({ ...usageOf(0, 0, 0), ...told })).toBe(is)
})

describe('a minute of the pool', () => {
  const T = Date.UTC(2026, 10, 26, 12)
  const settlement = (told: Partial<Settlement>): Settlement => ({
    ...{ leaseId: leaseId('l'), keyId: KEY, outcome: 'success', benches: [], suspect: false },
    ...told,
  })

  it('holds what was booked in it, in all and by key', () => {
    const minutes = createRecentMinutes()
    const usage = usageOf(10, 5, 1)
    bookInMinute(minutes, KEY, settlement({ firstOutputMs: 20, tookMs: 70, usage }), T)
    bookInMinute(minutes, KEY, settlement({ firstOutputMs: 40, tookMs: 90, usage }), T + 59_999)
    bookInMinute(minutes, null, settlement({ outcome: 'failure', fault: 'key', tookMs: 5 }), T)
    bookInMinute(minutes, KEY, settlement({ outcome: 'failure', fault: 'key' }), T)
    const { running } = minutes
    expect(running?.minute).toBe(T / 60_000)
    const good = {
      ...{ successes: 2, firstOutputs: 2, firstOutputMs: 60, answers: 2, answerMs: 160 },
      ...{ promptTokens: 20, completionTokens: 10, costUsd: 2 },
    }
    expect(running?.all).toEqual({ ...good, attempts: 4, faults: { key: 2 } })
    expect([...(running?.keys ?? [])]).toEqual([
      [KEY, { ...good, attempts: 3, faults: { key: 1 } }],
    ])
  })

  it('ends with the next, of which none is missing and no more are kept than are told', () => {
    const minutes = createRecentMinutes()
    for (let i = 0; i < MINUTES_KEPT + 3; i++) {
      bookInMinute(minutes, KEY, settlement({}), T + i * 60_000)
    }
    const first = T / 60_000
    expect(minutes.ended.map(({ minute }) => minute - first)).toEqual(
      Array.from({ length: MINUTES_KEPT }, (_, i) => i + 2),
    )
    expect(minutes.running?.minute).toBe(first + MINUTES_KEPT + 2)
  })

  it('goes on after a restart where it was stored', () => {
    const minutes = createRecentMinutes()
    bookInMinute(minutes, KEY, settlement({}), T)
    const restored = createRecentMinutes()
    if (minutes.running !== null) restoreMinute(restored, minuteRecord(minutes.running))
    bookInMinute(restored, KEY, settlement({}), T + 1)
    expect(restored).toMatchObject({
      running: { minute: T / 60_000, all: { attempts: 2 } },
      ended: [],
    })
    expect(restored.running?.keys.get(KEY)?.attempts).toBe(2)
  })
})

it.each([
  ['answered', 1, { answered: 1, retries: 0 }],
  ['failed', 4, { failed: 1, retries: 3 }],
  ['client_gone', 0, { client_gone: 1, retries: 0 }],
  ['refused', undefined, { refused: 1, retries: 0 }],
  ['answered', 1.5, { answered: 1, retries: 0 }],
  ['answered', 1_000, { answered: 1, retries: 99 }],
  ['no such thing', 3, { answered: 0, failed: 0, retries: 0 }],
] as const)('a request that is %s after %s attempts is counted', (outcome, attempts, counted) => {
  const counts = createRequestCounts()
  const note = { id: 'r', mark: 'm', text: '{}', outcome, attempts }
  countRequest(counts, note as unknown as Parameters<typeof countRequest>[1])
  expect(counts).toMatchObject(counted)
})

describe('the rate at which money is spent', () => {
  const T = Date.UTC(2026, 10, 26, 12)
  const credit = (remainingUsd: number | null, resetsAtMs: number | null) => ({
    ...{ kind: 'known', limitUsd: 10, remainingUsd, resetsAtMs, asOfMs: T, stale: false },
  })
  const endMs = (remainingUsd: number | null, resetsAtMs: number | null, spentUsd = 3) => {
    const rate = spentUsd === 0 ? null : afterCost(null, spentUsd, T)
    const known = credit(remainingUsd, resetsAtMs) as unknown as Parameters<
      typeof projectedEndMs
    >[0]
    return projectedEndMs(known, rate, T)
  }

  it('is a third of what three hours saw, and fades', () => {
    const once = afterCost(null, 3, T)
    expect(usdPerHour(once, T)).toBeCloseTo(1, 9)
    expect(usdPerHour(once, T + 3 * HOUR)).toBeCloseTo(1 / Math.E, 9)
    expect(usdPerHour(once, T - HOUR)).toBeCloseTo(1, 9)
    expect(usdPerHour(afterCost(once, 3, T), T)).toBeCloseTo(2, 9)
    expect(usdPerHour(null, T)).toBe(0)
  })

  it('foretells the end of the credit, unless that resets before', () => {
    expect(endMs(2, null)).toBe(T + 2 * HOUR)
    expect(endMs(2, T + 2 * HOUR + 1)).toBe(T + 2 * HOUR)
    expect(endMs(2, T + 2 * HOUR)).toBeNull()
    expect(endMs(2, T + HOUR)).toBeNull()
    expect(endMs(null, null)).toBeNull()
    expect(endMs(2, null, 0)).toBeNull()
  })
})

describe('the counters of the cache', () => {
  const some = { hits: 1, joins: 2, misses: 3, bypasses: 4, keptBytes: 5, savedUsd: 6 }

  it('are added one by one', () => {
    expect(addCacheCounters(some, some)).toEqual({
      ...{ hits: 2, joins: 4, misses: 6, bypasses: 8, keptBytes: 10, savedUsd: 12 },
    })
    expect(addCacheCounters(some, {})).toEqual(some)
    expect(addCacheCounters(NO_CACHE_COUNTERS, some)).toEqual(some)
  })

  it('are stored once there are any, and go on from there', () => {
    const book = createCacheBook()
    expect(cacheRecord(book)).toBeNull()
    bookCache(book, { mark: 'a', counters: some }, 0)
    const next = createCacheBook()
    restoreCache(next, cacheRecord(book))
    restoreCache(next, null)
    expect(cacheRecord(next)?.total).toEqual(some)
  })
})

describe('what OpenRouter and the ledger say of a day', () => {
  it.each([
    [false, 1, 1],
    [false, 0.01, 0],
    [true, 0.011, 0],
    [true, 0, 0.011],
    [false, 100, 95],
    [false, 95, 100],
    [true, 100, 94.9],
    [true, 94.9, 100],
  ])('differs: %s, at %d and %d dollars', (is, upstreamUsd, bookedUsd) => {
    expect(isDrift({ day: 1, upstreamUsd, bookedUsd })).toBe(is)
  })

  it('is judged when the day is over, and by no report of a day before', () => {
    const of = (day: number) => ({ day, upstreamUsd: 1, bookedUsd: 1 })
    expect(afterDayReport(null, of(2))).toEqual({ kept: of(2), over: null })
    const later = { ...of(2), upstreamUsd: 3 }
    expect(afterDayReport(of(2), later)).toEqual({ kept: later, over: null })
    expect(afterDayReport(of(2), of(1))).toEqual({ kept: of(2), over: null })
    expect(afterDayReport(of(2), of(3))).toEqual({ kept: of(3), over: of(2) })
    expect(dayOfMoment(2 * 24 * HOUR - 1)).toBe(1)
    expect(dayOfMoment(2 * 24 * HOUR)).toBe(2)
  })
})

import { describe, expect, it } from 'vitest'
import { DAYS_KEPT, dateOf, USAGE_BY } from '../../../src/balancing/accounting/day-usage.ts'
import { book } from '../../../src/balancing/accounting/ledger.ts'
import { MINUTES_KEPT } from '../../../src/balancing/accounting/recent-minutes.ts'
import type { RequestNote } from '../../../src/balancing/accounting/request-row.ts'
import { countOf, quantileMs } from '../../../src/balancing/accounting/time-histogram.ts'
import { clientId, keyId, modelId } from '../../../src/balancing/ids.ts'
import { createPool } from '../../../src/balancing/pool-state.ts'
import type { UsageReply } from '../../../src/key-pool/history/history-protocol.ts'
import { PoolHost } from '../../../src/key-pool/host.ts'
import { createStore } from '../../../src/key-pool/rows/record-store.ts'
import { keyConfig, POLICY, routeConfig } from '../../balancing/pool-driver.ts'
import { createMortalTimer } from '../../gateway/in-memory-pool.ts'
import { createInMemoryRows } from '../../gateway/in-memory-rows.ts'
import { createVirtualTime } from '../../gateway/virtual-time.ts'
import { leaseRequestOf, NOTHING } from '../object-driver.ts'

const DAY_MS = 86_400_000
const START_MS = Date.UTC(2026, 0, 15, 12)
const TODAY = Math.floor(START_MS / DAY_MS)

/** A host on virtual time that can die, and come up again over the same rows. */
function history(keys: readonly string[] = ['a', 'b']) {
  const time = createVirtualTime(START_MS)
  const rows = createInMemoryRows()
  const comeUp = () => {
    const config = {
      keys: keys.map((id) => keyConfig({ id })),
      clients: { clients: [], groups: [] },
      routes: [routeConfig({ models: ['*'] }, 'round-robin')] as const,
      policy: POLICY,
    }
    const state = createPool(config, time.nowMs())
    const { timer, end } = createMortalTimer(time)
    const host = new PoolHost(state, {
      nowMs: time.nowMs,
      timer,
      random: () => 0.5,
      store: createStore(rows),
      sync: () => undefined,
      logBug(bug) {
        throw bug
      },
      logTransition: () => undefined,
      logAlert: () => undefined,
      logUndelivered: () => undefined,
      logDrift: () => undefined,
    })
    return { state, host, end }
  }
  let object = comeUp()
  return {
    time,
    rows,
    get host() {
      return object.host
    },
    get state() {
      return object.state
    },
    /** Ends the object: what it has written is all that is left. */
    restart() {
      object.end()
      object = comeUp()
    },
    /** One request with one attempt, and what it cost. */
    request(costUsd = 0.5, tookMs = 900) {
      const want = leaseRequestOf({ models: [modelId('vendor/model')] })
      const [grant] = object.host.exchange({ ...NOTHING, wants: [want] }).decisions
      if (grant?.kind !== 'grant') throw new Error('Refused')
      const usage = { promptTokens: 10, completionTokens: 5, cachedTokens: 0, reasoningTokens: 0 }
      const { leaseId, keyId: key } = grant
      const ended = { outcome: 'success', benches: [], suspect: false, firstOutputMs: 300 } as const
      const told = { ...ended, tookMs, usage: { ...usage, costUsd, estimated: false } }
      const settlements = [{ leaseId, keyId: key, ...told }]
      object.host.exchange({ ...NOTHING, settlements })
      return key
    },
    usage: (by: (typeof USAGE_BY)[number] = 'key', firstDay = 0, lastDay = TODAY + 1_000) =>
      object.host.usage({ by, firstDay, lastDay }),
  }
}

const attemptsOf = ({ rows }: ReturnType<ReturnType<typeof history>['usage']>) =>
  rows.map(({ day, name, counters }) => `${dateOf(day)} ${name} ${counters.attempts}`)

describe('the last hour', () => {
  it('is told by minutes, in all and by key, and the minute that runs is among them', async () => {
    const pool = history()
    for (let minute = 0; minute < 3; minute++) {
      for (let n = 0; n <= minute; n++) pool.request()
      await pool.time.advance(60_000)
    }
    pool.request()
    const { minute, minutes } = pool.host.history({ byKey: true })
    expect(minutes.map((one) => [one.minute - minute, one.all.attempts])).toEqual([
      [-3, 1],
      [-2, 2],
      [-1, 3],
      [0, 1],
    ])
    for (const { all, keys } of minutes) {
      const sum = keys.reduce((total, { counters }) => total + counters.attempts, 0)
      expect(sum).toBe(all.attempts)
      expect(all).toMatchObject({ firstOutputMs: 300 * sum, answerMs: 900 * sum })
    }
    expect(pool.host.history({ byKey: false }).minutes.every(({ keys }) => keys.length === 0)).toBe(
      true,
    )
  })

  it('outlives the object, whether somebody looked before or not', async () => {
    for (const looks of [true, false]) {
      const pool = history()
      for (let minute = 0; minute < 70; minute++) {
        pool.request()
        if (looks) pool.host.history({ byKey: true })
        await pool.time.advance(60_000)
      }
      const before = pool.host.history({ byKey: true })
      expect(before.minutes).toHaveLength(MINUTES_KEPT - 1)
      pool.restart()
      expect(pool.host.history({ byKey: true })).toEqual(before)
    }
  })

  it('costs one row a minute while there is traffic', async () => {
    const pool = history()
    await pool.time.advance(30_000)
    pool.request()
    await pool.time.advance(10_000)
    const written = pool.rows.written()
    await pool.time.advance(30_000)
    pool.request()
    await pool.time.advance(10_000)
    const archived = pool.rows.archive.between('minute', '', '~')
    expect(archived).toHaveLength(1)
    expect(pool.rows.written()).toBeGreaterThan(written)
  })
})

describe('the times of keys', () => {
  it('are in the snapshot, and outlive the object', async () => {
    const pool = history(['a'])
    for (let n = 0; n < 100; n++) pool.request(0.1, 100 * n)
    await pool.time.advance(10_000)
    const [before] = pool.host.snapshot().keys
    expect(before && countOf(before.times.answer)).toBe(100)
    expect(before && quantileMs(before.times.answer, 0.5)).toBeGreaterThan(2_560)
    pool.restart()
    expect(pool.host.snapshot().keys[0]?.times).toEqual(before?.times)
  })
})

describe('the usage of days', () => {
  it('has a row for each day and name, with what is booked of today', async () => {
    const pool = history()
    pool.request()
    await pool.time.advance(10_000)
    await pool.time.advance(2 * DAY_MS)
    pool.request()
    pool.request()
    expect(attemptsOf(pool.usage('client'))).toEqual(['2026-01-15 tester 1', '2026-01-17 tester 2'])
    expect(attemptsOf(pool.usage('model', TODAY + 1))).toEqual(['2026-01-17 vendor/model 2'])
    expect(attemptsOf(pool.usage('group', 0, TODAY))).toEqual(['2026-01-15 (other) 1'])
  })

  it('of a day through which the object slept is there when it wakes, before anything is booked', async () => {
    const pool = history()
    pool.request()
    await pool.time.advance(10_000)
    await pool.time.advance(5 * DAY_MS)
    pool.restart()
    expect(attemptsOf(pool.usage('client'))).toEqual(['2026-01-15 tester 1'])
    expect(pool.rows.archive.between('day', '', '~')).toEqual([])
    pool.request()
    await pool.time.advance(10_000)
    expect(pool.rows.archive.between('day', '', '~')).toHaveLength(1)
    expect(attemptsOf(pool.usage('client'))).toEqual(['2026-01-15 tester 1', '2026-01-20 tester 1'])
  })

  it('goes on after a restart in the middle of a day', async () => {
    const pool = history(['a'])
    for (let n = 0; n < 5; n++) {
      pool.request()
      await pool.time.advance(10_000)
      pool.restart()
    }
    await pool.time.advance(DAY_MS)
    pool.request()
    expect(attemptsOf(pool.usage())).toEqual(['2026-01-15 a 5', '2026-01-16 a 1'])
  })

  it('is as much as the ledger has, whenever the object crashes around midnight', async () => {
    for (const crashAfterMs of [1_000, 4_000, 6_000, 9_000, 16_000]) {
      const pool = history(['a'])
      await pool.time.advance(12 * 3_600_000 - 8_000)
      for (let ms = 0; ms < 24_000; ms += 1_000) {
        pool.request(0.125)
        if (ms === crashAfterMs) pool.restart()
        await pool.time.advance(1_000)
      }
      const rows = pool.usage().rows.filter(({ name }) => name === 'a')
      expect(rows.length, `${crashAfterMs}`).toBeGreaterThan(0)
      const costUsd = rows.reduce((sum, { counters }) => sum + counters.costUsd, 0)
      expect(costUsd, `${crashAfterMs}`).toBe(pool.state.ledger.all.total.costUsd)
    }
  })

  it('is told in pieces, if it is much', async () => {
    const pool = history(['a'])
    const entry = { keyId: keyId('a'), model: null, outcome: 'success', fault: undefined } as const
    for (let day = 0; day < 8; day++) {
      pool.request()
      for (let n = 0; n < 900; n++) {
        const of = { ...entry, clientId: clientId(`c${n}`), usage: undefined }
        book(pool.state.ledger, of, pool.time.nowMs())
      }
      await pool.time.advance(DAY_MS)
    }
    const told: string[] = []
    let nextDay: number | null = TODAY
    let pieces = 0
    while (nextDay !== null) {
      const reply: UsageReply = pool.usage('client', nextDay)
      told.push(...reply.rows.map(({ day, name }) => `${day} ${name}`))
      nextDay = reply.nextDay
      pieces += 1
    }
    expect(pieces).toBe(2)
    expect([told.length, new Set(told).size]).toEqual([8 * 901, 8 * 901])
  })

  it('is kept for four hundred days, in one row each', async () => {
    const pool = history()
    for (let day = 0; day < DAYS_KEPT + 20; day++) {
      pool.request()
      await pool.time.advance(DAY_MS)
    }
    const archived = pool.rows.archive.between('day', '', '~')
    expect(archived).toHaveLength(DAYS_KEPT)
    for (const by of USAGE_BY) expect(pool.usage(by, 0, 30_000).rows.length).toBeGreaterThan(400)
    const { rows } = pool.usage('client', 0, 30_000)
    expect(rows.map(({ counters }) => counters.attempts)).toEqual(rows.map(() => 1))
  })

  it('passes over a row that does not parse, and an entry that does not', async () => {
    const pool = history(['a'])
    pool.request()
    await pool.time.advance(DAY_MS)
    pool.request()
    await pool.time.advance(DAY_MS)
    pool.request()
    await pool.time.advance(10_000)
    const [, second] = pool.rows.archive.between('day', '', '~')
    pool.rows.archive.put('day', '2026-01-15', 'no json')
    const day = JSON.parse(second ?? '')
    const broken = { ...day, key: [...day.key, ['b', { attempts: 'many' }]] }
    pool.rows.archive.put('day', '2026-01-16', JSON.stringify(broken))
    expect(attemptsOf(pool.usage())).toEqual(['2026-01-16 a 1', '2026-01-17 a 1'])
  })

  it('is corrected when an estimate of a day that has ended is told', async () => {
    const pool = history(['a'])
    await pool.time.advance(12 * 3_600_000 - 2_000)
    const want = leaseRequestOf({ models: [modelId('vendor/model')] })
    const [grant] = pool.host.exchange({ ...NOTHING, wants: [want] }).decisions
    if (grant?.kind !== 'grant') throw new Error('Refused')
    const usage = { promptTokens: 10, completionTokens: 5, cachedTokens: 0, reasoningTokens: 0 }
    const ended = { outcome: 'ignorable', fault: 'nobody', benches: [], suspect: false } as const
    const { leaseId } = grant
    const estimated = { ...usage, costUsd: 0, estimated: true }
    const settlement = { leaseId, keyId: keyId('a'), ...ended, usage: estimated }
    pool.host.exchange({ ...NOTHING, settlements: [{ ...settlement, generationId: 'gen-1' }] })
    await pool.time.advance(60_000)
    const found = { ...usage, costUsd: 0.25, estimated: false }
    const reconciled = [{ generationId: 'gen-1', kind: 'found', usage: found } as const]
    pool.host.exchange({ ...NOTHING, reconciled })
    await pool.time.advance(10_000)
    expect(pool.usage('client').rows).toMatchObject([
      { day: TODAY, name: 'tester', counters: { costUsd: 0.25, estimated: 0 } },
    ])
  })
})

describe('the counts of requests', () => {
  it('are on disk with the rows: an object that goes to rest forgets none, and counts none twice', async () => {
    const pool = history()
    const row = { text: '{}', outcome: 'answered', attempts: 3 } as const
    const requests: RequestNote[] = [
      { ...row, id: 'a', mark: 'isolate:1' },
      { ...row, id: 'b', mark: 'isolate:2', outcome: 'refused', attempts: 0 },
    ]
    pool.host.exchange({ ...NOTHING, requests })
    await pool.time.advance(5_000)
    pool.restart()
    // The Worker has not heard that they arrived.
    pool.host.exchange({ ...NOTHING, requests })
    await pool.time.advance(5_000)
    pool.restart()
    const told = { answered: 1, refused: 1, failed: 0, client_gone: 0, retries: 2 }
    expect(pool.host.readings().requests).toEqual(told)
  })
})

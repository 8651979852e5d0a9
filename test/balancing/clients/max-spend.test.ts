import { describe, expect, it } from 'vitest'
import { noteGenerationReport } from '../../../src/balancing/accounting/reconciliation.ts'
import { type Budget, nanosOf, usdOf } from '../../../src/balancing/clients/budget.ts'
import {
  createSpend,
  type MaxSpend,
  restoreSpend,
  type SpendRecord,
} from '../../../src/balancing/clients/max-spend.ts'
import { clientId, groupId, isolateId } from '../../../src/balancing/ids.ts'
import type { Grant } from '../../../src/balancing/lease-request.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { checkpoint } from '../../../src/balancing/records/checkpoint.ts'
import { bookFound } from '../../../src/balancing/serving/generation-booking.ts'
import { renewSpends } from '../../../src/balancing/serving/key-charges.ts'
import { begin } from '../../../src/balancing/serving/leases-ahead.ts'
import { snapshot } from '../../../src/balancing/snapshot.ts'
import { drivePool, type PoolDriver, START_MS, usageOf } from '../pool-driver.ts'
import { restarted } from '../restarted-pool.ts'

const DAY_MS = 24 * 3_600_000
/** START_MS is a Thursday at noon. */
const MIDNIGHT = START_MS + DAY_MS / 2

function created(max: MaxSpend, nowMs = START_MS): Budget {
  const spend = createSpend(max, nowMs)
  if (spend === null) throw new Error('no limit')
  return spend
}

function amounts(pool: PoolDriver, id = 'a') {
  const { spentNanos = 0, reservedNanos = 0, lostNanos = 0 } = pool.key(id).spend ?? {}
  return { spent: usdOf(spentNanos), reserved: usdOf(reservedNanos), lost: usdOf(lostNanos) }
}

/** What a Worker says of a lease when it gives it back. */
function termsOf({ model, grantedAtMs = 0, held }: Grant) {
  return { clientId: clientId('client'), model, grantedAtMs, tokens: 0, ...(held && { held }) }
}

const usd = (amount: number) => ({ usage: usageOf(1, 1, amount) })

describe('a key with max_spend', () => {
  it.each([
    ['day', MIDNIGHT],
    ['week', Date.UTC(2026, 0, 19)],
    ['month', Date.UTC(2026, 1, 1)],
    ['total', null],
  ] as const)('serves until it has spent it, in a %s', (period, endsAtMs) => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period } }])
    pool.give(pool.grant(), usd(0.5))
    pool.give(pool.grant(), usd(0.5))
    const refused = { reasons: { at_max_spend: 1 }, retryAtMs: endsAtMs }
    expect(pool.refusal()).toMatchObject(refused)
    if (endsAtMs === null) {
      pool.wait(400 * DAY_MS)
      expect(pool.refusal()).toMatchObject(refused)
      return
    }
    pool.at(endsAtMs - 1)
    expect(pool.refusal()).toMatchObject(refused)
    pool.at(endsAtMs)
    expect(pool.grant().keyId).toBe('a')
  })

  it('counts running requests by what they may cost, and others wait for what is left over', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'day', mode: 'exact' } }, 'b'])
    const ask = { tried: ['b'], boundUsd: 0.3 }
    const running = [pool.grant(ask), pool.grant(ask), pool.grant(ask)]
    expect(amounts(pool).reserved).toBeCloseTo(0.9, 9)
    expect(pool.refusal(ask)).toMatchObject({
      reasons: { at_max_spend: 1, already_tried: 1 },
      retryAtMs: MIDNIGHT,
    })
    // A cheaper one has room.
    pool.give(pool.grant({ ...ask, boundUsd: 0.1 }), usd(0.1))
    expect(pool.ask({ ...ask, waitMs: 5_000 }).kind).toBe('waiting')
    for (const lease of running) pool.give(lease, usd(0.01))
    pool.wake()
    expect(pool.state.queue.size).toBe(0)
    expect(amounts(pool)).toMatchObject({ spent: 0.13, reserved: 0.3 })
  })

  it.each([
    { mode: 'exact', granted: 4, why: 'four of 0.25' },
    { mode: 'capped', granted: 10, why: 'ten of a tenth' },
    { mode: 'after', granted: 30, why: 'all that come before the first one ends' },
  ] as const)('under $mode gives $why, and nothing at or above it', ({ mode, granted }) => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'total', mode } }])
    const ask = { boundUsd: 0.25 }
    const leases: Grant[] = []
    for (let i = 0; i < 30; i++) {
      const decision = pool.ask(ask)
      if (decision.kind === 'grant') leases.push(decision)
    }
    expect(leases).toHaveLength(granted)
    for (const lease of leases) pool.give(lease, usd(0.25))
    expect(amounts(pool)).toEqual({ spent: granted / 4, reserved: 0, lost: 0 })
    expect(pool.refusal(ask)).toMatchObject({ reasons: { at_max_spend: 1 }, retryAtMs: null })
  })

  it('pays for a request of which nobody knows the price as for half a dollar, or a tenth of it all', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 20, period: 'day' } }])
    pool.grant({ boundUsd: null })
    pool.grant()
    expect(amounts(pool).reserved).toBe(1)
    const small = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'day' } }])
    small.grant({ boundUsd: null })
    expect(amounts(small).reserved).toBe(0.1)
  })

  it('counts an answer that does not tell its cost by what it held, until OpenRouter tells it', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 5, period: 'day' } }])
    const lease = pool.grant({ boundUsd: 0.4 })
    pool.give(lease, { lease: termsOf(lease), generationId: 'gen-1' })
    expect(amounts(pool)).toEqual({ spent: 0.4, reserved: 0, lost: 0 })
    const found = { generationId: 'gen-1', kind: 'found', usage: usageOf(10, 10, 0.07) } as const
    noteGenerationReport(pool.state.reconciliations, found, pool.now())
    bookFound(pool.state, pool.now())
    expect(amounts(pool).spent).toBeCloseTo(0.07, 9)
  })

  it('counts what a provider charges the own account where that is wanted', () => {
    const max = { usd: 5, period: 'day', includeByok: true } as const
    const pool = drivePool([{ id: 'a', maxSpend: max }])
    pool.give(pool.grant(), { usage: { ...usageOf(1, 1, 0.1), byokUsd: 2 } })
    expect(amounts(pool).spent).toBeCloseTo(2.1, 9)
  })

  it('keeps what a lease held that ended without a word, until a late one', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 5, period: 'day', mode: 'exact' } }])
    const lease = pool.grant({ boundUsd: 2, leaseMs: 1_000 })
    pool.wait(1_001)
    pool.wake()
    expect(amounts(pool)).toEqual({ spent: 0, reserved: 0, lost: 2 })
    expect(snapshot(pool.state, pool.now()).keys[0]?.maxSpend).toMatchObject({ lostUsd: 2 })
    expect(pool.refusal({ boundUsd: 4 }).reasons).toEqual({ at_max_spend: 1 })
    pool.give(lease, usd(0.5))
    expect(amounts(pool)).toEqual({ spent: 0.5, reserved: 0, lost: 0 })
  })

  it('gives back what a lease held that no call was made with', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 5, period: 'day' } }])
    pool.give(pool.grant({ boundUsd: 0.4 }), { outcome: 'ignorable', unused: true })
    expect(amounts(pool)).toEqual({ spent: 0, reserved: 0, lost: 0 })
  })

  it('is well again in the next period, however much was spent in the last', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'day' } }])
    pool.give(pool.grant(), usd(50))
    pool.at(MIDNIGHT + 1)
    pool.give(pool.grant(), usd(0.4))
    expect(pool.grant().keyId).toBe('a')
  })

  it('is out of panic’s count while it is at its limit', () => {
    const spent = { id: 'a', maxSpend: { usd: 1, period: 'day' } } as const
    const pool = drivePool([spent, 'b'], { panicRatio: 0.5 })
    pool.give(pool.grantOf('a'), usd(1))
    pool.trip('b')
    // Of the one key that could serve, none is closed.
    expect(pool.grant().keyId).toBe('b')
  })

  it('costs one row when its spend passes what the last row says, and none else', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 100, period: 'day' } }, 'b'])
    const rows = () => takeChanges(pool.state).spends
    pool.give(pool.grantOf('b'), usd(1))
    expect(rows().size).toBe(0)
    const lease = pool.grantOf('a', { boundUsd: 0.1 })
    const row = rows().get(pool.key('a').id)
    expect(row).toMatchObject({ period: 'day', endsAtMs: MIDNIGHT })
    expect(Number.isInteger(row?.nanos)).toBe(true)
    expect(row?.nanos).toBe(row?.committedNanos)
    expect(row?.committedNanos).toBeGreaterThan(nanosOf(0.1))
    pool.give(lease, usd(0.1))
    pool.give(pool.grantOf('a', { boundUsd: 0.1 }), usd(0.1))
    expect(rows().size).toBe(0)
  })

  it('that spends steadily costs less than one row in each interval, and none at rest', () => {
    const pool = drivePool([{ id: 'a', maxSpend: { usd: 1_000, period: 'day' } }])
    const written: number[] = []
    for (let interval = 0; interval < 20; interval++) {
      let rows = 0
      for (let i = 0; i < 50; i++) {
        pool.wait(100)
        if (interval < 15) pool.give(pool.grant(), usd(0.01 * (1 + (i % 3))))
        rows += takeChanges(pool.state).spends.size
      }
      renewSpends(pool.state, pool.now())
      written.push(rows + takeChanges(pool.state).spends.size)
    }
    expect(Math.max(...written.slice(1, 15))).toBe(1)
    // The surplus is taken back once.
    expect(written.slice(15).reduce((sum, rows) => sum + rows, 0)).toBeLessThanOrEqual(2)
    expect(written.slice(17)).toEqual([0, 0, 0])
    expect(amounts(pool)).toEqual({ spent: 14.85, reserved: 0, lost: 0 })
  })
})

describe('after a restart', () => {
  const max = { usd: 100, period: 'day' } as const
  const exact = { id: 'a', maxSpend: { usd: 10, period: 'day', mode: 'exact' } } as const

  it('a running lease holds what it held, and a forgotten one is found by its settlement', () => {
    const pool = drivePool([exact])
    const kept = pool.grant({ boundUsd: 1 })
    const stored = checkpoint(pool.state, pool.now())
    pool.wait(1)
    const forgotten = pool.grant({ boundUsd: 2 })
    const next = restarted(pool, [exact], {}, stored)
    const { reserved, lost, spent } = amounts(next)
    expect(reserved).toBe(1)
    // The row was written ahead: beside what the forgotten lease held there is a surplus.
    expect(lost).toBeGreaterThanOrEqual(2)
    next.give(kept, usd(0.25))
    next.give(forgotten, { ...usd(0.5), lease: termsOf(forgotten) })
    expect(amounts(next)).toEqual({ spent: spent + 0.75, reserved: 0, lost: lost - 2 })
  })

  it('a forgotten lease that goes on holds again what it held', () => {
    const pool = drivePool([exact])
    const stored = checkpoint(pool.state, pool.now())
    pool.wait(1)
    const lease = pool.grant({ boundUsd: 2 })
    const next = restarted(pool, [exact], {}, stored)
    const { lost } = amounts(next)
    const { keyId, leaseId } = lease
    const terms = { ...termsOf(lease), keyId, leaseId, conversation: null, leaseMs: 60_000 }
    const step = { state: next.state, nowMs: next.now(), random: () => 0.5 }
    begin(step, { ...terms, isolate: isolateId('isolate'), costNanos: nanosOf(2) })
    expect(amounts(next)).toEqual({ spent: 0, reserved: 2, lost: lost - 2 })
  })

  it('the group of a client whose key alone has a budget is that of today', () => {
    const team = { id: 'team' }
    const member = { id: 'client', group: 'team' }
    const pool = drivePool([exact], { groups: [team], clients: [member] })
    const stored = checkpoint(pool.state, pool.now())
    pool.wait(1)
    const lease = pool.grant({ boundUsd: 2 })
    const next = restarted(pool, [exact], { groups: [team], clients: [member] }, stored)
    next.give(lease, { ...usd(0.5), lease: termsOf(lease) })
    expect(next.state.ledger.byGroup.get(groupId('team'))?.total.costUsd).toBe(0.5)
  })

  it('a row of another period, or of one that has ended, does not count; the tally does', () => {
    const counted = (record: SpendRecord | null, today: number, nowMs = START_MS) => {
      const spend = created(max, nowMs)
      restoreSpend(spend, record, nanosOf(today), nowMs)
      return usdOf(spend.spentNanos + spend.lostNanos)
    }
    const row = (period: 'day' | 'month', endsAtMs: number, spent: number, committed: number) => ({
      ...{ period, endsAtMs, sinceMs: 0, spentNanos: spent, lostNanos: 0, toldPercent: 0 },
      ...{ committedNanos: committed, nanos: committed, increase: null, usedAtMs: 0 },
    })
    expect(counted(row('day', MIDNIGHT, 6e9, 7e9), 5)).toBe(7)
    expect(counted(row('day', MIDNIGHT, 6e9, 7e9), 8)).toBe(8)
    // What whole nano-dollars leave out of a sum is not spent again.
    expect(counted(row('day', MIDNIGHT, 7e9, 7e9), 7.000000001)).toBe(7)
    expect(counted(row('day', MIDNIGHT, 6e9, 7e9), 0, MIDNIGHT)).toBe(0)
    expect(counted(row('month', MIDNIGHT + DAY_MS, 7e9, 7e9), 2)).toBe(2)
    expect(counted(null, 3)).toBe(3)
  })
})

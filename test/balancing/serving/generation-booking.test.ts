import { describe, expect, it } from 'vitest'
import { countersOfToday, DAY_MS } from '../../../src/balancing/accounting/ledger.ts'
import { noteGenerationReport } from '../../../src/balancing/accounting/reconciliation.ts'
import { nanosOf, usdOf } from '../../../src/balancing/clients/budget.ts'
import { clientId, keyId } from '../../../src/balancing/ids.ts'
import { bookFound } from '../../../src/balancing/serving/generation-booking.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { budgetOf } from '../clients/client-terms.ts'
import { drivePool, type KeySpec, type PoolDriver, usageOf } from '../pool-driver.ts'

const estimated = (usd: number, tokens = 10) => ({ ...usageOf(tokens, 0, usd), estimated: true })

const KEYS: readonly KeySpec[] = [{ id: 'a', maxSpend: { usd: 100, period: 'day' } }, { id: 'b' }]
const CLIENTS = { clients: [{ id: 'client', budgets: [budgetOf({ usd: 10 })] }] }

const openOf = ({ state }: PoolDriver) => [...state.reconciliations.open.values()]

describe('OpenRouter is asked what an answer was', () => {
  const asked = (told: Partial<Settlement>) => {
    const pool = drivePool(KEYS, CLIENTS)
    pool.give(pool.grantOf('a'), { generationId: 'gen-1', ...told })
    return openOf(pool).map(({ booked, keyUsd }) => [booked?.costUsd ?? null, keyUsd])
  }

  it.each<[string, Partial<Settlement>, object[]]>([
    ['that tells nothing', {}, [[null, 0]]],
    ['that is an estimate', { usage: estimated(0.5) }, [[0.5, 0.5]]],
    ['that its client left', { outcome: 'failure', fault: 'nobody' }, [[null, 0]]],
    ['and not of one that has told it', { usage: usageOf(5, 5, 0.5) }, []],
    ['nor of one that failed', { outcome: 'failure', fault: 'upstream' }, []],
    ['nor of one that nobody can name', { generationId: undefined as never }, []],
  ])('%s', (_, told, open) => {
    expect(asked(told)).toEqual(open)
  })
})

/** A pool in which an estimate of `bookedUsd` was booked, and OpenRouter tells another cost. */
function found(costUsd: number, bookedUsd = 0.5) {
  const pool = drivePool(KEYS, CLIENTS)
  pool.lookUp('a', 50)
  pool.wait(1)
  pool.give(pool.grantOf('a', { boundUsd: 1 }), {
    usage: estimated(bookedUsd),
    generationId: 'gen-1',
  })
  const { state } = pool
  const tell = () => {
    const report = { generationId: 'gen-1', kind: 'found', usage: usageOf(20, 5, costUsd) } as const
    noteGenerationReport(state.reconciliations, report, pool.now())
    bookFound(state, pool.now())
  }
  return { ...pool, tell }
}

function sums({ state, key, now }: PoolDriver) {
  const [budget] = state.clients.byId.get(clientId('client'))?.quota.budgets ?? []
  const { credit, spend } = key('a')
  return {
    all: state.ledger.all.total.costUsd,
    key: key('a').tally.total.costUsd,
    today: countersOfToday(key('a').tally, now()).costUsd,
    client: usdOf(budget?.spentNanos ?? 0),
    maxSpend: usdOf(spend?.spentNanos ?? 0),
    credit: credit.kind === 'known' ? credit.remainingUsd : null,
  }
}

const allOf = (usd: number, credit: number) => ({
  ...{ all: usd, key: usd, today: usd, client: usd, maxSpend: usd, credit },
})

describe('what it was really', () => {
  it('replaces the estimate in all sums, once', () => {
    const pool = found(2)
    expect(sums(pool)).toEqual(allOf(0.5, 49.5))
    pool.tell()
    expect(sums(pool)).toEqual(allOf(2, 48))
    pool.tell()
    expect(sums(pool)).toEqual(allOf(2, 48))
  })

  it('may be less', () => {
    const pool = found(0.125)
    pool.tell()
    expect(sums(pool)).toEqual(allOf(0.125, 49.875))
  })

  it('does not change what a lookup since then has said is left', () => {
    const pool = found(2)
    pool.wait(1)
    pool.lookUp('a', 40)
    const { credit } = sums(pool)
    pool.tell()
    expect(sums(pool).credit).toBe(credit)
  })

  it('is not charged to a period that has begun since', () => {
    const pool = found(2)
    pool.wait(DAY_MS)
    pool.give(pool.grantOf('a', { boundUsd: 1 }), { usage: usageOf(1, 1, 0.25) })
    pool.tell()
    expect(sums(pool)).toMatchObject({ all: 2.25, today: 0.25, client: 0.25, maxSpend: 0.25 })
    expect(pool.state.days.ended[0]?.key.get('a')?.costUsd).toBe(2)
  })

  it('ends the day, if it is the first of the next one', () => {
    const pool = found(2)
    pool.wait(DAY_MS)
    pool.tell()
    expect(pool.state.days.ended[0]?.key.get('a')?.costUsd).toBe(2)
    expect(sums(pool)).toMatchObject({ all: 2, today: 0 })
  })

  it('makes a key that it takes the last money of be looked at again', () => {
    const pool = found(60)
    const other = { client: 'other', tried: ['b'] }
    expect(pool.grant(other).keyId).toBe('a')
    // A request for another key looks at this one too, and finds it well.
    pool.grantOf('b', { client: 'other' })
    pool.tell()
    expect(pool.refusal(other).reasons).toMatchObject({ below_min_credit: 1 })
  })

  it('has the rows of the budgets written that it uses up', () => {
    const pool = found(9)
    pool.state.changes.budgets.clear()
    pool.state.changes.spends.clear()
    pool.tell()
    expect([...pool.state.changes.budgets]).toEqual(['client:client'])
    expect([...pool.state.changes.spends]).toEqual(['a'])
    expect(pool.state.changes.thresholds.map(({ percent }) => percent)).toEqual([80])
  })

  it('of a key that is gone is booked for the client alone', () => {
    const pool = found(2)
    const next = drivePool(['b'], CLIENTS)
    const [open] = openOf(pool)
    if (open === undefined) throw new Error('nothing is open')
    next.state.reconciliations.found.set('gen-1', {
      reconciliation: open,
      usage: usageOf(20, 5, 2),
    })
    bookFound(next.state, next.now())
    expect(next.state.ledger.all.total.costUsd).toBe(1.5)
    expect(next.state.ledger.byKey.has(keyId('a'))).toBe(false)
  })

  it('counts for a max_spend by what was booked, of a record without its hold', () => {
    const pool = found(2)
    const [open] = openOf(pool)
    if (open === undefined) throw new Error('nothing is open')
    pool.state.reconciliations.open.set('gen-1', { ...open, holds: [] })
    pool.tell()
    expect(sums(pool)).toMatchObject({ maxSpend: 2, client: 0.5 })
    expect(pool.key('a').spend?.spentNanos).toBe(nanosOf(2))
  })
})

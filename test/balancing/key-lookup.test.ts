import { describe, expect, it } from 'vitest'
import { keyId } from '../../src/balancing/ids.ts'
import { observe, takeLookups } from '../../src/balancing/pool.ts'
import type { BenchOrder } from '../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver } from './pool-driver.ts'

const SUSPECTED: BenchOrder = {
  scope: 'key',
  reason: 'key_rejected',
  term: { kind: 'for', forMs: 60_000 },
}
const SPENT: BenchOrder = {
  scope: 'key',
  reason: 'key_spent',
  term: { kind: 'lookup', lapseMs: null },
}

const due = (pool: PoolDriver) => takeLookups(pool.state, pool.now())

function report(pool: PoolDriver, id: string, kind: 'rejected' | 'unknown' | 'valid'): void {
  const lookup = { keyId: keyId(id), kind, remainingUsd: null }
  observe(pool.state, lookup, pool.now())
}

/** A key answers 401. */
function suspect(pool: PoolDriver, id: string): void {
  const told = { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true } as const
  pool.give(pool.grantOf(id), told)
}

function spend(pool: PoolDriver, id: string): void {
  pool.shrug(pool.grantOf(id), SPENT)
}

describe('the duty to look a key up', () => {
  it('is nobody’s while nothing is wrong', () => {
    const pool = drivePool(['a', 'b'])
    pool.give(pool.grant())
    pool.wait(10 ** 9)
    expect(due(pool)).toEqual([])
  })

  it('is handed to one asker, and to nobody else while its report may come', () => {
    const pool = drivePool(['a', 'b'])
    suspect(pool, 'a')
    expect(due(pool)).toEqual(['a'])
    expect(due(pool)).toEqual([])
    pool.wait(29_999)
    expect(due(pool)).toEqual([])
  })

  it('is handed out again when its report never came', () => {
    const pool = drivePool(['a', 'b'])
    suspect(pool, 'a')
    due(pool)
    pool.wait(30_000)
    expect([due(pool), due(pool)]).toEqual([['a'], []])
  })

  it('is not doubled by a second doubt while somebody is out looking', () => {
    const pool = drivePool(['a', 'b'])
    const other = pool.grantOf('a')
    suspect(pool, 'a')
    due(pool)
    pool.give(other, { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true })
    expect(due(pool)).toEqual([])
  })

  it('comes a few keys at a time, and every key has its turn', () => {
    const ids = Array.from({ length: 10 }, (_, i) => `k${i}`)
    const pool = drivePool(ids)
    for (const id of ids) suspect(pool, id)
    const rounds = [due(pool), due(pool), due(pool), due(pool)]
    expect(rounds.map((round) => round.length)).toEqual([4, 4, 2, 0])
    expect(new Set(rounds.flat())).toEqual(new Set(ids))
  })

  it('comes once a minute at most, however many requests bring the key into doubt', () => {
    const pool = drivePool(['a', 'b'])
    const out = Array.from({ length: 50 }, () => pool.grantOf('a'))
    let lookups = 0
    for (const lease of out) {
      pool.give(lease, { outcome: 'failure', fault: 'key', benches: [SUSPECTED], suspect: true })
      for (const id of due(pool)) {
        lookups += 1
        report(pool, id, 'valid')
      }
      pool.wait(1_000)
    }
    expect(lookups).toBe(1)
    pool.wait(60_000)
    expect(due(pool)).toEqual(['a'])
  })
})

describe('a key that answered 401', () => {
  it('is benched, and back as soon as a lookup finds it valid', () => {
    const pool = drivePool(['a'])
    suspect(pool, 'a')
    expect(pool.refusal().reasons).toEqual({ key_rejected: 1 })
    expect(pool.refusal().retryAtMs).toBeGreaterThanOrEqual(pool.now() + 60_000)
    pool.lookUp('a', 5)
    expect(pool.grant().keyId).toBe('a')
  })

  it('is rejected once a lookup says so too, and time does not cure that', () => {
    const pool = drivePool(['a'])
    suspect(pool, 'a')
    report(pool, 'a', 'rejected')
    pool.wait(10 ** 10)
    expect(pool.refusal()).toMatchObject({ reasons: { key_rejected: 1 }, retryAtMs: null })
  })

  it('that was rejected is looked up again every minute and comes back when it is valid', () => {
    const pool = drivePool(['a'])
    suspect(pool, 'a')
    due(pool)
    for (let minute = 0; minute < 3; minute++) {
      report(pool, 'a', 'rejected')
      pool.wait(59_999)
      expect(due(pool)).toEqual([])
      pool.wait(1)
      expect(due(pool)).toEqual(['a'])
    }
    pool.lookUp('a', null)
    expect(pool.grant().keyId).toBe('a')
    pool.wait(10 ** 7)
    expect(due(pool)).toEqual([])
  })

  it('stays benched but unconvicted when the lookup itself fails, and is back with time', () => {
    const pool = drivePool(['a'])
    suspect(pool, 'a')
    due(pool)
    report(pool, 'a', 'unknown')
    const { retryAtMs } = pool.refusal()
    pool.at(retryAtMs ?? 0)
    expect(pool.grant().keyId).toBe('a')
  })
})

describe('a spent key', () => {
  it('serves again when a lookup shows that it was topped up', () => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    pool.wait(10 ** 9)
    expect(pool.refusal()).toMatchObject({ reasons: { key_spent: 1 }, retryAtMs: null })
    pool.lookUp('a', 0.01)
    expect(pool.grant().keyId).toBe('a')
  })

  it.each([0, -0.5])('stays spent when a lookup shows %d left', (remainingUsd) => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    pool.lookUp('a', remainingUsd)
    expect(pool.refusal().reasons).toEqual({ key_spent: 1 })
  })

  it('serves again when its cap was lifted', () => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    pool.lookUp('a', null)
    expect(pool.grant().keyId).toBe('a')
  })

  it('is looked up every five minutes until then', () => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    expect(due(pool)).toEqual([])
    pool.wait(300_000)
    expect(due(pool)).toEqual(['a'])
    pool.lookUp('a', 0)
    pool.wait(299_999)
    expect(due(pool)).toEqual([])
    pool.wait(1)
    expect(due(pool)).toEqual(['a'])
  })

  it('is not freed by a failed lookup, nor convicted of anything worse', () => {
    const pool = drivePool(['a'])
    spend(pool, 'a')
    report(pool, 'a', 'unknown')
    expect(pool.refusal().reasons).toEqual({ key_spent: 1 })
  })
})

it('a valid key is no reason to end a rate limit', () => {
  const pool = drivePool(['a'])
  const untilMs = pool.now() + 5_000
  const reason = 'account_rate_limited'
  pool.shrug(pool.grant(), { scope: 'key', reason, term: { kind: 'until', untilMs } })
  pool.lookUp('a', 10)
  expect(pool.refusal()).toMatchObject({ reasons: { account_rate_limited: 1 }, retryAtMs: untilMs })
})

it('a lookup of a key that is no longer configured changes nothing', () => {
  const pool = drivePool(['a'])
  report(pool, 'gone', 'rejected')
  expect(pool.grant().keyId).toBe('a')
})

it('a disabled key is never looked up', () => {
  const pool = drivePool(['a', { id: 'b', disabled: true }])
  report(pool, 'b', 'rejected')
  pool.wait(10 ** 6)
  expect(due(pool)).toEqual([])
})

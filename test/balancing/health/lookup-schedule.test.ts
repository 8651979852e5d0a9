import { describe, expect, it } from 'vitest'
import { report } from '../../../src/balancing/pool.ts'
import { takeLookupDuties } from '../../../src/balancing/serving/duty-hand-out.ts'
import { drivePool, type PoolDriver, validReport } from '../pool-driver.ts'

const REFRESH_MS = 60_000

const poolOf = (keys: number) =>
  drivePool(
    Array.from({ length: keys }, (_, i) => `key-${i}`),
    { credit: { refreshMs: REFRESH_MS } },
  )

/** Hands out what is due, reports it at once, and returns whose turn it was. */
function lookUpDue(pool: PoolDriver): string[] {
  const duties = takeLookupDuties(pool.state, pool.now())
  for (const { keyId } of duties) report(pool.state, validReport(keyId, 10, pool.now()), pool.now())
  return duties.map(({ keyId }) => keyId)
}

describe('lookups of a thousand keys', () => {
  it('reach every key, also at one request a minute', () => {
    const pool = poolOf(1_000)
    const reached = new Set<string>()
    // Four a minute: a key that always went first would be looked up again and again.
    for (let minute = 0; minute < 260; minute++) {
      for (const id of lookUpDue(pool)) reached.add(id)
      pool.wait(61_000)
    }
    expect(reached.size).toBe(1_000)
  })

  it('fall out of step, and are never more often than refresh_s', () => {
    const pool = poolOf(1_000)
    const lastMs = new Map<string, number>()
    const perSecond = new Map<number, number>()
    for (let i = 0; i < 20 * 60 * 100; i++) {
      for (const id of lookUpDue(pool)) {
        expect(pool.now() - (lastMs.get(id) ?? Number.NEGATIVE_INFINITY)).toBeGreaterThanOrEqual(
          REFRESH_MS,
        )
        lastMs.set(id, pool.now())
        const second = Math.floor(pool.now() / 1_000)
        perSecond.set(second, (perSecond.get(second) ?? 0) + 1)
      }
      pool.wait(10)
    }
    // All are due at the very first. Twenty minutes later a thousand lookups are spread over a minute.
    const late = [...perSecond].slice(-120).map(([, count]) => count)
    expect(Math.max(...late)).toBeLessThan(150)
  })

  it('cost one comparison while nothing is due', () => {
    const pool = poolOf(3)
    lookUpDue(pool)
    takeLookupDuties(pool.state, pool.now())
    const { lookupsDueAtMs } = pool.state
    expect(lookupsDueAtMs).toBeGreaterThan(pool.now())
    expect(takeLookupDuties(pool.state, lookupsDueAtMs - 1)).toEqual([])
    expect(takeLookupDuties(pool.state, lookupsDueAtMs)).not.toEqual([])
  })
})

it('an older report does not replace a newer one', () => {
  const pool = drivePool(['a'])
  const late = validReport('a', 3, pool.now())
  const early = validReport('a', 90, pool.now() - 5_000)
  report(pool.state, late, pool.now())
  report(pool.state, early, pool.now())
  expect(pool.key('a').credit).toMatchObject({ remainingUsd: 3 })
})

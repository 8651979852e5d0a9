import { describe, expect, it } from 'vitest'
import { type Breaker, CLOSED } from '../../../src/balancing/health/circuit-breaker.ts'
import { SLOW_START_MS, takesPart } from '../../../src/balancing/health/slow-start.ts'
import { leaseId } from '../../../src/balancing/ids.ts'
import { STRATEGY_NAMES } from '../../../src/balancing/strategies/strategy-registry.ts'
import { drivePool } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const RECOVERED_MS = 5_000_000
const recovered: Breaker = { kind: 'closed', failuresAtMs: [], recoveredAtMs: RECOVERED_MS }
const always = () => 0
const never = () => 1 - Number.EPSILON

function partTaken(afterMs: number): number {
  const random = seededRandom(9)
  const draws = Array.from({ length: 4000 }, () =>
    takesPart(recovered, RECOVERED_MS + afterMs, random),
  )
  return draws.filter(Boolean).length / draws.length
}

describe('a key that has just recovered', () => {
  it.each([
    { afterMs: 0, share: 0.1 },
    { afterMs: 500, share: 0.1 },
    { afterMs: 2_500, share: 0.25 },
    { afterMs: 5_000, share: 0.5 },
    { afterMs: 9_000, share: 0.9 },
  ])('takes part in $share of the choices after $afterMs ms', ({ afterMs, share }) => {
    // 4,000 draws: the standard deviation is below 0.008.
    expect(Math.abs(partTaken(afterMs) - share)).toBeLessThan(0.04)
  })

  it('is back altogether after ten seconds, and stays so', () => {
    expect(takesPart(recovered, RECOVERED_MS + SLOW_START_MS, never)).toBe(true)
    expect(takesPart(recovered, RECOVERED_MS + 10 ** 9, never)).toBe(true)
    expect(SLOW_START_MS).toBe(10_000)
  })

  it('is neither shut out nor let in at once', () => {
    expect(takesPart(recovered, RECOVERED_MS, always)).toBe(true)
    expect(takesPart(recovered, RECOVERED_MS + SLOW_START_MS - 1, never)).toBe(false)
  })
})

it('holds back no key that never failed, and no probe', () => {
  expect(takesPart(CLOSED, RECOVERED_MS, never)).toBe(true)
  const halfOpen: Breaker = { kind: 'half_open', probe: leaseId('probe'), cooldownMs: 1 }
  expect(takesPart(halfOpen, RECOVERED_MS, never)).toBe(true)
})

it('does not flood a recovered key of a large pool because it comes back empty', () => {
  const ids = Array.from({ length: 100 }, (_, i) => `k${i}`)
  const pool = drivePool(ids, { strategy: 'least-busy' })
  pool.trip('k0')
  pool.wait(60_000)
  const probe = pool.grantOf('k0')
  for (let i = 0; i < 990; i++) pool.grant({ tried: ['k0'] })
  pool.give(probe)
  const inFlightAfter = (ms: number) => {
    pool.wait(ms)
    for (let i = 0; i < 300; i++) pool.give(pool.grant())
    const kept = Array.from({ length: 100 }, () => pool.grant())
    for (const lease of kept) if (lease.keyId !== 'k0') pool.give(lease)
    return pool.key('k0').inFlight
  }
  // Every other key has ten leases.
  expect(inFlightAfter(0)).toBeLessThanOrEqual(2)
  expect(inFlightAfter(5_000)).toBeLessThanOrEqual(6)
  expect(inFlightAfter(5_000)).toBeGreaterThanOrEqual(10)
})

describe.each(STRATEGY_NAMES)('under %s', (strategy) => {
  /** How many of 400 turns at one moment a key has, some time after its recovery. */
  function turnsAfter(recoveryMs: number, keys: readonly string[]): number {
    const pool = drivePool(keys, { strategy })
    pool.trip('a')
    pool.wait(60_000)
    pool.give(pool.grantOf('a'))
    pool.wait(recoveryMs)
    const winners = Array.from({ length: 400 }, () => {
      const lease = pool.grant()
      pool.give(lease)
      return lease.keyId
    })
    return winners.filter((id) => id === 'a').length
  }

  it('a recovered key gets few turns at first, more later, and its whole share in the end', () => {
    const [atOnce, halfway, afterwards] = [0, 5_000, 10_000].map((ms) => turnsAfter(ms, ['a', 'b']))
    // `priority` prefers the first key, and `credit-threshold` stays with it.
    const share = strategy === 'priority' || strategy === 'credit-threshold' ? 400 : 200
    expect(atOnce).toBeGreaterThan(0)
    expect(atOnce).toBeLessThan(share / 3)
    expect(halfway).toBeGreaterThan(atOnce ?? 0)
    expect(halfway).toBeLessThan(share)
    expect(afterwards).toBe(share)
  })

  it('a recovered key that is the only one serves at once', () => {
    expect(turnsAfter(0, ['a'])).toBe(400)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { REASONS } from '../../src/balancing/reasons.ts'
import { STRATEGY_NAMES } from '../../src/balancing/strategies/strategy-registry.ts'
import { walks } from '../property-limits.ts'
import { order } from './operators/operator-order.ts'
import { type AnyPool, type Hint, historyArbitrary, poolArbitrary } from './pool-arbitraries.ts'
import { drivePool } from './pool-driver.ts'
import { PoolWalk } from './pool-walk.ts'
import { seededRandom } from './seeded-random.ts'

/**
 * What must be true of a pool after every step of any history (design: "What must always hold").
 * A failure prints the seed, the pool and the shortest failing history that fast-check found.
 */

const RUNS = walks(150, 100_000)

function walked(pool: AnyPool, seed: number, history: readonly Hint[]) {
  const walk = PoolWalk.on(pool, seed)
  for (const hint of history) {
    walk.step(hint)
    walk.check()
  }
  return walk
}

describe('whatever happens to a pool', { timeout: 120_000 }, () => {
  it('limits hold, nobody excluded is granted, the budget is kept and the books agree', () => {
    fc.assert(
      fc.property(poolArbitrary, fc.nat(), historyArbitrary, (pool, seed, history) => {
        const walk = walked(pool, seed, history)
        expect(walk.faults()).toEqual([])
      }),
      RUNS,
    )
  })

  it('every lease ends: once traffic stops, nothing is in flight and no probe is out', () => {
    fc.assert(
      fc.property(poolArbitrary, fc.nat(), historyArbitrary, (pool, seed, history) => {
        const walk = walked(pool, seed, history)
        walk.stopTraffic()
        const keys = [...walk.pool.state.keys.values()]
        expect(keys.map(({ inFlight }) => inFlight)).toEqual(keys.map(() => 0))
        expect(walk.pool.state.leases.live.size).toBe(0)
        const probes = keys.map(({ breaker }) => breaker.kind === 'half_open' && breaker.probe)
        expect(probes.filter(Boolean)).toEqual([])
      }),
      RUNS,
    )
  })

  it('every key that is only benched or broken serves again in time', () => {
    fc.assert(
      fc.property(poolArbitrary, fc.nat(), historyArbitrary, (pool, seed, history) => {
        const walk = walked(pool, seed, history)
        walk.stopTraffic()
        for (const { id } of pool.keys) {
          walk.pool.lookUp(id, null)
          order(walk.pool, 'resume', id)
        }
        // The longest bench, then the longest cooldown.
        walk.pool.wait(25 * 3_600_000)
        for (const { id, disabled } of pool.keys) {
          if (!disabled) expect(walk.pool.grantOf(id).keyId).toBe(id)
        }
      }),
      RUNS,
    )
  })

  it('the same seed and the same history make the same decisions', () => {
    fc.assert(
      fc.property(poolArbitrary, fc.nat(), historyArbitrary, (pool, seed, history) => {
        const first = walked(pool, seed, history)
        const second = walked(pool, seed, history)
        expect(second.transcript).toEqual(first.transcript)
        expect(second.pool.state).toEqual(first.pool.state)
      }),
      walks(40, 100_000),
    )
  })
})

/** For each turn: how many turns its answer takes. */
const anyTraffic = fc.array(fc.nat({ max: 12 }), { minLength: 1, maxLength: 150 })

/** Serves the traffic without faults. Returns the key of each turn. */
function serve(pool: ReturnType<typeof drivePool>, traffic: readonly number[]): string[] {
  const ends = new Map<number, (() => void)[]>()
  return traffic.map((turns, now) => {
    const lease = pool.grant()
    const end = now + turns
    ends.set(end, [...(ends.get(end) ?? []), () => pool.give(lease)])
    for (const give of ends.get(now) ?? []) give()
    pool.wait(10)
    return lease.keyId
  })
}

const shares = (ids: readonly string[], served: readonly string[]) =>
  ids.map((id) => served.filter((key) => key === id).length)

it('the histories above reach every reason for a refusal, the queue, fallbacks and panic', () => {
  const met = new Set<string>()
  const samples = fc.sample(fc.tuple(poolArbitrary, historyArbitrary), { numRuns: 150, seed: 2 })
  for (const [pool, history] of samples) {
    const walk = walked(pool, 1, history)
    for (const reason of walk.met) met.add(reason)
  }
  expect([...met].toSorted()).toEqual(
    [
      // Its clients have no limits.
      ...REASONS.filter((reason) => reason !== 'not_for_client'),
      'panic',
      'waited',
      'timed out',
      'left',
      'displaced',
      'fallback',
      'learned',
      'batch',
    ].toSorted(),
  )
})

describe('with equal keys and no faults', () => {
  it('shares differ by at most one under round-robin, at every moment', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), anyTraffic, fc.nat(), (count, traffic, seed) => {
        const ids = Array.from({ length: count }, (_, i) => `k${i}`)
        const pool = drivePool(ids, { strategy: 'round-robin' }, seededRandom(seed))
        const served = serve(pool, traffic)
        for (let turns = 1; turns <= served.length; turns++) {
          const had = shares(ids, served.slice(0, turns))
          expect(Math.max(...had) - Math.min(...had)).toBeLessThanOrEqual(1)
        }
      }),
      RUNS,
    )
  })

  it.each(STRATEGY_NAMES.filter((name) => name !== 'priority' && name !== 'credit-threshold'))(
    'no key starves under %s',
    (strategy) => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 7 }), fc.nat(), (count, seed) => {
          const ids = Array.from({ length: count }, (_, i) => `k${i}`)
          const pool = drivePool(ids, { strategy }, seededRandom(seed))
          const served = serve(
            pool,
            Array.from({ length: 20 * count }, () => 2),
          )
          // `lowest-latency` draws at random.
          const least = strategy === 'lowest-latency' ? 3 : 18
          for (const had of shares(ids, served)) expect(had).toBeGreaterThanOrEqual(least)
        }),
        { numRuns: 30 },
      )
    },
  )
})

it('shares are exactly the weights under weighted, in every period', () => {
  const anyWeights = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(anyWeights, fc.nat(), (weights, seed) => {
      const keys = weights.map((weight, i) => ({ id: `k${i}`, weight }))
      const pool = drivePool(keys, { strategy: 'weighted' }, seededRandom(seed))
      const period = weights.reduce((sum, weight) => sum + weight, 0)
      for (let round = 0; round < 3; round++) {
        const served = serve(
          pool,
          Array.from({ length: period }, () => 3),
        )
        expect(
          shares(
            keys.map(({ id }) => id),
            served,
          ),
        ).toEqual(weights)
      }
    }),
    { numRuns: 60 },
  )
})

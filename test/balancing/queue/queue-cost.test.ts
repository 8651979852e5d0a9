import { describe, expect, it } from 'vitest'
import { leaseId } from '../../../src/balancing/ids.ts'
import { claim } from '../../../src/balancing/pool.ts'
import type { KeyState } from '../../../src/balancing/pool-state.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

/** Counts how often a decision looks at a key's breaker: each look at a key does. */
function countLooks(pool: PoolDriver): () => number {
  let looks = 0
  for (const key of pool.state.keys.values()) {
    let { breaker } = key
    Object.defineProperty(key, 'breaker', {
      configurable: true,
      enumerable: true,
      get: () => {
        looks += 1
        return breaker
      },
      set: (next: KeyState['breaker']) => {
        breaker = next
      },
    })
  }
  return () => {
    const counted = looks
    looks = 0
    return counted
  }
}

const KEYS = 50

/** A pool whose keys are all busy, and in which so many wait, in so many lanes. */
function crowded(waiters: number, lanes: number) {
  const models = Array.from({ length: lanes }, (_, i) => `vendor/m${i}` as const)
  const [first = 'vendor/m0', ...others] = models
  const pool = drivePool(
    Array.from({ length: KEYS }, (_, i) => ({ id: `k${i}`, maxConcurrent: 1 })),
    {
      // Names that a route names are lanes of their own.
      routes: [{ models: [first, ...others] }],
      queue: { maxWaiting: 10_000, maxWaitMs: 60_000 },
      strategy: 'round-robin',
    },
  )
  const leases = Array.from({ length: KEYS }, () => pool.grant())
  const ids = Array.from({ length: waiters }, (_, i) => {
    const lease = `w${i}`
    pool.waiting({ lease, client: `client-${i % 20}`, model: models[i % lanes] ?? first })
    return lease
  })
  return { pool, leases, ids, looks: countLooks(pool) }
}

describe('what the queue costs', () => {
  it('is nothing for a poll', () => {
    const { pool, ids, looks } = crowded(200, 40)
    for (const id of ids) {
      expect(claim(pool.state, leaseId(id), pool.now())).toMatchObject({ kind: 'waiting' })
    }
    expect(looks()).toBe(0)
  })

  it.each([
    [100, 1],
    [100, 50],
    [2_000, 50],
  ])(
    'grows with keys and lanes, not with their product: %i waiters in %i lanes',
    (waiters, lanes) => {
      const { pool, leases, looks } = crowded(waiters, lanes)
      for (const lease of leases.slice(0, 10)) {
        pool.give(lease)
        pool.wake()
        pool.ask({ model: 'vendor/m0', waitMs: 60_000 })
        expect(looks()).toBeLessThan(4 * KEYS + 8 * lanes)
      }
    },
  )

  it('does not grow with those for whom a key has too little money', () => {
    const { pool, leases, looks } = crowded(0, 1)
    for (const key of pool.state.keys.values()) {
      const untilMs = pool.now() + 10 ** 6
      key.tooLarge = { keyId: key.id, size: 1_000, sinceMs: pool.now(), untilMs }
    }
    for (let i = 0; i < 5_000; i++) pool.waiting({ client: `client-${i % 20}`, size: 2_000 })
    looks()
    for (const lease of leases.slice(0, 10)) {
      pool.give(lease)
      pool.wake()
      expect(looks()).toBeLessThan(4 * KEYS)
    }
  })

  it('is one lane for a hundred names that nobody knows', () => {
    const pool = drivePool([{ id: 'a', maxConcurrent: 1 }])
    pool.grant()
    for (let i = 0; i < 50; i++) pool.waiting({ model: `invented/${i}` })
    for (let i = 0; i < 50; i++) pool.waiting({ model: `invented/${i}:free`, client: 'other' })
    expect(pool.state.queue.lines.size).toBe(2)
  })

  it('is one lane for the same keys tried in another order', () => {
    const pool = drivePool(['a', 'b', { id: 'c', maxConcurrent: 1 }])
    pool.grantOf('c')
    pool.waiting({ tried: ['a', 'b'], attempt: 'move' })
    pool.waiting({ tried: ['b', 'a'], attempt: 'move' })
    expect(pool.state.queue.lines.size).toBe(1)
  })
})

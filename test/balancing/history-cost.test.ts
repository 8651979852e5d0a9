import { expect, it } from 'vitest'
import { accountId } from '../../src/balancing/ids.ts'
import { drivePool, type PoolDriver } from './pool-driver.ts'

// What a pool has seen must cost it nothing later. The bounds are far above what is measured, and far
// below what it cost when it grew: a busy machine does not fail them.

const REQUESTS = 300

/** The best of some rounds, in milliseconds for `REQUESTS` requests: a pause of the machine is not in it. */
function bestRound(pool: PoolDriver): number {
  const rounds = Array.from({ length: 12 }, () => {
    const beganMs = performance.now()
    serve(pool, REQUESTS)
    return performance.now() - beganMs
  })
  return Math.min(...rounds)
}

/** A thousand requests a second, of which ten run at a time. */
function serve(pool: PoolDriver, count: number): void {
  const running = Array.from({ length: 10 }, () => pool.grant())
  for (let i = 0; i < count; i += 1) {
    const first = running.shift()
    if (first !== undefined) pool.give(first)
    pool.wait(1)
    running.push(pool.grant())
  }
  for (const lease of running) pool.give(lease)
}

it('a request costs the same after twenty thousand others, and after a rest of ten minutes', () => {
  const setup = { strategy: 'least-busy' } as const
  const keys = ['a', 'b', 'c'].map((id) => ({ id, rpm: 1_000_000, tpm: 1_000_000_000 }))
  const pool = drivePool(keys, setup)
  serve(pool, 1_000)
  const fresh = bestRound(pool)
  serve(pool, 20_000)
  const used = bestRound(pool)
  pool.wait(10 * 60_000)
  serve(pool, 1_000)
  const later = bestRound(pool)
  expect(used).toBeLessThan(2 * fresh)
  expect(later).toBeLessThan(2 * fresh)
})

it('a thousand owners are learned at a cost that does not grow with the keys', () => {
  const names = Array.from({ length: 1_000 }, (_, i) => `k${i}`)
  const pool = drivePool(names.map((id) => ({ id, account: null })))
  const beganMs = performance.now()
  for (const [i, name] of names.entries()) {
    pool.lookUp(name, null, { owner: accountId(`org-${i % 250}`) })
  }
  // It takes 6 ms, and took 8.6 s when each answer looked at all keys.
  expect(performance.now() - beganMs).toBeLessThan(1_000)
  expect(pool.key('k0').account).toBe(pool.key('k250').account)
  expect(pool.state.accounts.size).toBe(250)
})

import { describe, expect, it } from 'vitest'
import { drivePool, usageOf } from '../pool-driver.ts'

const MINUTE_MS = 60_000

describe('a request that waits for tokens', () => {
  const used = () => {
    const pool = drivePool([
      { id: 'small', tpm: 50 },
      { id: 'big', tpm: 400 },
    ])
    pool.give(pool.grantOf('big', { tokens: 400 }), { usage: usageOf(400, 0, 0) })
    pool.wait(MINUTE_MS - 5_000)
    return pool
  }

  it('keeps smaller ones of other models from the key that it waits for', () => {
    const pool = used()
    pool.waiting({ model: 'x', tokens: 350 })
    pool.grant({ model: 'y', tokens: 50 })
    expect(pool.refusal({ model: 'y', tokens: 10 }).reasons).toEqual({ at_tpm: 2 })
    // The key has room for these. But if they were served, the waiter would never get enough room.
    for (let i = 0; i < 10; i++) {
      pool.wait(1_000)
      pool.wake()
      if (pool.state.queue.size === 0) break
      expect(pool.refusal({ model: 'y', tokens: 10 }).reasons).toEqual({ at_tpm: 2 })
    }
    expect(pool.state.queue.size).toBe(0)
  })

  it('keeps them from no key that is too small for it', () => {
    const pool = used()
    pool.waiting({ model: 'x', tokens: 350 })
    expect(pool.grant({ model: 'y', tokens: 10 }).keyId).toBe('small')
  })

  it('has those of its own model wait behind it, where they could take the same key', () => {
    const pool = used()
    pool.waiting({ model: 'x', tokens: 350 })
    expect(pool.grant({ model: 'x', tokens: 50 }).keyId).toBe('small')
    const later = pool.waiting({ model: 'x', tokens: 10 })
    pool.wait(4_000)
    expect(pool.inquire(later.leaseId)).toEqual(later)
  })
})

import { expect, it } from 'vitest'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const KEYS = ['primary', 'standby']

function poolOf(strategy: 'priority' | 'credit-threshold' | 'most-credit'): PoolDriver {
  const pool = drivePool(KEYS, { strategy })
  pool.lookUp('primary', 1_000)
  pool.lookUp('standby', 500)
  return pool
}

const talk = (id: string) => ({ affinity: { kind: 'conversation', id } }) as const

it.each(['priority', 'credit-threshold', 'most-credit'] as const)(
  '%s places a thousand new conversations, not the hash of their names',
  (strategy) => {
    const pool = poolOf(strategy)
    const served = Array.from({ length: 1_000 }, (_, i) => {
      const lease = pool.grant(talk(`new-${i}`))
      pool.give(lease)
      pool.wait(100)
      return lease.keyId
    })
    expect(served.filter((id) => id !== 'primary')).toEqual([])
  },
)

it.each(['priority', 'credit-threshold', 'most-credit'] as const)(
  '%s leaves a conversation where it is while that account may serve',
  (strategy) => {
    const pool = poolOf(strategy)
    // The primary is away for the first turn, and back for the second.
    pool.give(pool.grantOf('standby', talk('moved')))
    expect(pool.grant(talk('moved')).keyId).toBe('standby')
    expect(pool.grant(talk('new')).keyId).toBe('primary')
    expect(pool.grant({ ...talk('moved'), tried: ['standby'] }).keyId).toBe('primary')
  },
)

it('a request for the response cache goes where the strategy says', () => {
  const pool = poolOf('priority')
  const ids = Array.from({ length: 50 }, (_, i) => ({ kind: 'cache', id: `body-${i}` }) as const)
  expect(new Set(ids.map((affinity) => pool.grant({ affinity }).keyId))).toEqual(
    new Set(['primary']),
  )
})

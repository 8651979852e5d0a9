import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isNonEmpty } from '../../../src/balancing/non-empty.ts'
import { priority } from '../../../src/balancing/strategies/priority.ts'
import { drivePool } from '../pool-driver.ts'
import { anyKeys, choiceOf, nonEmpty } from './strategy-driver.ts'

describe('priority', () => {
  it('picks the first in configured order, whatever the load, the weights and the list', () => {
    fc.assert(
      fc.property(anyKeys, (keys) => {
        const shuffled = keys.toSorted((a, b) => a.lastTurn - b.lastTurn)
        expect(priority.choose(nonEmpty(shuffled), choiceOf(1))).toBe(keys[0])
        const standbys = keys.slice(1)
        if (isNonEmpty(standbys)) expect(priority.choose(standbys, choiceOf(1))).toBe(keys[1])
      }),
    )
  })

  it('uses the standby only while the primary is away', () => {
    const pool = drivePool([{ id: 'primary', maxConcurrent: 2 }, 'standby'], {
      strategy: 'priority',
    })
    const leases = [pool.grant(), pool.grant(), pool.grant()]
    expect(leases.map(({ keyId }) => keyId)).toEqual(['primary', 'primary', 'standby'])
    for (const lease of leases.slice(0, 1)) pool.give(lease)
    expect(pool.grant().keyId).toBe('primary')
  })
})

import { describe, expect, it } from 'vitest'
import { clientId } from '../../../src/balancing/ids.ts'
import type { Grant } from '../../../src/balancing/lease-request.ts'
import { checkpoint } from '../../../src/balancing/records/checkpoint.ts'
import { restore } from '../../../src/balancing/records/restore.ts'
import { createStore } from '../../../src/key-pool/rows/record-store.ts'
import { createInMemoryRows } from '../../gateway/in-memory-rows.ts'
import { drivePool, usageOf } from '../pool-driver.ts'

/** An object whose lives follow each other on the same rows. */
function lives() {
  const rows = createInMemoryRows()
  const store = createStore(rows)
  let pool = drivePool(['a'])
  return {
    pool: () => pool,
    save: () => store.saveCheckpoint(checkpoint(pool.state, pool.now())),
    /** It ends, of a sudden or with a checkpoint of its last state. */
    die(how: 'crash' | 'eviction') {
      store.outdate()
      if (how === 'eviction') {
        store.saveCheckpoint(checkpoint(pool.state, pool.now()))
        store.confirm()
      }
      const next = drivePool(['a'])
      next.at(pool.now())
      restore(next.state, createStore(rows).load(), next.now())
      pool = next
    },
  }
}

/** What a settlement says of its lease, for a pool that does not know it. */
const termsOf = ({ model, grantedAtMs = 0 }: Grant) => ({
  ...{ clientId: clientId('client'), model, grantedAtMs, tokens: 15 },
})

const answer = { outcome: 'success', usage: usageOf(10, 5, 0.25) } as const

describe('a lease that a crash has forgotten is booked', () => {
  it.each(['crash', 'eviction'] as const)('after the next %s, too', (how) => {
    const { pool, save, die } = lives()
    save()
    pool().wait(1)
    const lease = pool().grant()
    pool().wait(1)
    die('crash')
    pool().wait(5_000)
    save()
    pool().wait(1_000)
    die(how)
    pool().give(lease, { ...answer, lease: termsOf(lease) })
    pool().give(lease, { ...answer, lease: termsOf(lease) })
    const { attempts, costUsd } = pool().state.ledger.all.total
    expect({ attempts, costUsd }).toEqual({ attempts: 1, costUsd: 0.25 })
  })

  it('as long as one may run, however often the object ends', () => {
    const { pool, save, die } = lives()
    const lease = pool().grant()
    pool().wait(1)
    for (let i = 0; i < 5; i++) {
      die('crash')
      pool().wait(60_000)
      save()
    }
    expect(pool().state.gaps).toHaveLength(5)
    die('eviction')
    pool().give(lease, { ...answer, lease: termsOf(lease) })
    expect(pool().state.ledger.all.total.attempts).toBe(1)
    pool().wait(2 * 3_600_000)
    die('eviction')
    expect(checkpoint(pool().state, pool().now()).counters.gaps).toEqual([])
  })
})

describe('one that was settled before a checkpoint is not booked again', () => {
  it('although there was a crash before it was granted, and one after', () => {
    const { pool, save, die } = lives()
    save()
    pool().wait(1_000)
    die('crash')
    pool().wait(1_000)
    const lease = pool().grant()
    pool().give(lease, answer)
    pool().wait(1_000)
    save()
    pool().wait(1_000)
    die('crash')
    pool().give(lease, { ...answer, lease: termsOf(lease) })
    expect(pool().state.ledger.all.total.attempts).toBe(1)
  })
})

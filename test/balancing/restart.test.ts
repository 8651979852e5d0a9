import { describe, expect, it } from 'vitest'
import { accountId, clientId } from '../../src/balancing/ids.ts'
import { takeChanges } from '../../src/balancing/records/changed-records.ts'
import { takeLookupDuties } from '../../src/balancing/serving/duty-hand-out.ts'
import type { BenchOrder } from '../../src/balancing/settlement.ts'
import { snapshot } from '../../src/balancing/snapshot.ts'
import { drivePool, usageOf } from './pool-driver.ts'
import { restarted } from './restarted-pool.ts'

const limited: BenchOrder = {
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'backoff', baseMs: 1_000, maxMs: 60_000 },
}

describe('after a restart', () => {
  it('a key whose weight is another owes nothing from before', () => {
    const setup = { strategy: 'weighted' } as const
    const pool = drivePool([{ id: 'a', weight: 1_000 }, { id: 'b' }], setup)
    for (let i = 0; i < 600; i++) pool.give(pool.grant())
    const next = restarted(pool, [{ id: 'a' }, { id: 'b' }], setup)
    const served = Array.from({ length: 20 }, () => next.grant().keyId)
    expect(served.filter((id) => id === 'a')).toHaveLength(10)
  })

  it('a batch has no more than its share of what it had begun before', () => {
    const keys = [{ id: 'a', maxConcurrent: 4, rpm: 8, tpm: 1_000 }]
    const line = { class: 'batch', tokens: 100 } as const
    const pool = drivePool(keys)
    const first = pool.grant({ ...line, lease: 'a' })
    pool.grant({ ...line, lease: 'b' })
    const next = restarted(pool, keys)
    expect(next.key('a').batch.inFlight).toBe(2)
    expect(next.refusal({ ...line, lease: 'c' }).reasons).toEqual({ kept_for_interactive: 1 })
    next.give(first)
    next.give(next.grant({ ...line, lease: 'd' }))
    next.give(next.grant({ ...line, lease: 'e' }))
    // Two before and two since: the half of its requests of a minute.
    expect(next.refusal({ ...line, lease: 'f' }).reasons).toEqual({ kept_for_interactive: 1 })
    expect(next.ask({ lease: 'g' }).kind).toBe('grant')
  })

  it('turns by weight go on where they were', () => {
    const keys = [{ id: 'a', weight: 3 }, { id: 'b', weight: 2 }, { id: 'c' }]
    const setup = { strategy: 'weighted' } as const
    const pool = drivePool(keys, setup)
    const before = Array.from({ length: 4 }, () => pool.grant().keyId)
    const after = Array.from({ length: 2 }, () => restarted(pool, keys, setup).grant().keyId)
    expect(after[0]).toBe(after[1])
    const next = restarted(pool, keys, setup)
    const six = [...before, next.grant().keyId, next.grant().keyId]
    for (const [id, turns] of [
      ['a', 3],
      ['b', 2],
      ['c', 1],
    ] as const) {
      expect(six.filter((key) => key === id)).toHaveLength(turns)
    }
  })

  it('strikes that were forgiven are forgiven', () => {
    const pool = drivePool(['a'])
    for (let i = 0; i < 5; i++) {
      pool.shrug(pool.grant(), limited)
      pool.wait(120_000)
    }
    takeChanges(pool.state)
    pool.give(pool.grant())
    // A record is stored only if it is noted as changed.
    expect(takeChanges(pool.state).keys.map(({ id }) => id)).toEqual(['a'])
    const next = restarted(pool, [{ id: 'a' }])
    next.wait(1_000)
    next.shrug(next.grant(), limited)
    next.wait(1_200)
    expect(next.grant().keyId).toBe('a')
  })

  it.each(['valid', 'rejected', 'unknown'] as const)(
    'a key is looked up no sooner than it would have been, where the last answer was %s',
    (kind) => {
      const pool = drivePool(['a'])
      const keyId = pool.key('a').id
      takeLookupDuties(pool.state, pool.now())
      if (kind === 'valid') pool.lookUp('a', 5)
      const next = restarted(pool, [{ id: 'a' }])
      expect(takeLookupDuties(next.state, next.now())).toEqual([])
      next.wait(60_000)
      expect(takeLookupDuties(next.state, next.now())).toMatchObject([{ keyId }])
    },
  )

  it('tokens that were reserved and not used come back', () => {
    const keys = [{ id: 'a', tpm: 10_000 }]
    const pool = drivePool(keys)
    const lease = pool.grant({ tokens: 9_000, lease: 'before' })
    pool.wait(500)
    const next = restarted(pool, keys)
    next.wait(1_000)
    next.give(lease, { usage: usageOf(50, 50, 0) })
    expect(next.refusal({ tokens: 9_901 }).reasons).toEqual({ at_tpm: 1 })
    next.grant({ tokens: 9_900 })
  })

  it('a lease that had expired before, and owes its settlement, is booked once', () => {
    const keys = [{ id: 'a', maxConcurrent: 1 }]
    const pool = drivePool(keys)
    const lease = pool.grant({ leaseMs: 1_000, lease: 'isolate:1' })
    const { model, grantedAtMs = 0 } = lease
    pool.wait(1_500)
    pool.wake()
    const next = restarted(pool, keys)
    next.wait(1_000)
    // It holds no capacity.
    next.give(next.grant({ lease: 'isolate:2' }))
    const told = {
      usage: usageOf(50, 50, 0.25),
      lease: { clientId: clientId('client'), model, grantedAtMs, tokens: 0 },
    }
    next.give(lease, told)
    next.give(lease, told)
    const { total } = next.state.ledger.all
    expect(total).toMatchObject({ attempts: 2, costUsd: 0.25 })
    const again = restarted(next, keys)
    again.give(lease, told)
    expect(again.state.ledger.all.total).toMatchObject({ attempts: 2, costUsd: 0.25 })
    expect(again.key('a').inFlight).toBe(0)
  })

  it('an account that was seen without room is paid up as soon as it has some', () => {
    const keys = [{ id: 'a', account: null }]
    const pool = drivePool(keys)
    pool.fail(pool.grant(), {
      scope: 'account',
      reason: 'account_out_of_credit',
      term: { kind: 'lookup', lapseMs: 300_000 },
    })
    pool.wait(1_000)
    // The report also shows the key's owner, so the account gets another name.
    pool.lookUp('a', 0, { owner: accountId('org-1') })
    const next = restarted(pool, keys)
    next.wait(60_000)
    next.lookUp('a', 25)
    expect(next.grant().keyId).toBe('a')
    expect(snapshot(next.state, next.now()).usable).toBe(1)
  })

  describe('another secret under an old id', () => {
    const rejected: BenchOrder = {
      scope: 'key',
      reason: 'key_rejected',
      term: { kind: 'lookup', lapseMs: null },
    }
    const OLD = [{ id: 'a', fingerprint: 'old' }, { id: 'b' }]
    const NEW = [{ id: 'a', fingerprint: 'new' }, { id: 'b' }]

    it('is not rejected for the old one, and is looked up at once', () => {
      const pool = drivePool(OLD)
      pool.lookUp('a', 0.5)
      pool.shrug(pool.grantOf('a'), rejected)
      const next = restarted(pool, NEW)
      expect(next.grantOf('a').keyId).toBe('a')
      expect(next.key('a').credit).toEqual({ kind: 'unknown' })
      const due = takeLookupDuties(next.state, next.now()).map(({ keyId }) => keyId)
      expect(due).toContain('a')
      expect(restarted(pool, OLD).refusal({ tried: ['b'] }).reasons).toMatchObject({
        key_rejected: 1,
      })
    })

    it('is not judged by what still runs with the old one', () => {
      const pool = drivePool(OLD)
      const running = [1, 2, 3].map(() => pool.grantOf('a', { models: ['only/a'] }))
      const next = restarted(pool, NEW)
      for (const lease of running) next.fail(lease)
      expect(next.key('a')).toMatchObject({ inFlight: 0, breaker: { kind: 'closed' } })
    })

    it('keeps the counters of its id', () => {
      const pool = drivePool(OLD)
      pool.give(pool.grantOf('a'), { usage: usageOf(10, 5, 0.25) })
      expect(restarted(pool, NEW).key('a').tally.total.costUsd).toBe(0.25)
    })
  })

  it('a refresh_s that was lowered holds at once', () => {
    const pool = drivePool(['a'], { credit: { refreshMs: 3_600_000 } })
    takeLookupDuties(pool.state, pool.now())
    pool.lookUp('a', 10)
    const next = restarted(pool, [{ id: 'a' }], { credit: { refreshMs: 30_000 } })
    next.wait(30_000)
    expect(takeLookupDuties(next.state, next.now())).toMatchObject([{ keyId: 'a' }])
  })
})

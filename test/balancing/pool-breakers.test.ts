import { describe, expect, it } from 'vitest'
import { snapshot } from '../../src/balancing/snapshot.ts'
import { drivePool } from './pool-driver.ts'

const MINUTE_MS = 60_000

describe('the breaker of a key', () => {
  it('takes a key out after three failures within a minute, and only that key', () => {
    const pool = drivePool(['a', 'b'])
    pool.trip('a')
    for (let i = 0; i < 20; i++) expect(pool.grant().keyId).toBe('b')
    expect(pool.refusal({ tried: ['b'] }).reasons).toEqual({ already_tried: 1, breaker_open: 1 })
  })

  it('takes a key out in spite of successes in between', () => {
    const pool = drivePool(['a'])
    for (let i = 0; i < 3; i++) {
      for (let good = 0; good < 10; good++) pool.give(pool.grant())
      pool.fail(pool.grant())
      pool.wait(1_000)
    }
    expect(pool.refusal().reasons).toEqual({ breaker_open: 1 })
  })

  it('forgives failures that are a minute old', () => {
    const pool = drivePool(['a'])
    for (let i = 0; i < 20; i++) {
      pool.fail(pool.grant())
      pool.wait(MINUTE_MS / 2)
    }
    expect(pool.grant().keyId).toBe('a')
  })

  it('lets a key back at the moment that the refusal named, and not a millisecond before', () => {
    const pool = drivePool(['a'])
    pool.trip('a')
    const { retryAtMs } = pool.refusal()
    expect(retryAtMs).toBe(pool.now() + MINUTE_MS)
    pool.wait(MINUTE_MS - 1)
    pool.refusal()
    pool.wait(1)
    expect(pool.grant().keyId).toBe('a')
  })

  it('lets one probe through at a time, and asks for patience while it is out', () => {
    const pool = drivePool(['a'])
    pool.trip('a')
    pool.wait(MINUTE_MS)
    pool.grant()
    const busy = pool.refusal()
    expect(busy.reasons).toEqual({ half_open_busy: 1 })
    expect(busy.retryAtMs).toBeGreaterThan(pool.now())
  })

  it('closes at the success of the probe', () => {
    const pool = drivePool(['a'])
    pool.trip('a')
    pool.wait(MINUTE_MS)
    pool.give(pool.grant())
    for (let i = 0; i < 5; i++) pool.grant()
    expect(pool.key('a').inFlight).toBe(5)
  })

  it('stays open twice as long after a failed probe', () => {
    const pool = drivePool(['a'])
    pool.trip('a')
    pool.wait(MINUTE_MS)
    pool.fail(pool.grant())
    expect(pool.refusal().retryAtMs).toBe(pool.now() + 2 * MINUTE_MS)
  })

  it('is closed by no success that began before it opened, not even when it is half-open', () => {
    const pool = drivePool(['a'])
    const [early, earlier] = [pool.grant(), pool.grant()]
    pool.trip('a')
    pool.give(early)
    expect(pool.refusal().reasons).toEqual({ breaker_open: 1 })
    pool.wait(MINUTE_MS)
    pool.give(earlier)
    pool.grant()
    expect(pool.refusal().reasons).toEqual({ half_open_busy: 1 })
  })

  it('is not held open by failures that began before it opened', () => {
    const pool = drivePool(['a'])
    const stale = Array.from({ length: 10 }, () => pool.grant())
    pool.trip('a')
    const { retryAtMs } = pool.refusal()
    pool.wait(MINUTE_MS / 2)
    for (const lease of stale.slice(5)) pool.fail(lease)
    expect(pool.refusal().retryAtMs).toBe(retryAtMs)
    pool.wait(MINUTE_MS / 2)
    for (const lease of stale.slice(0, 5)) pool.fail(lease)
    expect(pool.grant().keyId).toBe('a')
  })

  it('is neither closed nor opened by a probe that was the caller’s mistake', () => {
    const pool = drivePool(['a'])
    pool.trip('a')
    pool.wait(MINUTE_MS)
    for (let i = 0; i < 5; i++) pool.shrug(pool.grant())
    pool.grant()
    expect(pool.refusal().reasons).toEqual({ half_open_busy: 1 })
  })

  it('gives the place of a lost probe to the next when the lease expires', () => {
    const pool = drivePool(['a'])
    pool.trip('a')
    pool.wait(MINUTE_MS)
    const lost = pool.grant({ leaseMs: 10_000 })
    pool.wait(10_000)
    const next = pool.grant()
    pool.give(lost)
    expect(pool.refusal().reasons).toEqual({ half_open_busy: 1 })
    pool.give(next)
    expect(pool.grant().keyId).toBe('a')
  })
})

describe('panic', () => {
  const five = ['a', 'b', 'c', 'd', 'e']

  it('begins when breakers leave less than half of the keys, and ends when they leave half', () => {
    const pool = drivePool(five, { panicRatio: 0.5 })
    pool.trip('a')
    pool.trip('b')
    expect(pool.refusal({ tried: ['c', 'd', 'e'] }).reasons).toMatchObject({ breaker_open: 2 })
    pool.trip('c')
    // Panic lets open breakers serve, but only after the keys that are closed.
    expect(new Set(five.map(() => pool.grant().keyId))).toEqual(new Set(['d', 'e']))
    const open = ['a', 'b', 'c'].map(() => pool.grant({ tried: ['d', 'e'] }).keyId)
    expect(open.toSorted()).toEqual(['a', 'b', 'c'])
    pool.wait(MINUTE_MS)
    pool.give(pool.grantOf('c'))
    pool.grantOf('a')
    expect(pool.refusal({ tried: ['b', 'c', 'd', 'e'] }).reasons).toEqual({
      already_tried: 4,
      half_open_busy: 1,
    })
  })

  it('counts no key that something else excludes', () => {
    // Of the four keys that are not spent, two have an open breaker. That is half, so no panic.
    const pool = drivePool(five, { panicRatio: 0.5 })
    pool.shrug(pool.grantOf('e'), {
      scope: 'key',
      reason: 'key_spent',
      term: { kind: 'lookup', lapseMs: null },
    })
    pool.trip('a')
    pool.trip('b')
    expect(pool.refusal({ tried: ['c', 'd'] }).reasons).toMatchObject({
      breaker_open: 2,
      key_spent: 1,
    })
    pool.trip('c')
    expect(pool.grantOf('a').keyId).toBe('a')
  })

  it('still respects benches, disabled keys and max_concurrent', () => {
    const pool = drivePool(
      [{ id: 'a', maxConcurrent: 3 }, 'b', { id: 'c', disabled: true }, { id: 'd', account: 'd' }],
      { panicRatio: 0.5 },
    )
    const untilMs = pool.now() + 10_000
    const term = { kind: 'until', untilMs } as const
    pool.shrug(pool.grantOf('b'), { scope: 'key', reason: 'key_spent', term })
    pool.shrug(pool.grantOf('d'), { scope: 'account', reason: 'account_rate_limited', term })
    pool.trip('a')
    for (let i = 0; i < 3; i++) expect(pool.grant().keyId).toBe('a')
    expect(pool.refusal().reasons).toEqual({
      disabled: 1,
      key_spent: 1,
      account_rate_limited: 1,
      at_max_concurrent: 1,
    })
  })

  it('keeps a lone key in use however often it fails', () => {
    const pool = drivePool(['a'], { panicRatio: 0.5 })
    for (let i = 0; i < 50; i++) pool.fail(pool.grant())
    expect(pool.grant().keyId).toBe('a')
  })

  it.each(['priority', 'most-credit', 'credit-threshold'] as const)(
    'ends by itself when the keys are well, even where %s prefers one of them',
    (strategy) => {
      const pool = drivePool(['primary', 's1', 's2', 's3'], { strategy, panicRatio: 0.5 })
      for (const id of ['s1', 's2', 's3']) pool.trip(id)
      expect(snapshot(pool.state, pool.now()).panic).toBe(true)
      pool.wait(MINUTE_MS)
      for (let i = 0; i < 10; i++) {
        pool.give(pool.grant())
        pool.wait(1_000)
      }
      expect(snapshot(pool.state, pool.now()).panic).toBe(false)
      // After the panic, a breaker that opens is respected.
      pool.trip('primary')
      expect(pool.grant().keyId).not.toBe('primary')
    },
  )

  it('lengthens no cooldown, however many probes fail in it', () => {
    const pool = drivePool(['a'], { panicRatio: 0.5 })
    pool.trip('a')
    for (let round = 0; round < 10; round++) {
      pool.wait(MINUTE_MS)
      pool.fail(pool.grant())
    }
    expect(pool.key('a').breaker).toMatchObject({ kind: 'open', cooldownMs: MINUTE_MS })
  })

  it('puts off no probe: failures of an open key in panic leave its end where it was', () => {
    const pool = drivePool(['a'], { panicRatio: 0.5 })
    pool.trip('a')
    const before = pool.key('a').breaker
    pool.wait(MINUTE_MS / 2)
    for (let i = 0; i < 10; i++) pool.fail(pool.grant())
    expect(pool.key('a').breaker).toEqual(before)
  })

  it('ends by itself once upstream is well: probes close the breakers', () => {
    const pool = drivePool(five, { panicRatio: 0.5 })
    for (const id of five) pool.trip(id)
    pool.wait(MINUTE_MS)
    for (let i = 0; i < 20; i++) pool.give(pool.grant())
    expect(five.map((id) => pool.key(id).breaker.kind)).toEqual(five.map(() => 'closed'))
  })
})

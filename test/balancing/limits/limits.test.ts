import { describe, expect, it } from 'vitest'
import type { Grant } from '../../../src/balancing/lease-request.ts'
import { snapshot } from '../../../src/balancing/snapshot.ts'
import { ExactMinute } from '../exact-minute.ts'
import { drivePool, type PoolDriver, usageOf } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const MINUTE_MS = 60_000
const RPM = 60
const TPM = 10_000

/** How much of each limit is used, as operators see it. */
function fullness(pool: PoolDriver) {
  const [key] = snapshot(pool.state, pool.now()).keys
  if (key === undefined) throw new Error('No key')
  return {
    requests: Math.round((key.rpmUsed ?? 0) * RPM),
    tokens: Math.round((key.tpmUsed ?? 0) * TPM),
  }
}

/** Asks for a key about five times as often as its limits allow, and counts exactly what it got. */
function burst(seed: number, tokensOf: (random: () => number) => { asked: number; used: number }) {
  const random = seededRandom(seed)
  const pool = drivePool([{ id: 'a', rpm: RPM, tpm: TPM }], {}, random)
  const exact = new ExactMinute()
  const running: { lease: Grant; used: number; endsAtMs: number }[] = []
  const worst = { requests: 0, tokens: 0 }
  const look = () => {
    const taken = exact.since(pool.now() - MINUTE_MS)
    worst.requests = Math.max(worst.requests, taken.requests)
    worst.tokens = Math.max(worst.tokens, taken.tokens)
  }
  for (let i = 0; i < 1_500; i++) {
    // Bursts of ten in one moment, and pauses between them.
    if (i % 10 === 0) pool.wait(Math.floor(random() * 4_000))
    for (const { lease, used } of running.filter(({ endsAtMs }) => endsAtMs <= pool.now())) {
      pool.give(lease, { usage: usageOf(used, 0, 0) })
      exact.correct(lease.leaseId, used, pool.now())
    }
    running.splice(0, running.length, ...running.filter(({ endsAtMs }) => endsAtMs > pool.now()))
    const { asked, used } = tokensOf(random)
    const decision = pool.ask({ tokens: asked })
    if (decision.kind === 'grant') {
      exact.grant(decision.leaseId, asked, pool.now())
      running.push({ lease: decision, used, endsAtMs: pool.now() + random() * 20_000 })
      look()
    }
    const { requests, tokens } = fullness(pool)
    expect(Math.min(requests, tokens)).toBeGreaterThanOrEqual(0)
  }
  return { worst }
}

describe('rpm 60 and tpm 10,000 under bursts', () => {
  it.each([1, 2, 3])('hold in every minute, and are made use of (seed %i)', (seed) => {
    const { worst } = burst(seed, (random) => {
      const asked = 20 + Math.floor(random() * 300)
      return { asked, used: Math.floor(asked * random()) }
    })
    expect(worst.requests).toBeLessThanOrEqual(RPM)
    expect(worst.tokens).toBeLessThanOrEqual(TPM)
    expect(worst.requests).toBeGreaterThan(0.9 * RPM)
  })

  it.each([4, 5])('hold where the tokens are what runs out (seed %i)', (seed) => {
    const { worst } = burst(seed, (random) => {
      const asked = 300 + Math.floor(random() * 1_500)
      return { asked, used: asked }
    })
    expect(worst.tokens).toBeLessThanOrEqual(TPM)
    expect(worst.tokens).toBeGreaterThan(0.9 * TPM)
  })
})

describe('tokens per minute', () => {
  const pool = () => drivePool([{ id: 'a', tpm: TPM }])

  it('keep out a prompt that is larger than all of them, however empty the minute is', () => {
    expect(pool().refusal({ tokens: TPM + 1 })).toMatchObject({
      reasons: { at_tpm: 1 },
      retryAtMs: null,
    })
    expect(pool().ask({ tokens: TPM }).kind).toBe('grant')
  })

  it('are reserved before the answer is known: two large prompts do not slip in side by side', () => {
    const driven = pool()
    driven.grant({ tokens: 6_000 })
    expect(driven.refusal({ tokens: 6_000 }).reasons).toEqual({ at_tpm: 1 })
    expect(driven.ask({ tokens: 4_000 }).kind).toBe('grant')
  })

  it('that an answer did not use are free at once; those that it used beyond count from then on', () => {
    const driven = pool()
    const small = driven.grant({ tokens: 9_000 })
    driven.give(small, { usage: usageOf(400, 100, 0) })
    expect(fullness(driven).tokens).toBe(500)
    const large = driven.grant({ tokens: 500 })
    driven.wait(30_000)
    driven.give(large, { usage: usageOf(5_000, 4_000, 0) })
    expect(fullness(driven).tokens).toBe(9_500)
    // The tokens that were reserved at the grant leave the window first.
    driven.wait(30_100)
    expect(fullness(driven).tokens).toBe(8_500)
  })

  it('of a request that failed come back; of one whose client left they do not', () => {
    const driven = pool()
    driven.fail(driven.grant({ tokens: 3_000 }))
    expect(fullness(driven).tokens).toBe(0)
    driven.give(driven.grant({ tokens: 3_000 }), { outcome: 'ignorable', fault: 'nobody' })
    expect(fullness(driven).tokens).toBe(3_000)
  })

  it('are not pushed below zero by a correction that comes after their minute', () => {
    const driven = pool()
    const slow = driven.grant({ tokens: 8_000 })
    driven.wait(2 * MINUTE_MS)
    driven.give(slow, { usage: usageOf(10, 10, 0) })
    expect(fullness(driven).tokens).toBe(0)
    driven.grant({ tokens: TPM })
    expect(driven.refusal({ tokens: 1 }).reasons).toEqual({ at_tpm: 1 })
  })
})

describe('requests per minute', () => {
  it('name the moment when one may come again, which is true when tried', () => {
    const pool = drivePool([{ id: 'a', rpm: 2 }])
    pool.grant()
    pool.wait(20_000)
    pool.grant()
    const { retryAtMs, reasons } = pool.refusal()
    expect(reasons).toEqual({ at_rpm: 1 })
    if (retryAtMs === null) throw new Error('No moment')
    expect(retryAtMs - pool.now()).toBeGreaterThanOrEqual(40_000)
    expect(retryAtMs - pool.now()).toBeLessThanOrEqual(40_100)
    pool.at(retryAtMs - 100)
    pool.refusal()
    pool.at(retryAtMs)
    pool.grant()
    pool.refusal()
  })

  it('are counted by the key, not by who asks', () => {
    const pool = drivePool([{ id: 'a', rpm: 2 }, 'b'], { strategy: 'priority' })
    const served = ['one', 'two', 'three', 'four'].map((client) => pool.grant({ client }).keyId)
    expect(served).toEqual(['a', 'a', 'b', 'b'])
  })

  it('count attempts that failed: OpenRouter has counted them, too', () => {
    const pool = drivePool([{ id: 'a', rpm: 1 }])
    pool.fail(pool.grant())
    expect(pool.refusal().reasons).toEqual({ at_rpm: 1 })
  })
})

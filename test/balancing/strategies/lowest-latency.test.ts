import { describe, expect, it } from 'vitest'
import { lowestLatency } from '../../../src/balancing/strategies/lowest-latency.ts'
import type { PeakEwma } from '../../../src/balancing/strategies/peak-ewma.ts'
import { drivePool, type PoolDriver, START_MS } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'
import { choiceOf, hold, type Key, keyAt, nonEmpty, play, sharesOf } from './strategy-driver.ts'

const measured = (valueMs: number, agoMs = 0): PeakEwma => ({ valueMs, atMs: START_MS - agoMs })

const keysOf = (...latencies: (PeakEwma | null)[]): Key[] =>
  latencies.map((latency, position) => keyAt(position, { latency }))

interface Served {
  readonly key: string
  readonly atMs: number
}

/**
 * Serves a number of callers for a time. Each caller asks again as soon as it has its answer.
 * @param latencyMs how long an answer of a key takes at a moment, with up to a tenth more or less
 */
function serve(
  pool: PoolDriver,
  callers: number,
  forMs: number,
  latencyMs: (key: string, atMs: number) => number,
): Served[] {
  const random = seededRandom(99)
  const endMs = pool.now() + forMs
  const served: Served[] = []
  const running: { atMs: number; end: () => void }[] = []
  function begin(): void {
    const lease = pool.grant()
    served.push({ key: lease.keyId, atMs: pool.now() })
    const firstOutputMs = latencyMs(lease.keyId, pool.now()) * (0.9 + 0.2 * random())
    running.push({
      atMs: pool.now() + firstOutputMs,
      end: () => pool.give(lease, { firstOutputMs }),
    })
  }
  for (let i = 0; i < callers; i++) begin()
  while (pool.now() < endMs) {
    running.sort((a, b) => a.atMs - b.atMs)
    const next = running.shift()
    if (next === undefined) break
    pool.at(next.atMs)
    next.end()
    begin()
  }
  for (const { end } of running) end()
  return served
}

const pool = (ids: string, seed = 1) =>
  drivePool(ids.split(''), { strategy: 'lowest-latency' }, seededRandom(seed))

const countOf = (served: readonly Served[], key: string) =>
  served.filter((turn) => turn.key === key).length

describe('lowest-latency', () => {
  it('picks the faster of two idle keys', () => {
    for (const seed of [1, 2, 3]) {
      const keys = keysOf(measured(900), measured(300))
      expect(play(lowestLatency, 5, choiceOf(seed), () => keys)).toEqual([1, 1, 1, 1, 1])
    }
  })

  it('multiplies by what would be in flight, so that a fast key is not buried', () => {
    const keys = keysOf(measured(100), measured(500))
    hold(lowestLatency, 60, choiceOf(1), keys)
    // 100 × 50 and 500 × 10 are equal.
    expect(keys.map(({ inFlight }) => inFlight)).toEqual([50, 10])
  })

  it('takes turns between idle keys that are equally fast', () => {
    const keys = keysOf(measured(300), measured(300))
    expect(
      sharesOf(
        play(lowestLatency, 100, choiceOf(4), () => keys),
        keys,
      ),
    ).toEqual([50, 50])
  })

  it('draws two of many: the fastest gets most, only the slowest nothing', () => {
    const keys = keysOf(...[100, 200, 300, 400, 500].map((ms) => measured(ms)))
    const picks = play(lowestLatency, 10_000, choiceOf(5), () => keys)
    // Of the ten pairs the fastest key wins four, the next three, and so on. The standard deviation
    // is below 50.
    for (const [i, share] of sharesOf(picks, keys).entries()) {
      expect(Math.abs(share - (4 - i) * 1_000)).toBeLessThan(200)
    }
  })

  it('tries a key that is not measured as soon as it is drawn', () => {
    for (let seed = 0; seed < 50; seed++) {
      const keys = keysOf(measured(50), measured(50), measured(50), null)
      const picks = play(lowestLatency, 40, choiceOf(seed), () => keys)
      // Half of the pairs contain the key, so forty misses have a probability of 2^-40.
      expect(picks).toContain(3)
    }
  })

  it('tries it with one request, and no more until that has told', () => {
    for (let seed = 0; seed < 20; seed++) {
      const keys = keysOf(measured(5_000), measured(5_000), measured(5_000), null)
      const picks = hold(lowestLatency, 200, choiceOf(seed), keys)
      expect(sharesOf(picks, keys)[3]).toBe(1)
    }
  })

  it('spreads the first requests of a pool of which nothing is known', () => {
    const keys = keysOf(null, null, null, null)
    hold(lowestLatency, 40, choiceOf(2), keys)
    for (const { inFlight } of keys) expect(Math.abs(inFlight - 10)).toBeLessThanOrEqual(3)
  })

  it('scores latency times load, and nothing for a key that is not measured', () => {
    const choice = choiceOf(1)
    const score = (more: Partial<Key>) => lowestLatency.score(keyAt(0, more), choice)
    expect(score({ latency: measured(200), inFlight: 2 })).toBe(600)
    expect(score({ latency: measured(200, 30_000), inFlight: 0 })).toBeCloseTo(200 / Math.E, 9)
    expect(score({ inFlight: 5 })).toBeNull()
  })

  it('works with latencies of zero', () => {
    const keys = keysOf(measured(0), measured(0))
    expect(() => hold(lowestLatency, 10, choiceOf(1), keys)).not.toThrow()
    expect(lowestLatency.choose(nonEmpty(keysOf(measured(0))), choiceOf(1)).position).toBe(0)
  })

  // A decayed measurement would win every comparison until its renewal. A hundred requests would be
  // on this key before the first answer after the pause.
  it('tries a key whose measurement is from long ago with a few requests first', () => {
    const keys = keysOf(measured(500), measured(500, 10 * 60_000))
    hold(lowestLatency, 100, choiceOf(1), keys)
    expect(keys[1]?.inFlight).toBeLessThanOrEqual(75)
  })
})

describe('traffic under lowest-latency', () => {
  const fiveTimesSlower = (key: string) => (key === 'b' ? 1_000 : 200)

  it('goes evenly to keys that are equally fast', () => {
    for (const seed of [1, 2, 3]) {
      const served = serve(pool('abcd', seed), 12, 60_000, () => 200)
      for (const key of 'abcd') {
        const share = countOf(served, key) / served.length
        expect(Math.abs(share - 0.25)).toBeLessThan(0.04)
      }
    }
  })

  it('gives a key that is five times slower much less, but not nothing', () => {
    for (const seed of [1, 2, 3]) {
      const served = serve(pool('ab', seed), 12, 120_000, fiveTimesSlower)
      const share = countOf(served, 'b') / served.length
      // The loads are equal with about ten requests on a and one on b. An answer of b takes five
      // times as long, so b gets a twentieth at most.
      expect(share).toBeGreaterThan(0.01)
      expect(share).toBeLessThan(0.06)
    }
  })

  it('tries the slow key again now and then even if there is never more than one request', () => {
    const served = serve(pool('ab'), 1, 600_000, fiveTimesSlower)
    const turns = served.filter(({ key }) => key === 'b').map(({ atMs }) => atMs - START_MS)
    // A latency that is five times higher decays to a fifth in 48 s.
    const pauses = turns.slice(1).map((atMs, i) => atMs - (turns[i] ?? 0))
    expect(turns.length).toBeGreaterThan(8)
    expect(turns.length / served.length).toBeLessThan(0.01)
    expect(Math.max(...pauses)).toBeLessThan(60_000)
  })

  it('leaves a key that becomes slow with its first slow answer', () => {
    const slowFromMs = START_MS + 30_000
    const latency = (key: string, atMs: number) => (key === 'a' && atMs >= slowFromMs ? 4_000 : 200)
    const served = serve(pool('abc'), 6, 90_000, latency)
    const before = served.filter(({ atMs }) => atMs < slowFromMs)
    const knownMs = slowFromMs + 4_400
    const after = served.filter(({ atMs }) => atMs >= knownMs)
    expect(countOf(before, 'a') / before.length).toBeGreaterThan(0.25)
    expect(countOf(after, 'a') / after.length).toBeLessThan(0.02)
  })

  it('comes back to a key that is fast again', () => {
    const fastFromMs = START_MS + 60_000
    const latency = (key: string, atMs: number) => (key === 'a' && atMs < fastFromMs ? 4_000 : 200)
    const served = serve(pool('abc'), 6, 300_000, latency)
    const after = served.filter(({ atMs }) => atMs >= fastFromMs + 180_000)
    expect(Math.abs(countOf(after, 'a') / after.length - 1 / 3)).toBeLessThan(0.05)
  })
})

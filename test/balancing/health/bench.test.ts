import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Bench,
  benchOf,
  isActive,
  later,
  MAX_BENCH_MS,
  mayEndByLookup,
  reportedReason,
  withoutRejection,
} from '../../../src/balancing/health/bench.ts'
import type { BenchOrder, BenchTerm } from '../../../src/balancing/settlement.ts'
import { seededRandom } from '../seeded-random.ts'

const T = 1_800_000_000_000
const HOUR_MS = 3_600_000

const order = (term: BenchTerm): BenchOrder => ({
  scope: 'key',
  reason: 'account_rate_limited',
  term,
})

/** How long a term benches, with the least and with the most jitter, in milliseconds. */
function lengthsMs(term: BenchTerm, strikes = 0): (number | null)[] {
  return [0, 1 - Number.EPSILON].map((drawn) => {
    const { untilMs } = benchOf(order(term), strikes, T, () => drawn)
    return untilMs === null ? null : untilMs - T
  })
}

describe('an end that OpenRouter named', () => {
  it('is kept to the millisecond, whatever is drawn', () => {
    expect(lengthsMs({ kind: 'until', untilMs: T + 12_345 })).toEqual([12_345, 12_345])
    expect(benchOf(order({ kind: 'until', untilMs: T + 1 }), 0, T, () => 0.5)).toMatchObject({
      provenance: 'upstream',
      cure: 'time',
    })
  })

  it('is believed for the longest window of a spending cap, a month, and no longer', () => {
    const monthMs = 31 * 24 * HOUR_MS
    expect(lengthsMs({ kind: 'until', untilMs: T + monthMs })).toEqual([monthMs, monthMs])
    expect(lengthsMs({ kind: 'until', untilMs: Number.MAX_VALUE })[0]).toBe(MAX_BENCH_MS)
    expect(MAX_BENCH_MS).toBeLessThan(33 * 24 * HOUR_MS)
  })

  it('that is over already benches nothing', () => {
    const bench = benchOf(order({ kind: 'until', untilMs: T - HOUR_MS }), 0, T, () => 0.5)
    expect(isActive(bench, T)).toBe(false)
  })
})

describe('an end that we guessed', () => {
  it('is stretched by up to a fifth and never shortened', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: HOUR_MS }), fc.integer(), (forMs, seed) => {
        const { untilMs } = benchOf(order({ kind: 'for', forMs }), 0, T, seededRandom(seed))
        expect(untilMs).toBeGreaterThanOrEqual(T + forMs)
        expect(untilMs).toBeLessThanOrEqual(T + forMs * 1.2)
      }),
    )
  })

  it('sets keys that were benched in one instant free at different moments', () => {
    const random = seededRandom(1)
    const ends = Array.from(
      { length: 50 },
      () => benchOf(order({ kind: 'for', forMs: 60_000 }), 0, T, random).untilMs,
    )
    expect(new Set(ends).size).toBe(50)
  })

  it('is bounded too, jitter included', () => {
    for (const ms of lengthsMs({ kind: 'for', forMs: 2 * MAX_BENCH_MS })) {
      expect(ms).toBe(MAX_BENCH_MS)
    }
  })

  it.each([
    [0, 1_000],
    [1, 2_000],
    [2, 4_000],
    [5, 32_000],
    [6, 60_000],
    [50, 60_000],
    [5_000, 60_000],
  ])('after %i strikes backs off for %i ms and a little', (strikes, expectedMs) => {
    const [least, most] = lengthsMs({ kind: 'backoff', baseMs: 1_000, maxMs: 60_000 }, strikes)
    expect(least).toBe(expectedMs)
    expect(most).toBeGreaterThan(expectedMs)
    expect(most).toBeLessThanOrEqual(expectedMs * 1.2)
  })
})

describe('a bench that only a lookup cures', () => {
  it('has no end of its own', () => {
    const bench = benchOf(order({ kind: 'lookup', lapseMs: null }), 0, T, () => 0.5)
    expect(bench).toMatchObject({ untilMs: null, cure: 'lookup' })
    expect(isActive(bench, T + 10_000 * HOUR_MS)).toBe(true)
  })

  it('lapses where no lookup can be relied on', () => {
    const bench = benchOf(order({ kind: 'lookup', lapseMs: 300_000 }), 0, T, () => 0)
    expect(isActive(bench, T + 299_999)).toBe(true)
    expect(isActive(bench, T + 300_000)).toBe(false)
  })
})

describe('of two benches of one thing', () => {
  const anyBench = fc.option(fc.integer({ min: -1_000, max: 1_000 }), { freq: 4 }).map(
    (endsInMs): Bench => ({
      reason: 'account_rate_limited',
      untilMs: endsInMs === null ? null : T + endsInMs,
      cure: endsInMs === null ? 'lookup' : 'time',
      provenance: 'guess',
      sinceMs: T,
      hidden: null,
    }),
  )
  const endOf = (bench: Bench) => bench.untilMs ?? Number.POSITIVE_INFINITY

  it('the later end holds, whichever came first, and a bench is never shortened', () => {
    fc.assert(
      fc.property(anyBench, anyBench, (a, b) => {
        const end = endOf(later(a, b, T))
        if (isActive(a, T) || isActive(b, T)) expect(end).toBe(endOf(later(b, a, T)))
        if (isActive(a, T)) expect(end).toBe(Math.max(endOf(a), endOf(b)))
        expect(isActive(later(a, b, T), T)).toBe(isActive(a, T) || isActive(b, T))
      }),
    )
  })

  it('the new one holds when there was none', () => {
    fc.assert(
      fc.property(anyBench, (bench) => {
        expect(later(null, bench, T)).toBe(bench)
        expect(isActive(null, T)).toBe(false)
      }),
    )
  })

  it('ends by the clock: active until the very moment, and not at it', () => {
    const bench = benchOf(order({ kind: 'until', untilMs: T + 10 }), 0, T, () => 0)
    expect([9, 10].map((ms) => isActive(bench, T + ms))).toEqual([true, false])
  })
})

const bench = (told: Partial<Bench>): Bench => ({
  ...{ reason: 'key_rejected', untilMs: null, cure: 'lookup', provenance: 'guess' },
  ...{ sinceMs: T, hidden: null },
  ...told,
})

it.each([
  ['until', { kind: 'until', untilMs: T + 1 }, 'time', 'upstream'],
  ['for', { kind: 'for', forMs: 1 }, 'time', 'guess'],
  ['backoff', { kind: 'backoff', baseMs: 1, maxMs: 2 }, 'time', 'guess'],
  ['lookup', { kind: 'lookup', lapseMs: 1 }, 'lookup', 'guess'],
] as const)(
  'a bench by %s says what cures it and who named its end',
  (_, term, cure, provenance) => {
    const benched = benchOf({ ...order(term), detail: 'free_tier_spent' }, 0, T, () => 0)
    expect(benched).toMatchObject({ cure, provenance, detail: 'free_tier_spent', sinceMs: T })
    expect(benchOf(order(term), 0, T, () => 0)).not.toHaveProperty('detail')
  },
)

it.each([
  ['key_suspected', bench({ untilMs: T + 1 })],
  ['key_rejected', bench({})],
  ['key_spent', bench({ reason: 'key_spent', untilMs: T + 1 })],
  ['key_spent', bench({ reason: 'key_spent' })],
  ['free_tier_spent', bench({ reason: 'account_rate_limited', detail: 'free_tier_spent' })],
] as const)('is reported as %s', (reason, benched) => {
  expect(reportedReason(benched)).toBe(reason)
})

it.each([
  [true, bench({})],
  [true, bench({ reason: 'account_out_of_credit' })],
  [false, bench({ reason: 'account_rate_limited' })],
  [true, bench({ reason: 'account_rate_limited', detail: 'free_tier_spent' })],
  [
    false,
    bench({
      ...{ reason: 'account_rate_limited', detail: 'free_tier_spent', provenance: 'upstream' },
    }),
  ],
  [false, bench({ reason: 'account_rate_limited', detail: 'budget_layer_spent' })],
])('a lookup may end it: %s', (may, benched) => {
  expect(mayEndByLookup(benched)).toBe(may)
})

describe('a rejection that many keys share', () => {
  const LIMIT = bench({ reason: 'account_rate_limited', untilMs: T + 9_000, cure: 'time' })
  const SHORT = bench({ untilMs: T + 5_000, cure: 'time' })

  it.each([
    ['ends with time', bench({}), SHORT],
    ['ends sooner', bench({ untilMs: T + 60_000 }), SHORT],
    ['ends sooner, to the millisecond', bench({ untilMs: T + 5_001 }), SHORT],
    ['shows the longer bench that it covered', bench({ hidden: LIMIT }), LIMIT],
    [
      'shows itself where it lasts longer',
      bench({ hidden: { ...LIMIT, untilMs: T + 4_000 } }),
      { ...SHORT, hidden: { ...LIMIT, untilMs: T + 4_000 } },
    ],
  ])('%s', (_, before, after) => {
    expect(withoutRejection(before, T + 5_000, T)).toEqual(after)
  })

  it.each([
    ['no bench', null],
    ['one that has ended', bench({ untilMs: T })],
    ['one for another reason', LIMIT],
    ['one that ends sooner by itself', bench({ untilMs: T + 4_999 })],
  ])('is not %s', (_, before) => {
    expect(withoutRejection(before, T + 5_000, T)).toBe(before)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createWindow,
  fitsAtMs,
  giveBack,
  type SlidingWindow,
  take,
  takenWithin,
} from '../../../src/balancing/limits/sliding-window.ts'
import { ExactMinute } from '../exact-minute.ts'

const MINUTE_MS = 60_000
/** How late an amount may leave a window. It must never leave early. */
const ERROR_MS = 100
const T = 1_800_000_000_000

/** An amount that is taken, and how much of it is really used. */
interface Happening {
  readonly afterMs: number
  readonly amount: number
  readonly usedPercent: number
  readonly settledAfterMs: number
}

const anyHappenings: fc.Arbitrary<Happening[]> = fc.array(
  fc.record({
    // Gaps of all sizes: within one slot, across a few, and as long as the window itself.
    afterMs: fc.oneof(fc.nat({ max: 150 }), fc.nat({ max: 5_000 }), fc.nat({ max: 70_000 })),
    amount: fc.integer({ min: 0, max: 60 }),
    usedPercent: fc.constantFrom(0, 30, 100, 100, 250),
    settledAfterMs: fc.oneof(fc.nat({ max: 2_000 }), fc.nat({ max: 90_000 })),
  }),
  { maxLength: 60, size: 'max' },
)

/** A window next to an exact log of the same amounts. An amount that does not fit is not taken. */
class Twin {
  readonly window: SlidingWindow = createWindow()
  readonly exact = new ExactMinute()
  readonly limit: number
  nowMs = T
  readonly #open: { name: string; atMs: number; reserved: number; used: number; endMs: number }[] =
    []
  #takes = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /** @returns whether the amount fitted */
  happen({ afterMs, amount, usedPercent, settledAfterMs }: Happening): boolean {
    this.#passUntil(this.nowMs + afterMs)
    if (fitsAtMs(this.window, this.limit, amount, this.nowMs) !== this.nowMs) return false
    this.#takes += 1
    const name = `take-${this.#takes}`
    take(this.window, amount, this.nowMs)
    this.exact.grant(name, amount, this.nowMs)
    const used = Math.round((amount * usedPercent) / 100)
    const endMs = this.nowMs + settledAfterMs
    this.#open.push({ name, atMs: this.nowMs, reserved: amount, used, endMs })
    return true
  }

  takenSince(agoMs: number): number {
    return this.exact.since(this.nowMs - agoMs).tokens
  }

  #passUntil(untilMs: number): void {
    for (const next of this.#open.toSorted((a, b) => a.endMs - b.endMs)) {
      if (next.endMs > untilMs) break
      this.nowMs = next.endMs
      this.#open.splice(this.#open.indexOf(next), 1)
      const excess = next.used - next.reserved
      if (excess > 0) take(this.window, excess, this.nowMs)
      else giveBack(this.window, -excess, next.atMs, this.nowMs)
      this.exact.correct(next.name, next.used, this.nowMs)
    }
    this.nowMs = untilMs
  }
}

const anyLimit = fc.integer({ min: 1, max: 200 })

describe('a sliding window, beside an exact log of every take,', () => {
  it('never lets a minute hold more than the limit', () => {
    fc.assert(
      fc.property(anyLimit, anyHappenings, (limit, happenings) => {
        const twin = new Twin(limit)
        for (const happening of happenings) {
          const fitted = twin.happen(happening)
          if (fitted && happening.amount > 0) {
            expect(twin.takenSince(MINUTE_MS)).toBeLessThanOrEqual(limit)
          }
        }
      }),
      { numRuns: 200 },
    )
  })

  it('counts all of the last minute, and nothing that is a tenth of a second older', () => {
    fc.assert(
      fc.property(anyLimit, anyHappenings, (limit, happenings) => {
        const twin = new Twin(limit)
        for (const happening of happenings) {
          twin.happen(happening)
          const counted = takenWithin(twin.window, twin.nowMs)
          expect(counted).toBeGreaterThanOrEqual(twin.takenSince(MINUTE_MS))
          expect(counted).toBeLessThanOrEqual(twin.takenSince(MINUTE_MS + ERROR_MS))
        }
      }),
      { numRuns: 200 },
    )
  })

  it('is corrected without any part of it falling below zero, nor the sum from its parts', () => {
    fc.assert(
      fc.property(anyLimit, anyHappenings, (limit, happenings) => {
        const twin = new Twin(limit)
        for (const happening of happenings) {
          twin.happen(happening)
          const amounts = twin.window.slots.map(({ amount }) => amount)
          expect(Math.min(0, ...amounts)).toBe(0)
          expect(twin.window.total).toBe(amounts.reduce((sum, amount) => sum + amount, 0))
        }
      }),
      { numRuns: 200 },
    )
  })

  it('names the moment when there is room: it is true when tried, and hardly late', () => {
    fc.assert(
      fc.property(
        anyLimit,
        anyHappenings,
        fc.integer({ min: 1, max: 200 }),
        (limit, happenings, amount) => {
          const twin = new Twin(limit)
          for (const happening of happenings) twin.happen(happening)
          const { window, exact, nowMs } = twin
          const atMs = fitsAtMs(window, limit, amount, nowMs)
          if (amount > limit) {
            expect(atMs).toBeNull()
            return
          }
          if (atMs === null || atMs === nowMs) {
            expect(exact.since(nowMs - MINUTE_MS).tokens + amount).toBeLessThanOrEqual(limit)
            return
          }
          const taken = (ms: number) => takenWithin(structuredClone(window), ms)
          expect(taken(atMs) + amount).toBeLessThanOrEqual(limit)
          expect(taken(atMs - 1) + amount).toBeGreaterThan(limit)
          const earlierMs = atMs - ERROR_MS - 1
          if (earlierMs >= nowMs) {
            expect(exact.since(earlierMs - MINUTE_MS).tokens + amount).toBeGreaterThan(limit)
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('a sliding window', () => {
  it('lets go of what was taken after a minute, and at most a tenth of a second later', () => {
    const window = createWindow()
    take(window, 7, T)
    take(window, 5, T + 30)
    // The latest amount leaves to the millisecond, and one of its slot with it.
    expect(takenWithin(structuredClone(window), T + 30 + MINUTE_MS - 1)).toBe(12)
    expect(takenWithin(structuredClone(window), T + 30 + MINUTE_MS)).toBe(0)
    take(window, 1, T + 10_000)
    expect(takenWithin(window, T + MINUTE_MS + ERROR_MS - 1)).toBe(13)
    expect(takenWithin(window, T + MINUTE_MS + ERROR_MS)).toBe(1)
  })

  it('never tells who finds no room to wait for more than a minute', () => {
    fc.assert(
      fc.property(anyLimit, anyHappenings, fc.nat({ max: 200 }), (limit, happenings, amount) => {
        const twin = new Twin(limit)
        for (const happening of happenings) {
          twin.happen(happening)
          const atMs = fitsAtMs(twin.window, limit, amount, twin.nowMs)
          expect(atMs ?? 0).toBeLessThanOrEqual(twin.nowMs + MINUTE_MS)
        }
      }),
      { numRuns: 100 },
    )
  })

  it('lets no burst through at the seam of two minutes', () => {
    const window = createWindow()
    for (let i = 0; i < 60; i++) take(window, 1, T + MINUTE_MS - 1)
    for (let ms = 0; ms < 2_000; ms += 50) {
      expect(fitsAtMs(window, 60, 1, T + MINUTE_MS + ms)).toBe(T + 2 * MINUTE_MS - 1)
    }
  })

  it('gives back to the moment at which it was taken, so that the rest leaves when it should', () => {
    const window = createWindow()
    take(window, 60, T)
    take(window, 30, T + 20_000)
    giveBack(window, 50, T, T + 30_000)
    expect(takenWithin(window, T + 30_000)).toBe(40)
    expect(takenWithin(window, T + MINUTE_MS + ERROR_MS)).toBe(30)
  })

  it('has nothing to give back of what has left the window, or was never taken', () => {
    const window = createWindow()
    take(window, 60, T)
    take(window, 5, T + 50_000)
    giveBack(window, 60, T, T + 70_000)
    giveBack(window, 60, T + 40_000, T + 70_000)
    expect(takenWithin(window, T + 70_000)).toBe(5)
    giveBack(window, 60, T + 50_000, T + 70_000)
    expect(takenWithin(window, T + 70_000)).toBe(0)
  })

  it('neither takes nor gives back what is less than nothing', () => {
    const window = createWindow()
    take(window, 10, T)
    take(window, -5, T)
    giveBack(window, -5, T, T)
    expect(takenWithin(window, T)).toBe(10)
  })

  it('has room at once for nothing at all unless it is over its limit', () => {
    const window = createWindow()
    take(window, 10, T)
    expect(fitsAtMs(window, 10, 0, T)).toBe(T)
    take(window, 1, T)
    expect(fitsAtMs(window, 10, 0, T)).toBe(T + MINUTE_MS)
  })

  it('never says that there will be room for more than the limit by itself', () => {
    expect(fitsAtMs(createWindow(), 10, 11, T)).toBeNull()
    expect(fitsAtMs(createWindow(), 10, 10, T)).toBe(T)
  })

  it('holds its limit while a clock that was set back catches up', () => {
    const window = createWindow()
    const backMs = 30_000
    let taken = 0
    // By a correct clock this lasts one minute. The window's clock is set back during that minute.
    for (let ms = 0; ms < MINUTE_MS; ms += 500) {
      const nowMs = T + ms - (ms >= 10_000 ? backMs : 0)
      if (fitsAtMs(window, 30, 1, nowMs) === nowMs) {
        take(window, 1, nowMs)
        taken += 1
      }
      const slots = window.slots.map(({ slot }) => slot)
      expect(slots).toEqual(slots.toSorted((a, b) => a - b))
    }
    expect(taken).toBe(30)
  })

  it('gives back after its clock was set back, too, and nothing falls below zero', () => {
    const window = createWindow()
    take(window, 10, T)
    take(window, 10, T - 5_000)
    giveBack(window, 30, T - 5_000, T - 4_000)
    giveBack(window, 30, T, T - 4_000)
    expect(takenWithin(window, T - 4_000)).toBe(0)
    expect(takenWithin(window, T + 2 * MINUTE_MS)).toBe(0)
  })

  it('needs no more memory at a hundred takes a second than at ten', () => {
    const window = createWindow()
    for (let ms = 0; ms < 5 * MINUTE_MS; ms += 10) take(window, 1, T + ms)
    expect(window.slots.length).toBeLessThanOrEqual(601)
    expect(takenWithin(window, T + 5 * MINUTE_MS - 10)).toBeGreaterThanOrEqual(6_000)
  })
})

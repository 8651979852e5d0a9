import { expect, it } from 'vitest'
import type { Grant } from '../../../src/balancing/lease-request.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const STEP_MS = 100
/** How long a line of the batch takes at most, and a request of somebody who waits for it. */
const LINE_MS = 8_000
const REQUEST_MS = 2_000
const KEYS = ['a', 'b', 'c'].map((id) => ({ id, maxConcurrent: 4 }))
/** Half of all. */
const SHARE = 6

/** Requests that run, each until a moment. */
class Running {
  readonly #pool: PoolDriver
  readonly #leases: { readonly lease: Grant; readonly untilMs: number }[] = []

  constructor(pool: PoolDriver) {
    this.#pool = pool
  }

  get size(): number {
    return this.#leases.length
  }

  add(lease: Grant, ms: number): void {
    this.#leases.push({ lease, untilMs: this.#pool.now() + ms })
  }

  /** @returns how many have ended */
  endDue(): number {
    const due = this.#leases.filter(({ untilMs }) => untilMs <= this.#pool.now())
    for (const each of due) {
      this.#leases.splice(this.#leases.indexOf(each), 1)
      this.#pool.give(each.lease)
    }
    return due.length
  }
}

it('beside a batch of 5,000 lines nobody waits longer than for one lease, and without anybody it has its share within seconds', () => {
  const random = seededRandom(7)
  const pool = drivePool(KEYS, { queue: { maxWaitMs: 30_000 } })
  const [lines, requests] = [new Running(pool), new Running(pool)]
  const waiting = new Map<string, number>()
  const waitsMs: number[] = []
  let [left, done, asked] = [5_000, 0, 0]
  const step = (arriving: number) => {
    pool.wait(STEP_MS)
    done += lines.endDue()
    requests.endDue()
    for (const [lease, sinceMs] of waiting) {
      const decision = pool.inquire(lease)
      if (decision?.kind !== 'grant') continue
      waiting.delete(lease)
      waitsMs.push(pool.now() - sinceMs)
      requests.add(decision, REQUEST_MS)
    }
    for (let i = 0; i < arriving; i += 1) {
      asked += 1
      const decision = pool.ask({ lease: `request-${asked}`, waitMs: 30_000 })
      expect(['grant', 'waiting']).toContain(decision.kind)
      if (decision.kind === 'grant') requests.add(decision, REQUEST_MS)
      else waiting.set(`request-${asked}`, pool.now())
    }
    beginLines()
  }
  /** The batch asks at every turn, more greedily than consumers do. */
  const beginLines = () => {
    for (; left > 0; left -= 1) {
      const decision = pool.ask({ class: 'batch' })
      if (decision.kind !== 'grant') return
      lines.add(decision, LINE_MS * (0.3 + 0.7 * random()))
    }
  }
  for (let at = 0; at < 240_000; at += STEP_MS) {
    // A burst takes all keys at once; in between there is always somebody.
    const isBurst = at % 20_000 === 0
    step(isBurst ? 12 : Number(random() < 0.1))
    expect(lines.size).toBeLessThanOrEqual(SHARE)
  }
  expect(waitsMs.length).toBeGreaterThan(20)
  expect(Math.max(...waitsMs)).toBeLessThanOrEqual(LINE_MS + STEP_MS)
  // It does not stand still meanwhile.
  expect(done).toBeGreaterThan(100)
  let emptyMs = 0
  while (requests.size > 0 || waiting.size > 0) step(0)
  while (lines.size < SHARE) {
    step(0)
    emptyMs += STEP_MS
  }
  expect(emptyMs).toBeLessThanOrEqual(3_000)
})

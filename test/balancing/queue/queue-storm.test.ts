import { expect, it } from 'vitest'
import { takeDecided } from '../../../src/balancing/pool.ts'
import { drivePool } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

const MINUTE_MS = 60_000
const STEP_MS = 10

/** Then the app sends nothing more, and what it has sent is served or out of time. The storm goes on. */
const REST_MS = 12_000

/**
 * A minute of virtual time at busy keys: an app that needs two thirds of them, and a client that sends
 * as much again and more, under a hundred names that no model has. Returns the app's success rate.
 */
function successRate(stormPerSecond: number, seed: number): number {
  const random = seededRandom(seed)
  const pool = drivePool(
    Array.from({ length: 6 }, (_, i) => ({ id: `k${i}`, maxConcurrent: 4 })),
    {},
    random,
  )
  const ends: { atMs: number; end: () => void }[] = []
  const waiting = new Map<string, string>()
  let [asked, served, minted] = [0, 0, 0]

  function call(lease: ReturnType<typeof pool.grant>, client: string): void {
    const isApp = client === 'app'
    if (isApp) served += 1
    // An unknown model is refused soon, by a mistake of the caller.
    const atMs = pool.now() + (isApp ? 1_000 : 200)
    ends.push({ atMs, end: () => (isApp ? pool.give(lease) : pool.shrug(lease)) })
  }

  function send(client: string, model: string): void {
    minted += 1
    const lease = `l${minted}`
    if (client === 'app') asked += 1
    const answer = pool.ask({ lease, client, model, waitMs: 10_000 })
    if (answer.kind === 'grant') call(answer, client)
    else if (answer.kind === 'waiting') waiting.set(lease, client)
  }

  function hear(lease: string): void {
    const client = waiting.get(lease)
    if (client === undefined) return
    const answer = pool.inquire(lease)
    if (answer?.kind === 'waiting') return
    waiting.delete(lease)
    if (answer?.kind === 'grant') call(answer, client)
  }

  for (let passedMs = 0; passedMs < MINUTE_MS + REST_MS; passedMs += STEP_MS) {
    pool.wait(STEP_MS)
    for (const due of ends.filter(({ atMs }) => atMs <= pool.now())) due.end()
    ends.splice(0, ends.length, ...ends.filter(({ atMs }) => atMs > pool.now()))
    pool.wake()
    for (const lease of takeDecided(pool.state)) hear(lease)
    if (passedMs % 1_000 === 0) for (const lease of [...waiting.keys()]) hear(lease)
    const isOn = passedMs < MINUTE_MS
    if (isOn && random() < (16 * STEP_MS) / 1_000) send('app', 'vendor/model')
    for (let due = (stormPerSecond * STEP_MS) / 1_000; random() < due; due -= 1) {
      send('storm', `invented/${Math.floor(100 * random())}`)
    }
  }
  return served / asked
}

it('a storm of a hundred invented names leaves another client’s success rate where it was', () => {
  for (const seed of [1, 2]) {
    const calm = successRate(0, seed)
    expect(calm).toBe(1)
    expect(successRate(200, seed)).toBeGreaterThan(calm - 0.01)
  }
})

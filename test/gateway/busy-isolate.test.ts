import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../balancing/seeded-random.ts'
import { HELLO } from './stream-texts.ts'
import { errorAnswer, openStream, streamOf } from './upstream-script.ts'
import { createVirtualWorld, keyOf, type Sent, type VirtualWorld } from './virtual-world.ts'

const CHAT = 'chat/completions'

const ROOMY = [
  { id: 'a', account: 'acme', maxConcurrent: 1_000, rpm: 100_000 },
  { id: 'b', account: 'acme', maxConcurrent: 1_000, rpm: 100_000 },
  { id: 'c', account: 'globex', maxConcurrent: 1_000, rpm: 100_000 },
]

function busyWorld(options: Parameters<typeof createVirtualWorld>[0] = {}) {
  const world = createVirtualWorld({ keys: ROOMY, strategy: 'least-busy', ...options })
  world.upstream.on(CHAT, { ...streamOf(HELLO), headersAfterMs: 100 })
  return world
}

/** Sends a request each `everyMs`, and returns them all. */
async function stream(world: VirtualWorld, count: number, everyMs: number, given = {}) {
  const sent: Sent[] = []
  for (let i = 0; i < count; i++) {
    sent.push(world.send(given))
    await world.time.advance(everyMs)
  }
  return sent
}

function lastOf({ upstream }: VirtualWorld) {
  const last = upstream.calls.at(-1)
  if (last === undefined) throw new Error('No call')
  return last
}

/** What is in flight once the pool has looked at the clock: it does so when it is called. */
async function inFlight(world: VirtualWorld): Promise<number> {
  await world.pool.snapshot()
  return world.pool.inFlight()
}

const outcomes = (sent: readonly Sent[]) => new Set(sent.map((one) => one.report()?.outcome))

describe('a busy isolate', () => {
  it('asks the pool for one request in ten or fewer, and all are served and settled', async () => {
    const world = busyWorld()
    await stream(world, 150, 10)
    const before = world.pool.exchanges()
    const sent = await stream(world, 200, 10)
    expect(world.pool.exchanges() - before).toBeLessThanOrEqual(20)
    await world.time.advance(10_000)
    expect(outcomes(sent)).toEqual(new Set(['answered']))
    expect(await inFlight(world)).toBe(0)
    expect(world.pool.state.leases.live.size).toBe(0)
    const tally = world.pool.state.ledger.all
    expect(tally.total.attempts).toBe(350)
    expect(world.time.openTimers()).toBe(0)
    expect(world.pool.bugs).toEqual([])
  })

  it('waits for no exchange in the middle of a request, even if the object has become slow', async () => {
    const world = busyWorld()
    await stream(world, 80, 20)
    world.pool.connect([], 1_000)
    const sent = world.send()
    await world.time.advance(101)
    await sent.whole()
    expect(sent.report()).toMatchObject({ outcome: 'answered', timings: { acquire: 0 } })
  })

  it('spreads its requests as the strategy does', async () => {
    const world = busyWorld()
    await stream(world, 180, 20)
    const used = Object.groupBy(world.upstream.calls.slice(90), keyOf)
    const counts = Object.values(used).map((calls) => calls?.length ?? 0)
    expect(counts).toHaveLength(3)
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(4)
  })

  it('keeps conversations with their account', async () => {
    const world = busyWorld()
    const accountOf = new Map(ROOMY.map(({ id, account }) => [id, account]))
    const homes = new Map<string, string | undefined>()
    let moves = 0
    for (let i = 0; i < 300; i++) {
      const id = `conversation-${i % 12}`
      const sent = world.send({ affinity: { kind: 'conversation', id } })
      await world.time.advance(20)
      const account = accountOf.get(sent.report()?.attempts[0]?.key ?? keyOf(lastOf(world)))
      if (homes.has(id) && homes.get(id) !== account) moves += 1
      homes.set(id, account)
    }
    expect(new Set(homes.values()).size).toBe(2)
    expect(moves).toBeLessThanOrEqual(6)
    expect(world.pool.exchanges()).toBeLessThanOrEqual(400)
  })

  it('uses a limit to its end: what is held ahead is for whoever comes', async () => {
    const keys = [{ id: 'a', rpm: 200 }]
    const world = busyWorld({ keys, queue: { maxWaitMs: 0 } })
    const steady = await stream(world, 90, 20)
    const burst = Array.from({ length: 80 }, () => world.send())
    const others = Array.from({ length: 80 }, () => world.send({ model: 'vendor/other' }))
    await world.time.advance(1_000)
    const answered = [...steady, ...burst, ...others].filter(
      (one) => one.report()?.outcome === 'answered',
    )
    expect(answered).toHaveLength(200)
  })

  it('gives leases back at once while somebody waits for them', async () => {
    const keys = [{ id: 'a', maxConcurrent: 20 }]
    const world = busyWorld({ keys })
    await stream(world, 100, 20)
    world.upstream.on(CHAT, openStream(HELLO))
    const holding = await stream(world, 20, 1)
    const waiting = world.send({ isolate: 1 })
    await world.time.advance(1_000)
    expect(waiting.report()).toBeNull()
    expect(world.pool.waiting()).toBe(1)
    // One that this isolate itself has no lease for, so that it knows.
    const own = world.send()
    await world.time.advance(10)
    world.upstream.on(CHAT, streamOf(HELLO))
    for (const call of world.upstream.calls.slice(-20)) call.finish('close')
    await world.time.advance(20)
    expect(waiting.report()?.outcome).toBe('answered')
    expect(own.report()?.outcome).toBe('answered')
    expect(outcomes(holding)).toEqual(new Set(['answered']))
  })

  it('gives leases back at once while requests of another isolate wait for them', async () => {
    const world = busyWorld({ keys: [{ id: 'a', maxConcurrent: 20 }] })
    await stream(world, 100, 20)
    await world.time.advance(150)
    const stocked = await inFlight(world)
    expect(stocked).toBeGreaterThan(5)
    world.upstream.on(CHAT, openStream(HELLO))
    const before = world.upstream.calls.length
    world.send()
    for (let i = 0; i < 25; i++) world.send({ isolate: 1 })
    await world.time.advance(1)
    expect(world.pool.waiting()).toBeGreaterThan(5)
    await world.time.advance(550)
    expect(world.upstream.calls.length - before).toBe(20)
  })

  it('takes no more leases of a key that it has just seen to fail', async () => {
    const world = busyWorld({ pool: { breaker: BREAKER } })
    await stream(world, 80, 20)
    world.upstream.on(CHAT, errorAnswer(401, 'No auth'), { ...streamOf(HELLO), headersAfterMs: 5 })
    const sent = world.send()
    await world.time.advance(50)
    const failed = sent.report()?.attempts[0]?.key
    const since = world.upstream.calls.length
    world.upstream.on('key', errorAnswer(401, 'No auth'))
    await stream(world, 30, 20)
    expect(world.upstream.calls.slice(since).map(keyOf)).not.toContain(failed)
  })

  it('gives back what it did not use, and the minute with it', async () => {
    const world = busyWorld({ keys: [{ id: 'a', maxConcurrent: 1_000, rpm: 1_000 }] })
    await stream(world, 80, 20)
    await world.time.advance(5_000)
    expect(await inFlight(world)).toBe(0)
    const [key] = [...world.pool.state.keys.values()]
    expect(key?.rpm?.window.total).toBe(80)
  })

  it('of a long answer, it tells that it lives, and its lease stays', async () => {
    const world = busyWorld()
    await stream(world, 80, 20)
    world.upstream.on(CHAT, openStream(HELLO))
    const long = world.send()
    await world.time.advance(20_000)
    expect(long.report()).toBeNull()
    expect(await inFlight(world)).toBe(1)
    world.upstream.calls.at(-1)?.finish('close')
    await world.time.advance(5_000)
    expect(await inFlight(world)).toBe(0)
  })

  it('loses nothing when an exchange with what it owes is lost', async () => {
    const world = busyWorld()
    await stream(world, 80, 20)
    world.pool.connect(['unreachable', 'answer_lost'], 'answers')
    const sent = await stream(world, 80, 20)
    await world.time.advance(10_000)
    expect(outcomes(sent)).toEqual(new Set(['answered']))
    expect(await inFlight(world)).toBe(0)
    expect(world.pool.state.ledger.all.total.attempts).toBe(160)
  })

  it('goes on through a restart of the object, with every answer booked once', async () => {
    const world = busyWorld()
    const before = await stream(world, 80, 20)
    world.pool.restart()
    const after = await stream(world, 80, 20)
    await world.time.advance(30_000)
    expect(outcomes([...before, ...after])).toEqual(new Set(['answered']))
    expect(await inFlight(world)).toBe(0)
    expect(world.pool.state.leases.live.size).toBe(0)
  })
})

const BREAKER = { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 }

describe('an isolate that falls silent', () => {
  it('has its leases taken from it after almost three seconds: concurrency is free, and unused minutes too', async () => {
    const world = busyWorld({
      keys: [{ id: 'a', maxConcurrent: 100, rpm: 1_000 }],
    })
    await stream(world, 80, 20)
    world.upstream.on(CHAT, openStream(HELLO))
    const running = [world.send(), world.send()]
    await world.time.advance(300)
    const [key] = [...world.pool.state.keys.values()]
    expect(key?.inFlight).toBeGreaterThanOrEqual(2)
    // As if the process had been killed: nothing that it sends arrives any more.
    world.silence(0)
    await world.time.advance(3_100)
    world.upstream.on(CHAT, streamOf(HELLO))
    const other = world.send({ isolate: 1 })
    await world.time.advance(100)
    expect(other.report()?.outcome).toBe('answered')
    await world.time.advance(300)
    expect(key?.inFlight).toBe(0)
    expect(key?.rpm?.window.total).toBe(83)
    expect(running.map((one) => one.report())).toEqual([null, null])
  })
})

describe('an isolate with a request now and then, which asks for each lease', () => {
  const ONE_PLACE = [{ id: 'a', maxConcurrent: 1, rpm: 10 }]

  async function withLongAnswer(keys: Parameters<typeof createVirtualWorld>[0]) {
    const world = busyWorld(keys)
    world.upstream.on(CHAT, openStream(HELLO))
    const long = world.send()
    await world.time.advance(1_500)
    expect(long.report()).toBeNull()
    world.upstream.on(CHAT, streamOf(HELLO))
    return { world, long }
  }

  it('has its lease taken from it when it is silent for almost three seconds, and who waits is served', async () => {
    const { world, long } = await withLongAnswer({ keys: ONE_PLACE })
    world.silence(0)
    const diedAtMs = world.time.nowMs()
    const other = world.send({ isolate: 1 })
    await world.time.runUntil(() => other.report() !== null, 60_000)
    expect(other.report()?.outcome).toBe('answered')
    expect(world.time.nowMs() - diedAtMs).toBeLessThanOrEqual(3_000)
    // What its request took of the minute stays charged: OpenRouter has had it.
    expect([...world.pool.state.keys.values()][0]?.rpm?.window.total).toBe(2)
    expect(long.report()).toBeNull()
  })

  it('keeps its lease through a long answer, whoever else would like the place', async () => {
    const { world, long } = await withLongAnswer({ keys: ONE_PLACE })
    const other = world.send({ isolate: 1 })
    await world.time.advance(9_000)
    expect(other.report()).toBeNull()
    world.upstream.calls[0]?.finish('close')
    await world.time.advance(100)
    expect(long.report()?.outcome).toBe('answered')
    expect(other.report()?.outcome).toBe('answered')
  })

  it('keeps the lease that it had to wait for', async () => {
    const { world } = await withLongAnswer({ keys: ONE_PLACE })
    world.upstream.on(CHAT, openStream(HELLO))
    const waited = world.send({ isolate: 1 })
    await world.time.advance(5_000)
    world.upstream.calls[0]?.finish('close')
    await world.time.advance(20_000)
    expect(waited.report()).toBeNull()
    expect(await inFlight(world)).toBe(1)
  })

  it('takes its lease up again after a silence in which nobody else needed it, at no further charge', async () => {
    const { world, long } = await withLongAnswer({ keys: ONE_PLACE })
    world.pool.connect(Array.from({ length: 5 }, () => 'unreachable'))
    await world.time.advance(5_000)
    await world.time.advance(10_000)
    expect(await inFlight(world)).toBe(1)
    const [key] = [...world.pool.state.keys.values()]
    expect(key?.rpm?.window.total).toBe(1)
    world.upstream.calls[0]?.finish('close')
    await world.time.advance(3_000)
    expect(long.report()?.outcome).toBe('answered')
    expect(await inFlight(world)).toBe(0)
    expect(world.pool.state.ledger.all.total.attempts).toBe(1)
  })

  it('tells of all its requests with one word a second', async () => {
    const world = busyWorld()
    world.upstream.on(CHAT, openStream(HELLO))
    const sent = Array.from({ length: 50 }, () => world.send())
    await world.time.advance(500)
    const before = world.pool.exchanges()
    await world.time.advance(20_000)
    expect(world.pool.exchanges() - before).toBeLessThanOrEqual(25)
    expect(await inFlight(world)).toBe(50)
    for (const call of world.upstream.calls) call.finish('close')
    await world.time.advance(5_000)
    expect(outcomes(sent)).toEqual(new Set(['answered']))
    expect(world.time.openTimers()).toBe(0)
  })
})

describe('whatever isolates of one pool do', () => {
  const KEYS = [
    { id: 'a', account: 'acme', maxConcurrent: 12, rpm: 200 },
    { id: 'b', account: 'globex', maxConcurrent: 20, tpm: 20_000 },
  ]
  const STRATEGIES = ['least-busy', 'priority', 'lowest-usage'] as const

  it('no key ever has more calls at once, or in any minute, than its limits allow', async () => {
    const plan = fc.record({
      seed: fc.nat(),
      strategy: fc.constantFrom(...STRATEGIES),
      everyMs: fc.integer({ min: 5, max: 60 }),
      answerMs: fc.integer({ min: 1, max: 400 }),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ seed, strategy, everyMs, answerMs }) => {
        const random = seededRandom(seed)
        const world = createVirtualWorld({ keys: KEYS, strategy, random })
        world.upstream.on(CHAT, { ...streamOf(HELLO), headersAfterMs: answerMs })
        const peaks = new Map<string, number>()
        for (let i = 0; i < 150; i++) {
          const tokens = Math.floor(random() * 400)
          world.send({ isolate: Math.floor(random() * 3), tokens })
          await world.time.advance(everyMs)
          for (const { id } of KEYS) {
            const open = world.upstream.calls.filter((call) => keyOf(call) === id && call.isOpen)
            peaks.set(id, Math.max(peaks.get(id) ?? 0, open.length))
          }
        }
        for (const { id, maxConcurrent, rpm } of KEYS) {
          expect(peaks.get(id) ?? 0).toBeLessThanOrEqual(maxConcurrent)
          const times = world.upstream.calls.filter((call) => keyOf(call) === id).map((c) => c.atMs)
          const inMinute = times.map((at) => times.filter((t) => t >= at && t < at + 60_000).length)
          expect(Math.max(0, ...inMinute)).toBeLessThanOrEqual(rpm ?? Number.POSITIVE_INFINITY)
        }
        await world.time.advance(700_000)
        expect(await inFlight(world)).toBe(0)
        expect(world.pool.state.leases.live.size).toBe(0)
        expect(world.pool.bugs).toEqual([])
      }),
      { numRuns: 12 },
    )
  })
})

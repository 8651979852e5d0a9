import { describe, expect, it } from 'vitest'
import { leaseRequestOf } from '../balancing/pool-driver.ts'
import { HELLO } from './stream-texts.ts'
import { errorAnswer, openStream, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type Sent, START_MS, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'
const WAIT_MS = 10_000

/** A world with one key for one request at a time. A first request holds it until `free`. */
async function occupied(options: WorldOptions = {}) {
  const world = createVirtualWorld({
    keys: [{ id: 'a', maxConcurrent: 1 }],
    queue: { maxWaitMs: WAIT_MS, maxWaiting: 10 },
    ...options,
  })
  world.upstream.on(CHAT, openStream(HELLO), streamOf(HELLO))
  const first = world.send()
  await world.time.drain()
  /** Ends the answer to the first request. */
  const free = () => world.upstream.calls[0]?.finish('close')
  return { world, first, free }
}

type World = Awaited<ReturnType<typeof occupied>>['world']

/** Sends a request that has to wait in the queue. */
async function lineUp(world: World, signal?: AbortSignal): Promise<Sent> {
  const sent = world.send(signal === undefined ? {} : { signal })
  await world.time.drain()
  expect(sent.report()).toBeNull()
  return sent
}

describe('a request for which no key is free', () => {
  it('gets the key as soon as it is given back, and says how long it waited', async () => {
    const { world, free } = await occupied()
    const sent = await lineUp(world)
    await world.time.advance(3_456)
    expect(world.upstream.calls).toHaveLength(1)
    free()
    const report = await world.finish(sent)
    expect(report).toMatchObject({ outcome: 'answered', timings: { wait: 3_456, acquire: 0 } })
    const { status, headers } = await sent.whole()
    expect(status).toBe(200)
    expect(headers.get('server-timing')).toContain('wait;dur=3456')
    expect(world.upstream.calls[1]?.atMs).toBe(START_MS + 3_456)
    expect(world.pool.inFlight()).toBe(0)
  })

  it('waits no longer than it may, and then hears when to come back', async () => {
    const { world } = await occupied()
    const sent = await lineUp(world)
    const report = await world.finish(sent)
    expect(report).toMatchObject({ outcome: 'failed', timings: { wait: WAIT_MS } })
    const { status, headers, text } = await sent.whole()
    expect(status).toBe(429)
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect(JSON.parse(text).error.metadata).toMatchObject({
      reason: 'no_key_available',
      reasons: { at_max_concurrent: 1 },
    })
    expect(world.pool.waiting()).toBe(0)
  })

  it('waits no longer than its own deadline', async () => {
    const { world, free } = await occupied({ timeouts: { totalMs: 4_000 } })
    free()
    await world.time.drain()
    // Another client's lease takes the key. Its request has a later deadline.
    const lease = world.pool.exchange({
      version: 1,
      wants: [leaseRequestOf({}, 'somebody')],
      settlements: [],
      lookups: [],
    })
    await world.time.drain()
    expect(await lease).toMatchObject({ value: { decisions: [{ kind: 'grant' }] } })
    const sent = await lineUp(world)
    await world.finish(sent)
    expect(sent.report()).toMatchObject({ outcome: 'failed', timings: { wait: 4_000 } })
  })

  it('does not wait where nothing is going to change', async () => {
    const { world } = await occupied({ keys: [{ id: 'a', disabled: true }] })
    const sent = world.send()
    await world.time.drain()
    expect(sent.report()).toMatchObject({ outcome: 'failed', timings: { wait: 0 } })
  })

  it('after its first key failed waits for another one', async () => {
    const { world, free } = await occupied({ keys: [{ id: 'b', maxConcurrent: 1 }, 'a'] })
    const spent = errorAnswer(403, 'Key limit exceeded (total limit)')
    world.upstream.on(CHAT, spent, streamOf(HELLO))
    const sent = await lineUp(world)
    expect(world.keysCalled()).toEqual(['b', 'a'])
    await world.time.advance(2_000)
    free()
    const report = await world.finish(sent)
    expect(report).toMatchObject({ outcome: 'answered', timings: { wait: 2_000 } })
    expect(world.keysCalled()).toEqual(['b', 'a', 'b'])
  })
})

describe('a client that leaves while it waits', () => {
  it('gives up its place at once, to whoever comes next', async () => {
    const { world, free } = await occupied()
    const client = new AbortController()
    const gone = await lineUp(world, client.signal)
    const next = await lineUp(world)
    await world.time.advance(1_500)
    client.abort()
    await world.time.drain()
    expect(gone.report()).toMatchObject({ outcome: 'client_gone', attempts: [] })
    expect(world.pool.waiting()).toBe(1)
    free()
    expect((await world.finish(next)).outcome).toBe('answered')
    expect(world.upstream.calls).toHaveLength(2)
    expect(world.pool.inFlight()).toBe(0)
    expect(world.pool.unsettled()).toEqual([])
  })

  it('in the moment in which it is served costs no call, and gives the key back', async () => {
    const { world, free } = await occupied()
    const client = new AbortController()
    const gone = await lineUp(world, client.signal)
    free()
    client.abort()
    await world.finish(gone)
    expect(world.upstream.calls).toHaveLength(1)
    expect(world.pool.inFlight()).toBe(0)
    expect(world.pool.unsettled()).toEqual([])
  })
})

const CHECKPOINT_MS = 5_000

describe('a pool that is lost while requests wait', () => {
  it('by a restart has them line up at the new one, for the rest of their time', async () => {
    const { world, free } = await occupied()
    // A checkpoint has to know the lease that occupies the key.
    await world.time.advance(CHECKPOINT_MS)
    const sent = await lineUp(world)
    await world.time.advance(4_500)
    world.pool.restart()
    await world.time.drain()
    expect(world.pool.waiting()).toBe(1)
    await world.time.advance(WAIT_MS - 4_500 - 1)
    expect(sent.report()).toBeNull()
    free()
    expect(await world.finish(sent)).toMatchObject({ outcome: 'answered', degraded: false })
    expect(world.pool.inFlight()).toBe(0)
  })

  it('between two questions has them line up likewise, and wait no longer for it', async () => {
    const { world } = await occupied()
    // A checkpoint has to know the lease that occupies the key.
    await world.time.advance(CHECKPOINT_MS)
    const sent = await lineUp(world)
    // The next `whenDecided` is on its way when the object restarts. It reaches the new object.
    world.pool.connect([1])
    await world.time.advance(1_000)
    world.pool.restart()
    await world.time.advance(1)
    expect(world.pool.waiting()).toBe(1)
    expect(await world.finish(sent)).toMatchObject({
      outcome: 'failed',
      degraded: false,
      timings: { wait: WAIT_MS },
    })
  })

  it('with the lease that it had just granted: it is granted once', async () => {
    const { world, free } = await occupied()
    const sent = await lineUp(world)
    world.pool.connect(['answer_lost'])
    await world.time.advance(1_000)
    free()
    expect(await world.finish(sent)).toMatchObject({ outcome: 'answered', degraded: false })
    expect(world.upstream.calls).toHaveLength(2)
    expect(world.pool.inFlight()).toBe(0)
  })

  it('for longer leaves them to go on without it', async () => {
    const { world } = await occupied()
    const sent = await lineUp(world)
    world.pool.connect([], 'unreachable')
    expect(await world.finish(sent)).toMatchObject({ outcome: 'answered', degraded: true })
    expect((await sent.whole()).headers.get('x-switchyard-degraded')).toBe('pool')
  })

  it('again and again leaves them to go on without it, although it answers in between', async () => {
    const { world, free } = await occupied()
    free()
    await world.time.drain()
    // Somebody else has the key, of whom the pool goes on to hear.
    void world.pool.exchange({
      version: 1,
      wants: [leaseRequestOf({}, 'somebody')],
      settlements: [],
      lookups: [],
    })
    await world.time.drain()
    const sent = await lineUp(world)
    world.pool.connect(['unreachable', 'answers', 'unreachable', 'answers', 'unreachable'])
    await world.time.advance(1_000)
    await world.time.advance(3 * 2_000 - 1)
    expect(sent.report()).toBeNull()
    await world.time.advance(1)
    expect(await world.finish(sent)).toMatchObject({ outcome: 'answered', degraded: true })
  })

  it('for longer, under `closed`, ends in a 503', async () => {
    const { world } = await occupied({ onPoolUnavailable: 'closed' })
    const sent = await lineUp(world)
    world.pool.connect([], 'unreachable')
    await world.finish(sent)
    expect((await sent.whole()).status).toBe(503)
  })
})

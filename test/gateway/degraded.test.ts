import { describe, expect, it } from 'vitest'
import { HELLO, said } from './stream-texts.ts'
import { errorAnswer, openStream, streamOf } from './upstream-script.ts'
import {
  createVirtualWorld,
  START_MS,
  type VirtualWorld,
  type WorldOptions,
} from './virtual-world.ts'

const CHAT = 'chat/completions'
const GOOD = streamOf(HELLO)
const KEY_SPENT = errorAnswer(403, 'Key limit exceeded (total limit)')
const OUT_OF_CREDIT = errorAnswer(402, 'Insufficient credits')

function withoutPool(options: WorldOptions = {}): VirtualWorld {
  const world = createVirtualWorld(options)
  world.pool.connect([], 'unreachable')
  world.upstream.on(CHAT, GOOD)
  return world
}

async function ask(world: VirtualWorld) {
  const sent = world.send()
  const report = await world.finish(sent)
  return { report, ...(await sent.whole()) }
}

describe('while the pool cannot be reached', () => {
  it('a request goes on after two seconds, and says so', async () => {
    const world = withoutPool()
    const { report, headers, text } = await ask(world)
    expect(world.upstream.calls[0]?.atMs).toBe(START_MS + 2_000)
    expect(text).toBe(HELLO)
    expect(headers.get('x-switchyard-degraded')).toBe('pool')
    expect(headers.get('x-switchyard-key')).toBe('a')
    expect(report.degraded).toBe(true)
  })

  it('one request at a time finds out whether it is back; the others go on at once', async () => {
    const world = withoutPool()
    await ask(world)
    await world.time.advance(5_000)
    const asked = world.pool.exchanges()
    const beganMs = world.time.nowMs()
    const waits = Array.from({ length: 5 }, () => world.send())
    await Promise.all(waits.map((sent) => world.finish(sent)))
    const tookMs = world.upstream.calls.slice(1).map(({ atMs }) => atMs - beganMs)
    expect(tookMs).toEqual([0, 0, 0, 0, 2_000])
    expect(world.pool.exchanges()).toBe(asked + 1)
  })

  it('keys are taken in turn', async () => {
    const world = withoutPool({ keys: ['a', 'b', { id: 'x', disabled: true }, 'c'] })
    for (let i = 0; i < 6; i++) await ask(world)
    expect(world.keysCalled()).toEqual(['a', 'b', 'c', 'a', 'b', 'c'])
  })

  it('a route keeps to its keys, and has none where those are ruled out', async () => {
    const keys = ['a', { id: 'b', tags: ['team'] }, { id: 'c', account: 'acme', tags: ['team'] }]
    const routes: WorldOptions['routes'] = [
      { models: ['vendor/model'], keys: ['tag:team'] },
      { models: ['vendor/acme'], keys: ['account:acme'] },
    ]
    const world = withoutPool({ keys, routes })
    for (let i = 0; i < 4; i++) await ask(world)
    expect(world.keysCalled()).toEqual(['b', 'c', 'b', 'c'])
    world.upstream.on(CHAT, KEY_SPENT)
    const sent = world.send({ model: 'vendor/acme' })
    await world.finish(sent)
    expect(world.keysCalled().slice(4)).toEqual(['c'])
    expect((await sent.whole()).status).toBe(502)
  })

  it('a key that failed is passed over for a minute', async () => {
    const world = withoutPool({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, KEY_SPENT, GOOD)
    await ask(world)
    const failedAtMs = world.upstream.calls[0]?.atMs ?? 0
    while (world.time.nowMs() + 5_000 < failedAtMs + 60_000) {
      await ask(world)
      await world.time.advance(2_000)
    }
    expect(world.keysCalled()).toEqual([
      'a',
      'b',
      ...world
        .keysCalled()
        .slice(2)
        .map(() => 'b'),
    ])
    expect(world.keysCalled().length).toBeGreaterThan(3)
    await world.time.advance(10_000)
    await ask(world)
    expect(world.keysCalled().at(-1)).toBe('a')
  })

  it('a key that broke off in the middle of an answer is passed over, too', async () => {
    const world = withoutPool({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, { ...openStream(said('x')), end: 'error', endAfterMs: 1 }, GOOD)
    for (let i = 0; i < 3; i++) await ask(world)
    expect(world.keysCalled()).toEqual(['a', 'b', 'b'])
  })

  it('a fault of the caller makes no key to be passed over', async () => {
    const world = withoutPool({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, errorAnswer(400, 'Bad'))
    for (let i = 0; i < 4; i++) await ask(world)
    expect(world.keysCalled()).toEqual(['a', 'b', 'a', 'b'])
  })

  it('keys are used all the same when all of them have failed', async () => {
    const world = withoutPool({ keys: ['a', 'b'] })
    world.upstream.on(CHAT, KEY_SPENT, KEY_SPENT, GOOD)
    expect((await ask(world)).status).toBe(502)
    expect((await ask(world)).status).toBe(200)
  })

  it('a request tries no key twice, nor another one of an account at fault', async () => {
    const world = withoutPool({
      keys: [
        { id: 'a', account: 'acme' },
        { id: 'b', account: 'acme' },
        { id: 'c', account: 'globex' },
      ],
    })
    world.upstream.on(CHAT, OUT_OF_CREDIT, KEY_SPENT)
    const { status } = await ask(world)
    expect(world.keysCalled()).toEqual(['a', 'c'])
    expect(status).toBe(502)
  })

  it('a request waits for it once: it is the next request that asks again', async () => {
    const world = withoutPool()
    world.upstream.on(CHAT, KEY_SPENT, KEY_SPENT, KEY_SPENT, GOOD)
    await ask(world)
    expect(world.upstream.calls.map(({ atMs }) => atMs - START_MS)).toEqual([
      2_000, 2_000, 2_000, 2_000,
    ])
    world.pool.connect([])
    await world.time.advance(5_000)
    expect((await ask(world)).headers.get('x-switchyard-degraded')).toBeNull()
  })

  it('the pool is told of no attempt that it did not grant', async () => {
    const world = withoutPool()
    world.pool.connect(['unreachable'])
    await ask(world)
    // The one settlement ends the requested lease, in case the pool has granted it.
    expect(world.pool.settlements).toMatchObject([
      { leaseId: 'isolate-0:0', outcome: 'ignorable', benches: [], suspect: false },
    ])
    expect(world.pool.state.ledger.all.total.attempts).toBe(0)
  })

  it('nobody is served when the policy is to stay closed', async () => {
    const world = withoutPool({ onPoolUnavailable: 'closed' })
    const { status, headers, text } = await ask(world)
    expect(status).toBe(503)
    expect(JSON.parse(text).error.metadata.reason).toBe('pool_unavailable')
    expect(headers.get('x-switchyard-degraded')).toBe('pool')
    expect(world.upstream.calls).toEqual([])
  })

  it('a closed gateway passes the failure on that it has already seen', async () => {
    const world = createVirtualWorld({ onPoolUnavailable: 'closed', random: () => 0 })
    world.upstream.on(CHAT, errorAnswer(503, 'Overloaded'))
    world.pool.connect(['answers'], 'unreachable')
    const { status, text } = await ask(world)
    expect(status).toBe(503)
    expect(JSON.parse(text).error.message).toBe('Overloaded')
  })
})

describe('a lease that was granted and not heard of', () => {
  for (const [name, connection] of [
    ['because the answer was lost', 'answer_lost'],
    ['because the answer came too late', 2_500],
    ['because the object came to it after we had taken it back', 3_500],
  ] as const) {
    it(`is given back: ${name}`, async () => {
      const world = createVirtualWorld()
      world.upstream.on(CHAT, GOOD)
      world.pool.connect([connection])
      expect((await ask(world)).status).toBe(200)
      expect(world.pool.inFlight()).toBe(0)
      expect(world.pool.unsettled()).toEqual([])
    })
  }

  it('holds the probe of a half-open breaker no longer than it takes to say so', async () => {
    const world = createVirtualWorld({ keys: ['a'], maxAttempts: 1 })
    world.upstream.on(CHAT, errorAnswer(500, 'No'))
    for (let i = 0; i < 3; i++) await ask(world)
    await world.time.advance(61_000)
    world.upstream.on(CHAT, GOOD)
    world.pool.connect(['answer_lost'])
    await ask(world)
    const { report } = await ask(world)
    expect(report).toMatchObject({ outcome: 'answered', degraded: false })
  })
})

describe('a settlement that the pool does not hear', () => {
  it('is sent again once, a second later', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, GOOD)
    world.pool.connect(['answers', 'unreachable'])
    const sent = world.send()
    const { outcome } = await world.finish(sent)
    expect(outcome).toBe('answered')
    expect(world.pool.settlements).toMatchObject([{ leaseId: 'isolate-0:0', outcome: 'success' }])
    expect(world.pool.exchanges()).toBe(3)
    expect(world.pool.inFlight()).toBe(0)
  })

  it('is counted once when only the answer was lost', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, GOOD)
    world.pool.connect(['answers', 'answer_lost'])
    await ask(world)
    expect(world.pool.settlements).toHaveLength(2)
    expect(world.pool.state.ledger.all.total.promptTokens).toBe(21)
  })

  it('is not sent for ever: the lease ends by itself, since its isolate is not heard', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, GOOD)
    world.pool.connect(['answers'], 'unreachable')
    await ask(world)
    expect(world.pool.exchanges()).toBe(3)
    await world.time.advance(3_000)
    expect(world.pool.inFlight()).toBe(0)
    await world.time.advance(620_000)
    expect(world.pool.exchanges()).toBe(3)
    world.pool.connect([])
    await ask(world)
    expect(world.pool.inFlight()).toBe(0)
  })

  it('of a failed attempt reaches the pool although the next lease is asked for in vain', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, KEY_SPENT, GOOD)
    world.pool.connect(['answers', 'unreachable'])
    await ask(world)
    expect(world.pool.settlementsOf(world.pool.wants[0]?.leaseId ?? never())).toMatchObject([
      { outcome: 'ignorable', benches: [{ reason: 'key_spent' }] },
    ])
    expect(world.pool.inFlight()).toBe(0)
  })
})

describe('a pool that is lost in the middle of a request', () => {
  it('still hears of the lease that it had granted', async () => {
    const world = createVirtualWorld()
    const rejected = errorAnswer(401, 'User not found.')
    // After the 401 a key is looked up. The exchange with its report is the one that fails.
    world.upstream.on(CHAT, rejected, { ...KEY_SPENT, headersAfterMs: 3_000 }, GOOD)
    world.upstream.on('key', rejected)
    // So do those that tell that the isolate lives, until the next attempt is over.
    world.pool.connect(['answers', 'answers', ...Array<'unreachable'>(4).fill('unreachable')])
    const { status, headers } = await ask(world)
    expect(status).toBe(200)
    expect(headers.get('x-switchyard-degraded')).toBe('pool')
    expect(world.upstream.calls.at(-1)?.atMs).toBe(START_MS + 3_000)
    expect(world.pool.settlements.map(({ leaseId }) => leaseId)).toEqual([
      'isolate-0:0',
      'isolate-0:1',
    ])
    expect(world.pool.inFlight()).toBe(0)
  })
})

function never(): never {
  throw new Error('No lease was asked for')
}

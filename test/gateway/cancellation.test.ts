import { describe, expect, it } from 'vitest'
import { FLUSH_MS } from '../../src/gateway/leases/outbox.ts'
import { DONE, HELLO, PROCESSING, ROLE, STOP, said, USAGE } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'
import {
  createVirtualWorld,
  type SendOptions,
  START_MS,
  type WorldOptions,
} from './virtual-world.ts'

const CHAT = 'chat/completions'

/** A request that its client can leave. */
function begin(script: Script, options: WorldOptions = {}, request: SendOptions = {}) {
  const world = createVirtualWorld(options)
  world.upstream.on(CHAT, script)
  const client = new AbortController()
  return { world, client, sent: world.send({ ...request, signal: client.signal }) }
}

type Begun = ReturnType<typeof begin>

/** The lease was given back once, without a fault, and nothing is left in flight. */
function expectGivenBack({ world }: Pick<Begun, 'world'>): void {
  expect(world.pool.settlements).toMatchObject([
    { leaseId: 'isolate-0:0', outcome: 'ignorable', fault: 'nobody', benches: [], suspect: false },
  ])
  expect(world.pool.inFlight()).toBe(0)
  expect(world.time.openTimers()).toBe(0)
}

describe('a client that leaves', () => {
  it('before its request is looked at costs no lease', async () => {
    const world = createVirtualWorld()
    const report = await world.finish(world.send({ signal: AbortSignal.abort() }))
    expect(report).toMatchObject({ outcome: 'client_gone', attempts: [] })
    expect(world.pool.wants).toEqual([])
  })

  it('while a key is being leased is not served, and gives the key back', async () => {
    const world = createVirtualWorld()
    world.pool.connect([500])
    const client = new AbortController()
    const sent = world.send({ signal: client.signal })
    await world.time.advance(100)
    client.abort()
    await world.time.advance(399)
    expect(sent.report()).toBeNull()
    expect(await world.finish(sent)).toMatchObject({ outcome: 'client_gone', attempts: [] })
    expect(world.upstream.calls).toEqual([])
    expectGivenBack({ world })
  })

  it('at the moment at which headers come leaves no body open', async () => {
    const begun = begin(openStream(said('x')))
    // The call has been made and answered, but the gateway has not read the answer yet.
    while (begun.world.upstream.calls.length === 0) await Promise.resolve()
    begun.client.abort()
    await begun.world.time.drain()
    expect(begun.sent.report()).toMatchObject({ outcome: 'client_gone' })
    expectGivenBack(begun)
  })

  it('just before headers come has their body stopped, too', async () => {
    const late = { ...openStream(said('x')), headersAfterMs: 800, comesAnyway: true }
    const begun = begin(late)
    const { world, client, sent } = begun
    await world.time.advance(700)
    client.abort()
    await world.time.drain()
    expect(sent.report()).toMatchObject({ outcome: 'client_gone' })
    await world.time.advance(100)
    expect(world.upstream.calls[0]?.cancelledAtMs).toBe(START_MS + 800)
    expectGivenBack(begun)
  })

  const prompt = { promptTokens: 10, completionTokens: 0, estimated: true }
  const nothing = { promptTokens: 0, completionTokens: 0, costUsd: 0 }
  for (const [name, script, usage] of [
    ['while headers are awaited', { connection: 'hang' }, prompt],
    ['before the first output', openStream(PROCESSING, ROLE), { ...prompt, completionTokens: 1 }],
    [
      'while an answer is read that is not streamed',
      { ...jsonAnswer(200, '{"cho'), end: 'hang' },
      prompt,
    ],
    ['while an error answer is read', { ...errorAnswer(400, 'No'), end: 'hang' }, nothing],
  ] as const) {
    it(`${name} stops upstream at once; what may have to be paid for is estimated`, async () => {
      const begun = begin(script, {}, { promptTokens: 10 })
      const { world, client, sent } = begun
      await world.time.advance(700)
      client.abort()
      await world.time.drain()
      expect(world.upstream.calls).toHaveLength(1)
      expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 700)
      const left = { key: 'a', row: '17', fault: 'nobody', why: 'the client left' }
      expect(sent.report()).toMatchObject({ outcome: 'client_gone', attempts: [left] })
      expectGivenBack(begun)
      expect(world.pool.settlements[0]?.usage).toMatchObject(usage)
    })
  }

  it('from a count of tokens, which is free, has cost nothing', async () => {
    const { countTokens } = await import('../../src/openrouter/shapes/messages.ts')
    const world = createVirtualWorld({ shape: countTokens })
    world.upstream.on(countTokens.path, { connection: 'hang' })
    const client = new AbortController()
    const sent = world.send({ promptTokens: 10, signal: client.signal })
    await world.time.advance(700)
    client.abort()
    await world.finish(sent)
    expect(world.pool.settlements).toHaveLength(1)
    expect(world.pool.settlements[0]?.usage).toBeUndefined()
  })

  it('after an error event that no one has seen is not followed to another key', async () => {
    const begun = begin(openStream('data: {"error":{"code":500,"message":"No"}}\n\n'))
    const { world, client, sent } = begun
    await world.time.advance(100)
    client.abort()
    expect((await world.finish(sent)).outcome).toBe('client_gone')
    expect(world.upstream.calls).toHaveLength(1)
    // Upstream had failed before the client left.
    expect(world.pool.settlements).toMatchObject([{ outcome: 'failure' }])
    expect(world.pool.inFlight()).toBe(0)
  })

  it('during a backoff ends it, takes no further lease and pays for no retry', async () => {
    const { world, client, sent } = begin(errorAnswer(500, 'No'), { random: () => 0.8 })
    await world.time.advance(150)
    const budget = world.pool.state.retryBudget.ceiling.tokens
    client.abort()
    await world.time.drain()
    expect(sent.report()).toMatchObject({ outcome: 'client_gone' })
    expect(world.pool.wants).toHaveLength(1)
    expect(world.pool.state.retryBudget.ceiling.tokens).toBe(budget)
    expect(world.pool.inFlight()).toBe(0)
    // For the word that the request has ended.
    await world.time.advance(FLUSH_MS)
    expect(world.time.openTimers()).toBe(0)
  })

  it('while it waits for a key that upstream wants to rest is not served by it', async () => {
    const resting = errorAnswer(500, 'No', {}, { 'retry-after': '60' })
    const { world, client, sent } = begin(resting, { keys: ['a'] })
    await world.time.advance(1_000)
    client.abort()
    await world.time.drain()
    expect(sent.report()).toMatchObject({ outcome: 'client_gone' })
    expect(world.upstream.calls).toHaveLength(1)
    expect(world.pool.inFlight()).toBe(0)
    await world.time.advance(FLUSH_MS)
    expect(world.time.openTimers()).toBe(0)
  })

  it('after keep-alives stops upstream at once', async () => {
    const begun = begin(openStream(PROCESSING))
    await begun.world.time.advance(3_000)
    expect(begun.sent.text()).toBe(PROCESSING)
    begun.client.abort()
    await begun.world.time.drain()
    expect(begun.world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 3_000)
    expectGivenBack(begun)
  })
})

describe('a client that leaves in the middle of a stream', () => {
  const leave: readonly [name: string, (begun: Begun) => unknown][] = [
    ['by its signal', ({ client }) => client.abort()],
    ['by no longer reading', ({ sent }) => sent.cancel()],
    [
      'by both',
      ({ client, sent }) => {
        client.abort()
        return sent.cancel()
      },
    ],
  ]
  for (const [name, act] of leave) {
    it(`${name} stops upstream at once; what passed is estimated`, async () => {
      const script = openStream(ROLE, said('a'), said('b'))
      const begun = begin(script, {}, { promptTokens: 10 })
      const { world, sent } = begun
      await world.time.advance(700)
      await act(begun)
      await world.time.drain()
      const [call] = world.upstream.calls
      expect(call?.abortedAtMs).toBe(START_MS + 700)
      expect(sent.report()).toMatchObject({ outcome: 'client_gone' })
      expectGivenBack(begun)
      expect(world.pool.settlements[0]?.usage).toMatchObject({
        promptTokens: 10,
        completionTokens: 3,
        estimated: true,
      })
    })
  }

  it('after usage was reported is counted by it', async () => {
    const begun = begin(openStream(said('a'), USAGE))
    await begun.world.time.drain()
    await begun.sent.cancel()
    await begun.world.time.drain()
    expect(begun.world.pool.settlements).toMatchObject([{ usage: { promptTokens: 21 } }])
    expect(begun.world.pool.inFlight()).toBe(0)
  })

  describe('between the finish and the usage', () => {
    const leavers: readonly [name: string, leave: (begun: Begun) => unknown][] = [
      ['by its signal', ({ client }) => client.abort()],
      ['by not reading on', ({ sent }) => sent.cancel()],
    ]
    for (const [name, leave] of leavers) {
      it(`${name} pays what the answer cost: it is read on for two seconds`, async () => {
        const begun = begin(openStream(said('a'), STOP))
        const { world, sent } = begun
        await world.time.drain()
        await leave(begun)
        await world.time.advance(1_900)
        expect(sent.report()).toBeNull()
        expect(world.upstream.calls[0]?.abortedAtMs).toBeNull()
        world.upstream.calls[0]?.push(USAGE)
        await world.time.drain()
        expect(sent.report()).toMatchObject({ outcome: 'answered' })
        expect(world.pool.settlements).toMatchObject([
          { outcome: 'success', usage: { promptTokens: 21, costUsd: 0.0005, estimated: false } },
        ])
        expect(world.pool.inFlight()).toBe(0)
        expect(world.time.openTimers()).toBe(0)
      })

      it(`${name} is waited for no longer than that`, async () => {
        const begun = begin(openStream(said('a'), STOP))
        const { world, sent } = begun
        await world.time.drain()
        await leave(begun)
        await world.time.advance(1_000)
        world.upstream.calls[0]?.push(PROCESSING)
        await world.time.advance(1_000)
        expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 2_000)
        expect(sent.report()).toMatchObject({ outcome: 'answered' })
        expect(world.pool.settlements).toMatchObject([{ usage: { estimated: true } }])
        expect(world.pool.inFlight()).toBe(0)
        expect(world.time.openTimers()).toBe(0)
      })
    }

    it('of one of two choices ends the call at once', async () => {
      const { world, client, sent } = begin(openStream(said('a'), STOP), {}, { parts: 2 })
      await world.time.advance(700)
      client.abort()
      await world.time.drain()
      expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 700)
      expect(sent.report()).toMatchObject({ outcome: 'client_gone' })
    })

    it('while it was still to read the finish pays, too', async () => {
      const { world, client, sent } = begin(
        openStream(said('a') + STOP, USAGE),
        {},
        { reads: 'slow' },
      )
      await world.time.advance(100)
      client.abort()
      expect(await world.finish(sent)).toMatchObject({ outcome: 'answered' })
      expect(world.pool.settlements).toMatchObject([{ usage: { costUsd: 0.0005 } }])
    })
  })

  it('having heard the last word has been answered: SDKs hang up at [DONE]', async () => {
    const begun = begin(openStream(said('a'), STOP, USAGE, DONE))
    await begun.world.time.drain()
    await begun.sent.cancel()
    await begun.world.time.drain()
    expect(begun.sent.report()).toMatchObject({ outcome: 'answered' })
    expect(begun.world.pool.settlements).toMatchObject([
      { outcome: 'success', usage: { promptTokens: 21, estimated: false } },
    ])
    expect(begun.world.upstream.calls[0]?.abortedAtMs).toBe(START_MS)
    expect(begun.world.pool.inFlight()).toBe(0)
  })

  it('before it has read what waits for it holds nothing up', async () => {
    const begun = begin(openStream(said('a'), said('b'), said('c')), {}, { reads: 'slow' })
    await begun.world.time.advance(700)
    begun.client.abort()
    await begun.world.time.drain()
    expect(begun.sent.report()).toMatchObject({ outcome: 'client_gone' })
    expectGivenBack(begun)
  })

  it('before it has read an error event holds nothing up', async () => {
    const script = { ...openStream(said('a')), end: 'close', endAfterMs: 100 } as const
    const begun = begin(script, {}, { reads: 'slow' })
    begun.sent.readOne()
    await begun.world.time.advance(700)
    begun.client.abort()
    await begun.world.time.drain()
    expect(begun.world.pool.settlements).toHaveLength(1)
    expect(begun.world.pool.inFlight()).toBe(0)
  })
})

describe('a request that is over', () => {
  it('listens to its signal no more', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, errorAnswer(500, 'No'), streamOf(HELLO))
    const { signal } = new AbortController()
    let listeners = 0
    const { addEventListener, removeEventListener } = signal
    signal.addEventListener = (...given: Parameters<typeof addEventListener>) => {
      listeners += 1
      addEventListener.apply(signal, given)
    }
    signal.removeEventListener = (...given: Parameters<typeof removeEventListener>) => {
      listeners -= 1
      removeEventListener.apply(signal, given)
    }
    const sent = world.send({ signal })
    expect(listeners).toBe(1)
    await world.finish(sent)
    expect(listeners).toBe(0)
  })

  it('is not settled again by a client that leaves then', async () => {
    const { world, client, sent } = begin(streamOf(HELLO))
    await world.finish(sent)
    client.abort()
    await sent.cancel()
    await world.time.drain()
    expect(world.pool.settlements).toMatchObject([{ outcome: 'success' }])
    expect(sent.report()).toMatchObject({ outcome: 'answered' })
  })
})

describe('a bug of ours', () => {
  const broken = () => {
    throw new Error('bug')
  }

  it('gives the client an answer, the pool its lease and the log the error', async () => {
    const { chatCompletions } = await import('../../src/openrouter/shapes/chat-completions.ts')
    const { world, sent } = begin(openStream(ROLE), {
      shape: { ...chatCompletions, readEvent: broken },
    })
    await world.time.drain()
    const { status, text } = await sent.whole()
    expect(status).toBe(500)
    expect(text).not.toContain('bug')
    expect(sent.bug()).toMatchObject({ message: 'bug' })
    expect(world.pool.settlements).toMatchObject([{ outcome: 'ignorable', fault: 'nobody' }])
    expect(world.pool.inFlight()).toBe(0)
    expect(world.upstream.calls[0]?.abortedAtMs).not.toBeNull()
    expect(world.time.openTimers()).toBe(0)
  })

  it('in the middle of a stream ends it with an error event', async () => {
    const { chatCompletions } = await import('../../src/openrouter/shapes/chat-completions.ts')
    const { world, sent } = begin(openStream(said('a')), {
      shape: { ...chatCompletions, mayMatter: broken },
    })
    await world.time.drain()
    world.upstream.calls[0]?.push(said('b'))
    await world.time.drain()
    expect(sent.text()).toContain('"internal_error"')
    expect(sent.state()).toBe('ended')
    expect(world.pool.inFlight()).toBe(0)
  })
})

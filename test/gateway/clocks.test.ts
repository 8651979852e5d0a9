import { describe, expect, it } from 'vitest'
import { DONE, errorsIn, HELLO, PROCESSING, ROLE, STOP, said } from './stream-texts.ts'
import { openStream, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, START_MS, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'
const EVENT_STREAM = { 'content-type': 'text/event-stream' }
const ONCE = { maxAttempts: 1 }

function begin(script: Script, options: WorldOptions = ONCE) {
  const world = createVirtualWorld(options)
  world.upstream.on(CHAT, script)
  return { world, client: world.send() }
}

const answeredAfter = (ms: number, body = '{"choices":[{}]}'): Script => ({
  headers: { 'content-type': 'application/json' },
  body: [{ afterMs: ms, text: body }],
})

const timedOut = { code: 504, metadata: { source: 'switchyard', reason: 'upstream_timeout' } }

describe('headers_ms', () => {
  it('ends a call without headers at once, and blames upstream', async () => {
    const { world, client } = begin({ connection: 'hang' })
    await world.time.advance(29_999)
    expect(client.response()).toBeNull()
    const report = await world.finish(client)
    const { status, text } = await client.whole()
    expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 30_000)
    expect(status).toBe(504)
    expect(JSON.parse(text).error).toMatchObject(timedOut)
    expect(report.attempts).toMatchObject([{ key: 'a', row: '1', fault: 'upstream' }])
    expect(world.pool.settlements).toMatchObject([{ outcome: 'failure', fault: 'upstream' }])
  })

  it('is not there once headers have come', async () => {
    const { world, client } = begin({
      headers: EVENT_STREAM,
      headersAfterMs: 29_999,
      body: [{ afterMs: 60_000, text: HELLO }],
    })
    expect((await world.finish(client)).outcome).toBe('answered')
  })

  it('starts anew for another key', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, { connection: 'hang' }, { ...streamOf(HELLO), headersAfterMs: 29_000 })
    expect((await world.finish(world.send())).outcome).toBe('answered')
    expect(world.keysCalled()).toEqual(['a', 'b'])
  })
})

describe('first_output_ms', () => {
  it('ends a stream that has only comments and a role to offer', async () => {
    const comments = Array.from({ length: 200 }, () => ({ afterMs: 1_000, text: PROCESSING }))
    const body = [{ text: ROLE }, ...comments]
    const { world, client } = begin({ headers: EVENT_STREAM, body })
    const report = await world.finish(client)
    expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 120_000)
    expect(errorsIn(client.text())).toMatchObject([{ error: timedOut, finish: 'error' }])
    expect(report.attempts).toMatchObject([{ key: 'a', row: '1', fault: 'upstream' }])
    expect(world.pool.settlements).toMatchObject([{ outcome: 'failure' }])
  })

  it('runs from the headers on', async () => {
    const { world, client } = begin({
      headers: EVENT_STREAM,
      headersAfterMs: 20_000,
      body: [{ afterMs: 119_999, text: HELLO }],
    })
    expect((await world.finish(client)).outcome).toBe('answered')
  })

  it('does not run for an answer that is not streamed', async () => {
    const { world, client } = begin(answeredAfter(500_000))
    expect((await world.finish(client)).outcome).toBe('answered')
  })
})

describe('idle_ms', () => {
  it('ends a stream that falls silent, with one error event', async () => {
    const { world, client } = begin(openStream(said('Hi')))
    await world.time.advance(59_999)
    expect(client.text()).toBe(said('Hi'))
    const report = await world.finish(client)
    expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 60_000)
    expect(errorsIn(client.text())).toMatchObject([{ error: timedOut, finish: 'error' }])
    expect(client.state()).toBe('ended')
    expect(report.outcome).toBe('failed')
    expect(world.pool.settlements).toMatchObject([
      { outcome: 'failure', fault: 'upstream', usage: { estimated: true } },
    ])
  })

  it('is put back by every byte, be it of a comment', async () => {
    const drip = Array.from(PROCESSING, (text) => ({ afterMs: 20_000, text }))
    const body = [{ text: said('Hi') }, ...drip, { text: STOP + DONE }]
    const { world, client } = begin({ headers: EVENT_STREAM, body })
    expect((await world.finish(client)).outcome).toBe('answered')
    expect(client.text()).toBe(said('Hi') + PROCESSING + STOP + DONE)
  })

  it('does not run while a slow client is waited for', async () => {
    const world = createVirtualWorld(ONCE)
    world.upstream.on(CHAT, openStream(said('Hi'), said('there')))
    const client = world.send({ reads: 'slow' })
    await world.time.advance(200_000)
    expect(world.upstream.calls[0]?.abortedAtMs).toBeNull()
    client.readOne()
    client.readOne()
    await world.time.advance(59_999)
    expect(client.text()).toBe(said('Hi') + said('there'))
    // The same holds for a wait in the middle of the stream.
    world.upstream.calls[0]?.push(PROCESSING)
    await world.time.advance(200_000)
    expect(world.upstream.calls[0]?.abortedAtMs).toBeNull()
    client.readOne()
    world.upstream.calls[0]?.push(STOP)
    world.upstream.calls[0]?.finish('close')
    client.readOne()
    client.readOne()
    expect((await world.finish(client)).outcome).toBe('answered')
    expect(client.text()).toBe(said('Hi') + said('there') + PROCESSING + STOP)
  })

  it('ends no stream that has said its last word, and takes it for whole', async () => {
    const { world, client } = begin(openStream(said('Hi'), STOP))
    expect((await world.finish(client)).outcome).toBe('answered')
    expect(client.text()).toBe(said('Hi') + STOP)
    expect(world.pool.settlements).toMatchObject([{ outcome: 'success' }])
  })

  it('runs between the bytes of an answer that is not streamed, from the first on', async () => {
    const script = { ...answeredAfter(100_000, '{"choices"'), end: 'hang' } as const
    const { world, client } = begin(script)
    await world.finish(client)
    expect((await client.whole()).status).toBe(504)
    expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 160_000)
  })

  it('is two seconds in all for an error answer that never ends, and the status stands', async () => {
    const drip = Array.from({ length: 9 }, () => ({ afterMs: 500, text: '{"er' }))
    const { world, client } = begin({ status: 400, body: drip, end: 'hang' })
    const report = await world.finish(client)
    expect((await client.whole()).status).toBe(400)
    expect(report.attempts).toMatchObject([{ key: 'a', row: '15', fault: 'caller' }])
    expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 2_000)
  })
})

describe('total_ms', () => {
  it('ends an answer that takes too long, and blames nobody', async () => {
    const { world, client } = begin(answeredAfter(700_000), {})
    const report = await world.finish(client)
    expect((await client.whole()).status).toBe(504)
    expect(world.upstream.calls.map(({ abortedAtMs }) => abortedAtMs)).toEqual([START_MS + 600_000])
    expect(report.attempts).toMatchObject([{ key: 'a', row: '17', fault: 'nobody' }])
    expect(world.pool.settlements).toMatchObject([{ outcome: 'ignorable', fault: 'nobody' }])
  })

  it('ends a stream that goes on for too long, with one error event, and blames nobody', async () => {
    const body = Array.from({ length: 100 }, () => ({ afterMs: 9_999, text: said('x') }))
    const { world, client } = begin({ headers: EVENT_STREAM, body })
    const report = await world.finish(client)
    expect(errorsIn(client.text())).toMatchObject([{ error: timedOut, finish: 'error' }])
    expect(client.text().split(said('x'))).toHaveLength(61)
    expect(report.outcome).toBe('failed')
    expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 600_000)
    expect(world.pool.settlements).toMatchObject([
      { outcome: 'ignorable', fault: 'nobody', usage: { estimated: true } },
    ])
  })

  it('ends a stream that its client has stopped reading, which may yet read why', async () => {
    const world = createVirtualWorld(ONCE)
    world.upstream.on(CHAT, openStream(said('one'), said('two'), said('three')))
    const client = world.send({ reads: 'slow' })
    await world.time.advance(599_999)
    expect(world.pool.inFlight()).toBe(1)
    await world.time.advance(1)
    expect(client.report()).toMatchObject({ outcome: 'failed' })
    expect(world.pool.inFlight()).toBe(0)
    expect(world.pool.settlements).toMatchObject([{ outcome: 'ignorable', fault: 'nobody' }])
    for (let i = 0; i < 5; i++) {
      client.readOne()
      await world.time.drain()
    }
    expect(errorsIn(client.text())).toMatchObject([{ error: timedOut }])
    expect(client.state()).toBe('ended')
    expect(world.time.openTimers()).toBe(0)
  })

  it('counts every attempt and every wait together', async () => {
    const failed: Script = {
      status: 503,
      headers: { 'retry-after': '200' },
      headersAfterMs: 25_000,
    }
    const body = [{ text: '{"error":{}}' }]
    const { world, client } = begin({ ...failed, body }, { keys: ['a'] })
    const report = await world.finish(client)
    // An attempt takes 25 s and the wait for its key 200 s. After the last, a backoff finds no key.
    expect(world.upstream.calls.map(({ atMs }) => atMs - START_MS)).toEqual([0, 225_000])
    expect(report.timings).toMatchObject({ wait: 200_250, upstream: 50_000 })
    expect(client.response()?.status).toBe(503)
    const late = begin({ ...failed, body, headers: { 'retry-after': '580' } }, { keys: ['a'] })
    await late.world.finish(late.client)
    // The wait would end after the deadline.
    expect(late.world.upstream.calls).toHaveLength(1)
  })

  it('counts the wait for a pool that does not answer', async () => {
    const world = createVirtualWorld({ timeouts: { totalMs: 3_000 } })
    world.pool.connect([], 'unreachable')
    world.upstream.on(CHAT, answeredAfter(2_000))
    await world.finish(world.send())
    expect(world.upstream.calls[0]?.abortedAtMs).toBe(START_MS + 3_000)
  })
})

describe('a journey that is over', () => {
  const ends: readonly [name: string, script: Script][] = [
    ['well', streamOf(HELLO)],
    ['whole', answeredAfter(10)],
    ['with a break', { ...openStream(said('x')), end: 'error', endAfterMs: 5 }],
    ['without an answer', { connection: 'hang' }],
    ['by silence', openStream(said('x'))],
  ]
  for (const [name, script] of ends) {
    it(`leaves no timer behind when it ended ${name}`, async () => {
      const { world, client } = begin(script)
      await world.time.runUntil(() => client.report() !== null, 3_600_000)
      expect(client.report()).not.toBeNull()
      expect(world.time.openTimers()).toBe(0)
    })
  }
})

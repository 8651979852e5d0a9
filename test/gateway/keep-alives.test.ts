import { describe, expect, it } from 'vitest'
import type { ApiShape } from '../../src/openrouter/shapes/api-shape.ts'
import { chatCompletions } from '../../src/openrouter/shapes/chat-completions.ts'
import { messages } from '../../src/openrouter/shapes/messages.ts'
import { responses } from '../../src/openrouter/shapes/responses.ts'
import {
  DONE,
  EMPTY_DELTA,
  errorEventOf,
  errorsIn,
  HELLO,
  PROCESSING,
  ROLE,
  STOP,
  said,
} from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'
/** The gateway's own comment. */
const ALIVE = ': PROCESSING\n\n'
const EVENT_STREAM = { 'content-type': 'text/event-stream' }

async function begin(scripts: readonly Script[], options: WorldOptions = {}) {
  const world = createVirtualWorld(options)
  world.upstream.on(CHAT, ...scripts)
  const client = world.send()
  await world.time.drain()
  return { world, client, call: world.upstream.calls[0] }
}

describe('comments before the first output', () => {
  it('are passed on once two seconds have gone by, and not before', async () => {
    const { world, client, call } = await begin([openStream(PROCESSING, PROCESSING)])
    await world.time.advance(1_999)
    expect(client.response()).toBeNull()
    await world.time.advance(1)
    expect(client.response()?.status).toBe(200)
    expect(client.text()).toBe(PROCESSING.repeat(2))
    call?.push(PROCESSING)
    await world.time.drain()
    expect(client.text()).toBe(PROCESSING.repeat(3))
  })

  it('are counted from the beginning of the request, not of the attempt', async () => {
    const late = { ...openStream(PROCESSING), headersAfterMs: 5_000 }
    const { world, client } = await begin([late])
    await world.time.advance(5_000)
    expect(client.text()).toBe(PROCESSING)
  })

  it('open no stream where upstream says nothing', async () => {
    const { world, client } = await begin([openStream('data: {"half')])
    await world.time.advance(10_000)
    expect(client.response()).toBeNull()
  })

  it('wait until they are whole', async () => {
    const { world, client, call } = await begin([openStream(PROCESSING.slice(0, 10))])
    await world.time.advance(3_000)
    expect(client.response()).toBeNull()
    call?.push(PROCESSING.slice(10))
    await world.time.drain()
    expect(client.text()).toBe(PROCESSING)
  })
})

describe('pings and lifecycle events before the first output', () => {
  const MESSAGES_PING = 'event: ping\ndata: {"type":"ping"}\n\n'
  const START = 'event: message_start\ndata: {"type":"message_start","message":{}}\n\n'
  const CREATED = 'data: {"type":"response.created","response":{"status":"in_progress"}}\n\n'
  const IN_PROGRESS = 'data: {"type":"response.in_progress","response":{}}\n\n'
  const cases: readonly [name: string, shape: ApiShape, texts: string[]][] = [
    ['a ping of Messages', messages, [START, MESSAGES_PING, MESSAGES_PING]],
    ['the lifecycle of Responses', responses, [CREATED, IN_PROGRESS, IN_PROGRESS]],
    ['the role of a chat', chatCompletions, [ROLE, EMPTY_DELTA, EMPTY_DELTA]],
  ]
  for (const [name, shape, [first = '', second = '', third = '']] of cases) {
    it(`are a comment of the gateway’s after two seconds, and stay held back: ${name}`, async () => {
      const world = createVirtualWorld({ shape })
      world.upstream.on(shape.path, openStream(first, second))
      const client = world.send()
      await world.time.advance(1_999)
      expect(client.response()).toBeNull()
      await world.time.advance(1)
      expect(client.response()?.status).toBe(200)
      expect(client.text()).toBe(ALIVE)
      await world.time.advance(20_000)
      expect(client.text()).toBe(ALIVE)
      world.upstream.calls[0]?.push(third)
      await world.time.drain()
      expect(client.text()).toBe(ALIVE.repeat(2))
    })
  }

  it('are passed on as they came with the first output', async () => {
    const { world, client, call } = await begin([openStream(ROLE, EMPTY_DELTA + ROLE.slice(0, 9))])
    await world.time.advance(3_000)
    call?.push(`${ROLE.slice(9)}${said('Hi')}`)
    await world.time.drain()
    expect(client.text()).toBe(`${ALIVE}${ROLE}${EMPTY_DELTA}${ROLE}${said('Hi')}`)
    expect(client.chunks).toHaveLength(4)
  })

  it('give way to a comment of upstream’s own', async () => {
    const { world, client } = await begin([openStream(ROLE + PROCESSING, PROCESSING)])
    await world.time.advance(2_000)
    expect(client.text()).toBe(PROCESSING.repeat(2))
  })

  it('of an attempt that failed are not sent for it later', async () => {
    const failed = streamOf(ROLE, errorEventOf(500, 'No'))
    const { world, client } = await begin([failed, { ...openStream(), headersAfterMs: 1_000 }])
    await world.time.advance(4_000)
    expect(client.response()).toBeNull()
  })
})

describe('at the first output', () => {
  it('comments that went out with the rest do not go out again after two seconds', async () => {
    const { world, client, call } = await begin([openStream(PROCESSING, ROLE, said('Hi'))])
    expect(client.text()).toBe(PROCESSING + ROLE + said('Hi'))
    await world.time.advance(5_000)
    call?.push(STOP + DONE)
    call?.finish('close')
    await world.finish(client)
    expect(client.text()).toBe(PROCESSING + ROLE + said('Hi') + STOP + DONE)
  })

  it('nothing is lost or sent twice of what was held beside keep-alives', async () => {
    const { world, client } = await begin([
      {
        headers: EVENT_STREAM,
        body: [
          { text: PROCESSING },
          { afterMs: 1_000, text: ROLE + PROCESSING },
          { afterMs: 2_000, text: `${ROLE}: half a` },
          { afterMs: 1_000, text: ` comment\n\n${ROLE}${said('Hi')}data: {"cut":` },
          { afterMs: 1_000, text: `1}\n\n${STOP}${DONE}` },
        ],
      },
    ])
    await world.time.advance(2_000)
    expect(client.text()).toBe(PROCESSING.repeat(2))
    await world.finish(client)
    expect(client.text()).toBe(
      `${PROCESSING}${PROCESSING}${ALIVE}${ROLE}${ROLE}: half a comment\n\n` +
        `${ROLE}${said('Hi')}data: {"cut":1}\n\n${STOP}${DONE}`,
    )
  })

  it('no empty chunk is sent', async () => {
    const { world, client } = await begin([
      { headers: EVENT_STREAM, body: [{ text: PROCESSING }, { afterMs: 3_000, text: HELLO }] },
    ])
    await world.finish(client)
    expect(client.chunks.filter(({ bytes }) => bytes.length === 0)).toEqual([])
  })
})

describe('after keep-alives', () => {
  const slowFailure = (...texts: string[]): Script => ({
    headers: { ...EVENT_STREAM, 'set-cookie': 'session=1', 'x-generation-id': 'gen-1' },
    body: [{ text: PROCESSING }, ...texts.map((text) => ({ afterMs: 3_000, text }))],
  })

  it('the response has only the headers that any other would have', async () => {
    const { client, world } = await begin([slowFailure(HELLO)])
    await world.finish(client)
    const names = [...(client.response()?.headers.keys() ?? [])]
    expect(names.filter((name) => !name.startsWith('x-switchyard-')).sort()).toEqual([
      'content-type',
      'server-timing',
    ])
  })

  it('the headers name no attempt: the next may answer', async () => {
    const failed = slowFailure(ROLE + errorEventOf(429, 'Slow down') + DONE)
    const limits = { 'x-ratelimit-remaining': '0', 'x-openrouter-cache-status': 'HIT' }
    const first = { ...failed, headers: { ...failed.headers, ...limits } }
    const { client, world } = await begin([first, streamOf(HELLO)])
    await world.finish(client)
    expect(client.text()).toContain(HELLO)
    expect([...(client.response()?.headers.keys() ?? [])].sort()).toEqual([
      'content-type',
      'server-timing',
    ])
  })

  it('a stream that another commits without them names its attempt', async () => {
    const named = { ...streamOf(HELLO), headers: { ...EVENT_STREAM, 'x-generation-id': 'gen-2' } }
    const { client, world } = await begin([named])
    await world.finish(client)
    expect(Object.fromEntries(client.response()?.headers ?? [])).toMatchObject({
      'x-generation-id': 'gen-2',
      'x-switchyard-key': 'a',
      'x-switchyard-attempts': '1',
    })
  })

  it('another key may still take over: its stream follows the comments', async () => {
    const failed = slowFailure(ROLE + errorEventOf(429, 'Slow down') + DONE)
    const { client, world } = await begin([failed, streamOf(PROCESSING, HELLO)])
    const report = await world.finish(client)
    expect(client.text()).toBe(PROCESSING + PROCESSING + HELLO)
    expect(client.state()).toBe('ended')
    expect(report.outcome).toBe('answered')
    expect(world.keysCalled()).toEqual(['a', 'b'])
  })

  it('a comment of a failed attempt that was not sent is not sent later', async () => {
    const failed = { ...streamOf(`${PROCESSING}${errorEventOf(500, 'No')}`) }
    const { client, world } = await begin([failed, { ...openStream(), headersAfterMs: 1_000 }])
    await world.time.advance(4_000)
    expect(client.response()).toBeNull()
  })

  const finalEvents: readonly [name: string, script: Script][] = [
    ['of upstream', slowFailure(errorEventOf(400, 'Bad model'))],
    ['of the gateway', slowFailure(errorEventOf(403, 'Key limit exceeded'))],
  ]
  for (const [name, script] of finalEvents) {
    it(`a client that does not read the last word ${name} holds no lease up, and no log`, async () => {
      const world = createVirtualWorld({ keys: ['a'] })
      world.upstream.on(CHAT, script)
      const client = world.send({ reads: 'slow' })
      await world.time.advance(5_000)
      expect(world.pool.inFlight()).toBe(0)
      expect(world.pool.settlements).toHaveLength(1)
      expect(client.report()).toBeNull()
      await world.time.advance(60_000)
      expect(client.report()).toMatchObject({ outcome: 'failed' })
      expect(world.time.openTimers()).toBe(0)
      for (let i = 0; i < 4; i++) {
        client.readOne()
        await world.time.drain()
      }
      expect(errorsIn(client.text())).toHaveLength(1)
      expect(client.state()).toBe('ended')
    })
  }

  const finalAnswers: readonly [name: string, script: Script, error: object][] = [
    ['an error event', slowFailure(errorEventOf(400, 'Bad model')), { message: 'Bad model' }],
    ['an error event and an end', slowFailure(errorEventOf(400, 'No') + DONE), { message: 'No' }],
    [
      'a whole error answer after another key',
      errorAnswer(400, 'No such model', { hint: 1 }),
      { code: 400, message: 'No such model', metadata: { hint: 1 } },
    ],
    [
      'an answer that is no stream',
      jsonAnswer(200, '{"choices":[{"message":{"content":"x"}}]}'),
      { code: 502, metadata: { source: 'switchyard', reason: 'upstream_unreachable' } },
    ],
    [
      'a key fault after another',
      errorAnswer(403, 'Key limit exceeded (total limit)'),
      { code: 502, metadata: { source: 'switchyard', reason: 'keys_exhausted' } },
    ],
  ]
  for (const [name, script, error] of finalAnswers) {
    it(`the last word is one error event and the end: ${name}`, async () => {
      const first = slowFailure(errorEventOf(403, 'Key limit exceeded'))
      const { client, world } = await begin([first, script], { keys: ['a', 'b'] })
      await world.finish(client)
      expect(errorsIn(client.text())).toMatchObject([{ error }])
      expect(client.state()).toBe('ended')
      expect(client.response()?.status).toBe(200)
      const comments = client.text().split(PROCESSING).length - 1
      // Each comment goes out once: the first attempt's, and the second's if it sent one.
      expect(comments).toBe(script.status === undefined ? 2 : 1)
    })
  }
})

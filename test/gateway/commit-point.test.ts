import { describe, expect, it } from 'vitest'
import { images } from '../../src/openrouter/shapes/images.ts'
import {
  DONE,
  EMPTY_DELTA,
  errorEventOf,
  errorsIn,
  eventOf,
  HELLO,
  PROCESSING,
  ROLE,
  STOP,
  said,
  thought,
  USAGE,
} from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, type WorldOptions } from './virtual-world.ts'

const CHAT = 'chat/completions'
const LIMIT = errorEventOf(429, 'Rate limit exceeded')

/** Runs one request to its end. Upstream answers its attempts with these scripts in turn. */
async function journey(scripts: readonly Script[], options: WorldOptions = {}) {
  const world = createVirtualWorld(options)
  world.upstream.on(CHAT, ...scripts)
  const client = world.send()
  const report = await world.finish(client)
  const { status, headers, text } = await client.whole()
  return { world, client, report, status, headers, text }
}

function delta(fields: Readonly<Record<string, unknown>>): string {
  return eventOf({ choices: [{ index: 0, delta: fields, finish_reason: null }] })
}

describe('before the first real output the client sees nothing', () => {
  const shells: readonly [name: string, text: string][] = [
    ['comments', PROCESSING],
    ['a role', ROLE],
    ['an empty delta', EMPTY_DELTA],
    ['a reasoning detail without text', thought('')],
    ['an event without choices', eventOf({ choices: [] })],
    ['an event that is no JSON', 'data: {"choices":[{"delta":{"content":"x"}\n\n'],
    ['half an event with output', said('Hi').slice(0, -1)],
  ]
  for (const [name, text] of shells) {
    it(`of ${name}`, async () => {
      const world = createVirtualWorld()
      world.upstream.on(CHAT, openStream(text))
      const client = world.send()
      await world.time.drain()
      expect(world.upstream.calls).toHaveLength(1)
      expect(client.response()).toBeNull()
    })
  }

  const outputs: readonly [name: string, text: string][] = [
    ['text', said('H')],
    ['reasoning', thought('H')],
    ['a tool call', delta({ tool_calls: [{ index: 0, id: 'c', function: { name: 'f' } }] })],
    ['reasoning under another name', delta({ content: null, reasoning_content: 'H' })],
    ['output under a name that nobody knows', delta({ content: '', answer_of_tomorrow: 'H' })],
    ['a refusal', delta({ refusal: 'No' })],
    ['an image', delta({ images: [{ type: 'image_url', image_url: { url: 'data:,' } }] })],
    ['audio', delta({ audio: { data: 'UklGRg' } })],
    ['an end without any output', STOP],
  ]
  for (const [name, text] of outputs) {
    it(`and everything with ${name}`, async () => {
      const world = createVirtualWorld()
      world.upstream.on(CHAT, openStream(ROLE, text))
      const client = world.send()
      await world.time.drain()
      expect(client.text()).toBe(ROLE + text)
    })
  }

  it('and everything with a block that is too large to be looked into', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, openStream(`data: ${'x'.repeat(1_100_000)}`))
    const client = world.send()
    await world.time.drain()
    expect(client.bytes()).toHaveLength(1_100_006)
  })

  it('and everything when it has become too much to hold', async () => {
    const world = createVirtualWorld()
    const shells = EMPTY_DELTA.repeat(1_000)
    world.upstream.on(CHAT, openStream(shells, shells))
    const client = world.send()
    await world.time.drain()
    expect(client.response()).toBeNull()
    for (let i = 0; i < 20 && client.response() === null; i++) {
      world.upstream.calls[0]?.push(shells)
      await world.time.drain()
    }
    expect(client.bytes().length).toBeGreaterThan(1024 * 1024)
    expect(client.bytes().length).toBeLessThan(1024 * 1024 + 2 * shells.length)
  })
})

describe('a failure before the first output moves to another key, unseen', () => {
  const failures: readonly [name: string, script: Script][] = [
    ['an error event', streamOf(LIMIT + DONE)],
    ['a role, then an error event', streamOf(ROLE, LIMIT, DONE)],
    ['an error event cut in two', streamOf(LIMIT.slice(0, 20), LIMIT.slice(20) + DONE)],
    ['an error event and output after it in one chunk', streamOf(LIMIT + said('no') + DONE)],
    ['an error event whose stream stays open', openStream(LIMIT)],
    [
      'a choice that ends by an error',
      streamOf(eventOf({ choices: [{ finish_reason: 'error' }], provider: undefined })),
    ],
    ['nothing but the end mark', streamOf(DONE)],
    ['the end mark after a role', streamOf(ROLE + DONE)],
    ['an end before any output', streamOf(PROCESSING, ROLE)],
    ['its first output, cut before its blank line', streamOf(ROLE, said('Hi').trimEnd())],
    ['an error event without its blank line', streamOf(ROLE, LIMIT.trimEnd())],
    ['an end mark without its blank line', streamOf(ROLE, DONE.trimEnd())],
    ['a break before any output', { ...streamOf(ROLE), end: 'error' }],
    ['an empty stream', streamOf()],
    ['a JSON error inside a 200', jsonAnswer(200, { error: { code: 502, message: 'No' } })],
    [
      'an error in a choice inside a 200',
      jsonAnswer(200, { choices: [{ error: { code: 502, message: 'No' } }] }),
    ],
    ['a 200 without an answer', jsonAnswer(200, {})],
    ['a 200 that is no JSON', jsonAnswer(200, '<html>')],
    ['a page of the edge', { status: 403, body: [{ text: '<html>Attention' }] }],
    ['a redirect', { status: 302, headers: { location: 'https://elsewhere.test/' } }],
    ['a broken connection', { connection: 'refused' }],
    ['an error answer', errorAnswer(500, 'Internal')],
    ['an error answer that breaks off', { ...errorAnswer(500, 'Bad'), end: 'error' }],
  ]
  for (const [name, script] of failures) {
    it(`after ${name}`, async () => {
      const { world, status, text, headers, report } = await journey([script, streamOf(HELLO)])
      expect(text).toBe(HELLO)
      expect(status).toBe(200)
      expect(world.keysCalled()).toEqual(['a', 'b'])
      expect(headers.get('x-switchyard-key')).toBe('b')
      expect(headers.get('x-switchyard-attempts')).toBe('2')
      expect(report.outcome).toBe('answered')
      expect(world.pool.settlements.map(({ outcome }) => outcome)).toEqual(['failure', 'success'])
    })
  }

  it('and counts what the failed stream cost', async () => {
    const usage = { prompt_tokens: 9, completion_tokens: 0, total_tokens: 9, cost: 0.25 }
    const failed = eventOf({ error: { code: 500, message: 'No' }, usage })
    const { world } = await journey([streamOf(failed), streamOf(HELLO)])
    expect(world.pool.settlements[0]?.usage).toMatchObject({ promptTokens: 9, costUsd: 0.25 })
  })
})

describe('an answer whose last event lacks its blank line', () => {
  const last = STOP.trimEnd()

  it.each([
    ['before the first output', [ROLE, last]],
    ['with the first output', [ROLE, said('Hi') + last]],
    ['after the first output', [said('Hi'), last]],
    ['cut in two', [said('Hi'), last.slice(0, 40), last.slice(40)]],
    ['with half of its blank line', [said('Hi'), `${last}\n`]],
  ])('is whole, and paid once: %s', async (_, chunks) => {
    for (const end of ['close', 'error'] as const) {
      const script = { ...streamOf(...chunks), end, endAfterMs: 1 }
      const { world, text, report } = await journey([script, streamOf(HELLO)])
      expect(text).toBe(chunks.join(''))
      expect(world.upstream.calls).toHaveLength(1)
      expect(report.outcome).toBe('answered')
      expect(world.pool.settlements).toMatchObject([{ outcome: 'success' }])
    }
  })

  it('is counted by the usage in it', async () => {
    const { report } = await journey([streamOf(said('Hi'), USAGE.trimEnd())])
    expect(report.usage).toMatchObject({ promptTokens: 21, estimated: false })
  })

  it('has failed, if that event is an error, which is told once', async () => {
    const failed = errorEventOf(502, 'Provider left').trimEnd()
    const { text, report } = await journey([streamOf(said('Hi'), failed)])
    expect(text).toBe(said('Hi') + failed)
    expect(report.outcome).toBe('failed')
  })
})

describe('an answer with several parts', () => {
  const end = (index: number) => eventOf({ choices: [{ index, delta: {}, finish_reason: 'stop' }] })
  const first = [said('Hi'), end(0)]

  async function twoParts(...texts: string[]) {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, streamOf(...texts))
    const client = world.send({ parts: 2 })
    const report = await world.finish(client)
    return { world, report, text: (await client.whole()).text }
  }

  it('that is cut after the first has failed', async () => {
    const { world, report, text } = await twoParts(...first)
    expect(errorsIn(text)).toMatchObject([{ error: { code: 502 }, finish: 'error' }])
    expect(report.outcome).toBe('failed')
    expect(world.pool.settlements).toMatchObject([{ outcome: 'failure' }])
  })

  it.each([
    ['when all have ended', [...first, end(1)]],
    ['at the end mark, whatever came', [...first, DONE]],
  ])('is complete %s', async (_, texts) => {
    const { report, text } = await twoParts(...texts)
    expect(text).toBe(texts.join(''))
    expect(report.outcome).toBe('answered')
  })

  it('is not complete because one part tells its end twice, as it does with its usage', async () => {
    expect((await twoParts(...first, USAGE)).report.outcome).toBe('failed')
  })

  it('that are pictures without a number is complete when as many have come', async () => {
    const picture = `data: ${JSON.stringify({ type: 'image_generation.completed', b64_json: 'AA' })}\n\n`
    for (const [count, outcome] of [
      [1, 'failed'],
      [2, 'answered'],
    ] as const) {
      const world = createVirtualWorld({ shape: images })
      world.upstream.on('images', streamOf(...Array.from({ length: count }, () => picture)))
      expect((await world.finish(world.send({ parts: 2 }))).outcome).toBe(outcome)
    }
  })
})

describe('a finish reason that is an empty string', () => {
  const running = (content: string) =>
    eventOf({ choices: [{ index: 0, delta: { content }, finish_reason: '' }] })

  it('ends nothing: a stream that is cut after it has failed', async () => {
    const { text, report } = await journey([streamOf(running('Hi'), running('there'))])
    expect(errorsIn(text)).toMatchObject([{ error: { code: 502 }, finish: 'error' }])
    expect(report.outcome).toBe('failed')
  })

  it('is no output', async () => {
    const { world } = await journey([streamOf(running('')), streamOf(HELLO)])
    expect(world.keysCalled()).toEqual(['a', 'b'])
  })
})

describe('after the first output nothing is retried', () => {
  const errors: readonly [name: string, chunks: string[]][] = [
    ['in a chunk of its own', [said('Hi'), errorEventOf(502, 'Provider left') + DONE]],
    ['in the chunk of the output', [said('Hi') + errorEventOf(502, 'Provider left') + DONE]],
  ]
  for (const [name, chunks] of errors) {
    it(`an error event ${name} is passed on, and no second one follows`, async () => {
      const { world, text, report } = await journey([streamOf(...chunks)])
      expect(text).toBe(chunks.join(''))
      expect(world.upstream.calls).toHaveLength(1)
      expect(report.outcome).toBe('failed')
      expect(report.attempts).toMatchObject([{ key: 'a', row: '16', fault: 'upstream' }])
      expect(world.pool.settlements).toMatchObject([{ outcome: 'failure', fault: 'upstream' }])
    })
  }

  it('an error event about the request is not held against the key', async () => {
    const { world } = await journey([streamOf(thought('x'), errorEventOf(400, 'Limit') + DONE)])
    expect(world.pool.settlements).toMatchObject([{ outcome: 'ignorable', fault: 'caller' }])
  })

  for (const end of ['close', 'error'] as const) {
    it(`a stream that ends by ${end} without its end becomes one error event`, async () => {
      const { world, text, report } = await journey([
        { ...streamOf(said('Hi')), end, endAfterMs: 1 },
      ])
      expect(text.startsWith(said('Hi'))).toBe(true)
      expect(errorsIn(text)).toMatchObject([
        { error: { code: 502, metadata: { reason: 'upstream_unreachable' } }, finish: 'error' },
      ])
      expect(text.endsWith(DONE)).toBe(true)
      expect(world.upstream.calls).toHaveLength(1)
      expect(report.outcome).toBe('failed')
      expect(world.pool.settlements).toMatchObject([
        { outcome: 'failure', usage: { estimated: true } },
      ])
    })
  }

  it('the error event names the stream that it ends', async () => {
    const { text } = await journey([streamOf(said('Hi'))])
    const [first, second] = text
      .split('\n\n', 2)
      .map((event) => JSON.parse(event.slice('data: '.length)))
    expect(second.error.metadata.error_type).toBe('provider_unavailable')
    expect(second).toMatchObject({ id: first.id, model: first.model, created: first.created })
  })

  it('an event that was cut in the middle does not swallow the error event', async () => {
    const { text } = await journey([streamOf(said('Hi'), 'data: {"cut')])
    expect(text.slice(said('Hi').length)).toMatch(/^data: \{"cut\n\ndata: \{"id"/)
  })

  for (const end of ['close', 'error'] as const) {
    it(`a stream that ends by ${end} after its last word is whole`, async () => {
      const { text, report, world } = await journey([
        { ...streamOf(said('Hi'), STOP), end, endAfterMs: 1 },
      ])
      expect(text).toBe(said('Hi') + STOP)
      expect(report.outcome).toBe('answered')
      expect(world.pool.settlements).toMatchObject([{ outcome: 'success' }])
    })
  }
})

describe('usage is counted', () => {
  const real = { promptTokens: 21, completionTokens: 3, costUsd: 0.0005, estimated: false }

  it('when everything comes in the chunk of the first output', async () => {
    const { world, report } = await journey([streamOf(HELLO)])
    expect(world.pool.settlements).toMatchObject([{ outcome: 'success', usage: real }])
    expect(report.usage).toMatchObject(real)
  })

  it('when it follows later, cut anywhere', async () => {
    const cut = [ROLE + said('Hi'), STOP + USAGE.slice(0, 200), USAGE.slice(200), DONE]
    const { world } = await journey([streamOf(...cut)])
    expect(world.pool.settlements).toMatchObject([{ usage: real }])
  })

  it('of an answer that is not streamed', async () => {
    const usage = { prompt_tokens: 21, completion_tokens: 3, total_tokens: 24, cost: 0.0005 }
    const { world } = await journey([jsonAnswer(200, { choices: [{ message: {} }], usage })])
    expect(world.pool.settlements).toMatchObject([{ outcome: 'success', usage: real }])
  })

  it('as an estimate where the stream reports none', async () => {
    const world = createVirtualWorld()
    world.upstream.on(CHAT, streamOf(said('a') + said('b') + STOP + DONE))
    await world.finish(world.send({ promptTokens: 70 }))
    expect(world.pool.settlements[0]?.usage).toMatchObject({
      promptTokens: 70,
      estimated: true,
    })
  })
})

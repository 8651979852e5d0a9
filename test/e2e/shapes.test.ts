// Properties of every API shape, streamed and whole.

import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { PATHS, REQUESTS, type ShapePath, STREAMING } from '../simulator/shape-requests.ts'
import { countedOver, journeyOf, secretOf, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
/** Breakers stay closed in these tests, so the first key is always tried first. */
const gateway = useGateway(upstream, {
  policy: { strategy: 'priority', affinity: 'none', breaker: { failures: 100 } },
})

/** Each API shape whole, and also streamed if it can stream. */
const WAYS = [
  ...PATHS.map((path) => ({ path, stream: false })),
  ...STREAMING.map((path) => ({ path, stream: true })),
]
const inWords = ({ path, stream }: (typeof WAYS)[number]) => (stream ? `${path} streamed` : path)
const NAMED_WAYS = WAYS.map((way) => [inWords(way), way] as const)

/** All ways but token counting, which costs nothing and reports no usage. */
const COUNTED = NAMED_WAYS.filter(([, { path }]) => path !== '/messages/count_tokens')

const streamOf = (stream: boolean) => (stream ? { stream: true } : {})

async function ask(
  { path, stream }: { path: ShapePath; stream: boolean },
  changes: object = {},
  headers: Record<string, string> = {},
): Promise<Response> {
  return await gateway().send(`/api/v1${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ ...REQUESTS[path], ...streamOf(stream), ...changes }),
  })
}

/** Sends the same request to the simulator itself, with one of the pool's keys. */
async function askUpstream(
  { path, stream }: { path: ShapePath; stream: boolean },
  changes: object = {},
): Promise<Response> {
  return await fetch(upstream.url() + path, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${secretOf('alpha')}`,
    },
    body: JSON.stringify({ ...REQUESTS[path], ...streamOf(stream), ...changes }),
  })
}

const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer())

/** A stream of Messages without the end mark that Anthropic's API does not have. */
function withoutMark(bytes: Buffer): Buffer {
  const text = bytes.toString()
  expect(text).toContain(MESSAGES_MARK)
  return Buffer.from(text.slice(0, -MESSAGES_MARK.length))
}

const MESSAGES_MARK = 'event: data\ndata: [DONE]\n\n'

const chunksOf = (bytes: Buffer, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => ({
    base64: bytes.subarray(i * size, (i + 1) * size).toString('base64'),
  }))

describe('an answer arrives byte for byte as it was sent', () => {
  test.each(NAMED_WAYS)('by %s', async (_, way) => {
    const original = await askUpstream(way)
    const bytes = await bytesOf(original)
    expect(bytes.length).toBeGreaterThan(0)
    const expected = way.path === '/messages' && way.stream ? withoutMark(bytes) : bytes
    const type = original.headers.get('content-type') ?? ''
    for (const size of [bytes.length, 97]) {
      const chunks = chunksOf(bytes, size)
      await upstream.control.script('same', { chunks, headers: { 'content-type': type } })
      const response = await ask(way, { model: 'script/same' })
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toBe(type)
      expect((await bytesOf(response)).equals(expected)).toBe(true)
      expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
    }
  })
})

describe('a request arrives byte for byte as it was sent', () => {
  test.each(PATHS)('by %s', async (path) => {
    const { model, ...rest } = REQUESTS[path]
    // The body has spaces, an order and an escape that no serialiser would keep.
    const body = `{ "model" :\t${JSON.stringify(model).replace('/', '\\/')},\n"x":1.0,${JSON.stringify(rest).slice(1)} `
    const headers = { 'content-type': 'application/json' }
    const response = await gateway().send(`/v1${path}`, { method: 'POST', headers, body })
    expect(response.status).toBe(200)
    await response.arrayBuffer()
    const [entry] = (await upstream.control.log()).filter((each) => each.path === path)
    expect(entry?.body).toMatchObject({
      sha256: createHash('sha256').update(body).digest('hex'),
      bytes: Buffer.byteLength(body),
    })
  })
})

describe('an error that comes with status 200 before any output is another key’s business', () => {
  test.each(NAMED_WAYS)('by %s', async (_, way) => {
    const response = await ask(way, { model: 'sim/error-first-event@alpha' })
    expect(response.status).toBe(200)
    expect(journeyOf(response)).toEqual({ key: 'gamma', attempts: 2 })
    expect((await bytesOf(response)).includes('Provider returned')).toBe(false)
    await gateway().settledPool()
  })
})

describe('an answer that breaks off', () => {
  test.each(STREAMING)('in a stream of %s ends with one error in that API’s form', async (path) => {
    const response = await ask({ path, stream: true }, { model: 'sim/cut-mid-stream' })
    expect(response.status).toBe(200)
    const text = await response.text()
    expect(text.match(/upstream_unreachable/g)).toHaveLength(1)
    const events = text.split('\n\n').filter((event) => event.includes('upstream_unreachable'))
    expect(events[0]).toContain(path === '/messages' ? 'event: error\n' : 'data: ')
    expect(JSON.stringify(events)).toContain(path === '/messages' ? 'api_error' : '502')
  })

  test.each(PATHS.filter((path) => path !== '/audio/speech'))(
    'whole, by %s, is made good by another key',
    async (path) => {
      const response = await ask({ path, stream: false }, { model: 'sim/cut-mid-stream@alpha' })
      expect(response.status).toBe(200)
      expect(journeyOf(response)).toEqual({ key: 'gamma', attempts: 2 })
    },
  )
})

describe('an error of upstream’s own in the middle of a stream', () => {
  test.each(STREAMING)('of %s is passed on, once and as it was', async (path) => {
    const way = { path, stream: true }
    const response = await ask(way, { model: 'sim/error-mid-stream?message=Lost+it' })
    expect(response.status).toBe(200)
    const text = await response.text()
    expect(text.match(/Lost it/g)).toHaveLength(1)
    expect(text).not.toContain('switchyard')
  })
})

describe('what an answer used is counted', () => {
  test.each(COUNTED)('by %s', async (_, way) => {
    const { costUsd } = await countedOver(gateway(), async () => {
      const response = await ask(way)
      expect(response.status).toBe(200)
      await response.arrayBuffer()
    })
    const [entry] = (await upstream.control.log()).filter((each) => each.path === way.path)
    expect(entry?.costUsd).toBeGreaterThan(0)
    // An audio answer does not report its cost. Only the key's credit shows it.
    expect(costUsd).toBeCloseTo(way.path === '/audio/speech' ? 0 : (entry?.costUsd ?? -1), 9)
  })

  test.each(COUNTED.filter(([, { stream }]) => stream))(
    'in the older form, too, by %s',
    async (_, way) => {
      await upstream.control.patchSettings({ usageForm: 'older' })
      const { costUsd } = await countedOver(gateway(), async () => (await ask(way)).arrayBuffer())
      const [entry] = (await upstream.control.log()).filter((each) => each.path === way.path)
      expect(costUsd).toBeCloseTo(entry?.costUsd ?? -1, 9)
    },
  )

  test.each([
    ['/chat/completions', 'messages'],
    ['/messages', 'messages'],
    ['/responses', 'input'],
  ] as const)('with what was in the prompt’s cache, by %s', async (path, field) => {
    const opening = [{ role: 'user', content: 'Once upon a time there was a fox. '.repeat(400) }]
    const next = [
      ...opening,
      { role: 'assistant', content: 'So?' },
      { role: 'user', content: 'Go on' },
    ]
    for (const stream of [false, true]) {
      await (await ask({ path, stream }, { [field]: opening })).arrayBuffer()
      const counted = await countedOver(gateway(), async () =>
        (await ask({ path, stream }, { [field]: next })).arrayBuffer(),
      )
      expect(counted.promptTokens).toBeGreaterThan(2_000)
      expect(counted.cachedTokens).toBeGreaterThan(0.5 * counted.promptTokens)
      expect(counted.cachedTokens).toBeLessThanOrEqual(counted.promptTokens)
    }
  })

  test('by the tokens that a model thought in', async () => {
    const model = 'deepseek/deepseek-r1'
    for (const path of ['/responses', '/messages'] as const) {
      const { reasoningTokens } = await countedOver(gateway(), async () =>
        (await ask({ path, stream: true }, { model })).arrayBuffer(),
      )
      expect(reasoningTokens).toBeGreaterThan(0)
    }
  })
})

describe('a token', () => {
  test.each(PATHS)(
    'is taken as bearer and as x-api-key by %s, and goes no further',
    async (path) => {
      const authorization = 'Bearer sy-e2e-token-000001'
      const sent = JSON.stringify(REQUESTS[path])
      const post = (headers: Record<string, string>) =>
        fetch(`${gateway().origin}/api/v1${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...headers },
          body: sent,
        })
      for (const headers of [{ authorization }, { 'x-api-key': 'sy-e2e-token-000001' }]) {
        const response = await post(headers)
        expect(response.status).toBe(200)
        await response.arrayBuffer()
      }
      const refused = await post({ 'x-api-key': 'sy-wrong' })
      expect(refused.status).toBe(401)
      expect((await refused.text()).includes('authentication_error')).toBe(
        path.startsWith('/messages'),
      )
      const entries = (await upstream.control.log()).filter((each) => each.path === path)
      expect(entries.map(({ key }) => key)).toEqual(['alpha', 'alpha'])
      for (const { headers } of entries) expect(JSON.stringify(headers)).not.toContain('sy-e2e')
    },
  )
})

test('a stream of messages ends as Anthropic’s do, without OpenRouter’s own mark', async () => {
  const text = await (await ask({ path: '/messages', stream: true })).text()
  expect(text).toMatch(/\n\nevent: message_stop\ndata: \{[^\n]*\}\n\n$/)
  expect(text).not.toContain('[DONE]')
})

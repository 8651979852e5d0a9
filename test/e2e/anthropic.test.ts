import Anthropic, {
  APIError,
  AuthenticationError,
  InternalServerError,
  RateLimitError,
} from '@anthropic-ai/sdk'
import { describe, expect, test } from 'vitest'
import { TOKEN, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream, {
  policy: { strategy: 'priority', breaker: { failures: 100 }, queue: { max_wait_ms: 0 } },
})

const client = (options: ConstructorParameters<typeof Anthropic>[0] = {}) =>
  new Anthropic({
    baseURL: `${gateway().origin}/api`,
    apiKey: TOKEN,
    authToken: null,
    maxRetries: 0,
    ...options,
  })

const REQUEST = {
  model: 'anthropic/claude-sonnet-4.5',
  max_tokens: 1000,
  messages: [{ role: 'user' as const, content: 'Wie geht’s?' }],
}

const WEATHER = {
  name: 'weather',
  input_schema: {
    type: 'object' as const,
    properties: { city: { type: 'string' } },
    required: ['city'],
  },
}

const textOf = ({ content }: Anthropic.Message) =>
  content.map((block) => (block.type === 'text' ? block.text : '')).join('')

describe('a message', () => {
  test.each(['/api', ''])('is answered under “%s”', async (path) => {
    const message = await client({ baseURL: gateway().origin + path }).messages.create(REQUEST)
    expect(textOf(message)).toMatch(/You said: Wie geht’s\?$/)
    expect(message.stop_reason).toBe('end_turn')
    expect(message.usage.output_tokens).toBeGreaterThan(0)
  })

  test('is answered to who sends the token as a bearer, as coding agents do', async () => {
    const bearer = client({ apiKey: null, authToken: TOKEN })
    expect((await bearer.messages.create(REQUEST)).type).toBe('message')
  })

  test('comes in a stream that adds up to the whole', async () => {
    const whole = await client().messages.create(REQUEST)
    const stream = client().messages.stream(REQUEST)
    let text = ''
    stream.on('text', (piece) => {
      text += piece
    })
    const message = await stream.finalMessage()
    expect(text).toBe(textOf(whole))
    expect(textOf(message)).toBe(text)
    expect(message.usage.output_tokens).toBe(whole.usage.output_tokens)
  })

  test('comes in a stream that is read to its end, although OpenRouter adds an end mark', async () => {
    await upstream.control.patchSettings({ splitUtf8: true })
    const types: string[] = []
    for await (const event of await client().messages.create({ ...REQUEST, stream: true })) {
      types.push(event.type)
    }
    expect(types.at(0)).toBe('message_start')
    expect(types.at(-1)).toBe('message_stop')
  })

  test('calls a tool, whole and streamed', async () => {
    const request = { ...REQUEST, tools: [WEATHER] }
    const whole = await client().messages.create(request)
    const streamed = await client().messages.stream(request).finalMessage()
    for (const { content, stop_reason } of [whole, streamed]) {
      expect(stop_reason).toBe('tool_use')
      expect(content.at(-1)).toMatchObject({
        type: 'tool_use',
        name: 'weather',
        input: { city: expect.any(String) },
      })
    }
  })

  test('is counted before it is sent', async () => {
    const { max_tokens: _, ...counted } = REQUEST
    expect((await client().messages.countTokens(counted)).input_tokens).toBeGreaterThan(0)
  })
})

describe('an error', () => {
  async function thrownBy(work: Promise<unknown>): Promise<unknown> {
    return await work.then(
      () => null,
      (error: unknown) => error,
    )
  }

  test.each([
    ['a token that is not known', { apiKey: 'sy-wrong' }, AuthenticationError, 401],
    ['no token at all', { apiKey: null, authToken: '' }, AuthenticationError, 401],
  ])('for %s is the client’s own', async (_, options, kind, status) => {
    const error = await thrownBy(client(options).messages.create(REQUEST))
    expect(error).toBeInstanceOf(kind)
    expect(error).toMatchObject({
      status,
      error: { type: 'error', error: { type: 'authentication_error' } },
    })
  })

  test('of upstream’s passes as it was', async () => {
    const error = await thrownBy(client().messages.create({ ...REQUEST, model: 'sim/caller-400' }))
    expect(error).toBeInstanceOf(APIError)
    expect(error).toMatchObject({ status: 400, error: { type: 'error' } })
  })

  test('where every key is limited is a rate limit that says when to come back', async () => {
    const limited = 'sim/new-account-429?resetInMs=20000'
    await thrownBy(client().messages.create({ ...REQUEST, model: limited }))
    const next = await thrownBy(client().messages.create({ ...REQUEST, model: limited }))
    expect(next).toBeInstanceOf(RateLimitError)
    expect(next).toMatchObject({ error: { error: { type: 'rate_limit_error' } } })
    const after = next instanceof RateLimitError ? next.headers?.get('retry-after') : null
    expect(Number(after)).toBeGreaterThan(10)
  })

  test('in the first event is never seen', async () => {
    const model = 'sim/error-first-event@alpha'
    const message = await client()
      .messages.stream({ ...REQUEST, model })
      .finalMessage()
    expect(textOf(message)).toMatch(/You said/)
  })

  test.each([
    ['sim/error-mid-stream', APIError],
    ['sim/cut-mid-stream', APIError],
  ])('in the middle of a stream, %s, is raised', async (model, kind) => {
    const stream = await client().messages.create({ ...REQUEST, model, stream: true })
    let events = 0
    const consume = async () => {
      for await (const _ of stream) events += 1
    }
    const error = await thrownBy(consume())
    expect(error).toBeInstanceOf(kind)
    expect(events).toBeGreaterThan(2)
    if (model === 'sim/cut-mid-stream') {
      const metadata = { source: 'switchyard', error_type: 'provider_unavailable' }
      expect(error).toMatchObject({ type: 'api_error', error: { error: { metadata } } })
    }
  })

  test('of a whole upstream outage is the server’s', async () => {
    const error = await thrownBy(client().messages.create({ ...REQUEST, model: 'sim/plain-502' }))
    expect(error).toBeInstanceOf(InternalServerError)
  })

  test('of the gateway’s, when no key could serve, has its reason', async () => {
    const error = await thrownBy(client().messages.create({ ...REQUEST, model: 'sim/html-503' }))
    expect(error).toBeInstanceOf(InternalServerError)
    const metadata = { reason: 'upstream_unreachable', error_type: 'provider_unavailable' }
    expect(error).toMatchObject({ error: { error: { type: 'api_error', metadata } } })
  })
})

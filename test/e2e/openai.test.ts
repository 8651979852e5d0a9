import OpenAI, { APIError, RateLimitError } from 'openai'
import { describe, expect, test } from 'vitest'
import { MESSAGES, MODEL, startGateway, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream, {
  policy: { strategy: 'priority', breaker: { failures: 100 } },
})

const INPUT = 'Wie geht’s?'
const SAID = /You said: Wie geht’s\?$/

/** The error of a stream that broke off, as the gateway words it. */
const OURS = {
  code: 502,
  metadata: { source: 'switchyard', error_type: 'provider_unavailable' },
}

const CITY = {
  type: 'object',
  properties: { city: { type: 'string' }, degrees: { type: 'integer' } },
  required: ['city', 'degrees'],
  additionalProperties: false,
}

test('the models are listed, and one has its endpoints', async () => {
  const models = await gateway().client().models.list()
  expect(models.data.map(({ id }) => id)).toContain(MODEL)
})

describe('chat', () => {
  test('a structured answer keeps to its schema, whole and streamed', async () => {
    const client = gateway().client()
    const request = {
      model: MODEL,
      messages: MESSAGES,
      response_format: {
        type: 'json_schema' as const,
        json_schema: { name: 'weather', strict: true, schema: CITY },
      },
    }
    const whole = await client.chat.completions.create(request)
    const streamed = await client.chat.completions.stream(request).finalChatCompletion()
    for (const { choices } of [whole, streamed]) {
      expect(JSON.parse(choices[0]?.message.content ?? '')).toEqual({
        city: expect.any(String),
        degrees: expect.any(Number),
      })
    }
  })

  test('a tool is called, and what it gave is answered', async () => {
    const client = gateway().client()
    let given: unknown = null
    const runner = client.chat.completions.runTools({
      model: MODEL,
      messages: MESSAGES,
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            description: 'The weather of a city',
            parameters: CITY,
            parse: (text: string): object => JSON.parse(text),
            function: (value: object) => {
              given = value
              return 'sunny'
            },
          },
        },
      ],
    })
    expect(await runner.finalContent()).toEqual(expect.any(String))
    expect(given).toMatchObject({ city: expect.any(String) })
  })
})

describe('Responses', () => {
  test('whole, with usage', async () => {
    const response = await gateway().client().responses.create({ model: MODEL, input: INPUT })
    expect(response.status).toBe('completed')
    expect(response.output_text).toMatch(SAID)
    expect(response.usage?.output_tokens).toBeGreaterThan(0)
  })

  test('streamed, and the pieces add up to the whole', async () => {
    const stream = await gateway()
      .client()
      .responses.create({ model: MODEL, input: INPUT, stream: true })
    let text = ''
    let completed = ''
    const numbers: number[] = []
    for await (const event of stream) {
      numbers.push(event.sequence_number)
      if (event.type === 'response.output_text.delta') text += event.delta
      if (event.type === 'response.completed') completed = event.response.status ?? ''
    }
    expect(text).toMatch(SAID)
    expect(completed).toBe('completed')
    expect(numbers).toEqual(numbers.map((_, i) => i))
  })

  test('by the client’s own helper, with a tool', async () => {
    const stream = gateway()
      .client()
      .responses.stream({
        model: MODEL,
        input: INPUT,
        tools: [{ type: 'function', name: 'weather', parameters: CITY, strict: true }],
      })
    const { output } = await stream.finalResponse()
    const call = output.find(({ type }) => type === 'function_call')
    expect(call).toMatchObject({ name: 'weather', arguments: expect.stringContaining('city') })
  })

  test('an error in the first event is never seen', async () => {
    const stream = await gateway()
      .client()
      .responses.create({ model: 'sim/error-first-event@alpha', input: INPUT, stream: true })
    let text = ''
    for await (const event of stream) {
      if (event.type === 'response.output_text.delta') text += event.delta
    }
    expect(text).toMatch(SAID)
  })

  test('the gateway’s own error, when no key could serve, is the client’s own', async () => {
    const work = gateway().client().responses.create({ model: 'sim/html-503', input: INPUT })
    const metadata = { reason: 'upstream_unreachable', error_type: 'provider_unavailable' }
    await expect(work).rejects.toMatchObject({ status: 502, error: { code: 502, metadata } })
  })

  test('a connection that breaks raises the client’s own error', async () => {
    const stream = await gateway()
      .client()
      .responses.create({ model: 'sim/cut-mid-stream', input: INPUT, stream: true })
    const consume = async () => {
      for await (const _ of stream);
    }
    const error: unknown = await consume().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(APIError)
    expect(error).toMatchObject({ message: expect.stringMatching('ended early'), error: OURS })
  })

  test('a connection that breaks is a run that failed, to those who read the events themselves', async () => {
    const response = await gateway().send('/api/v1/responses', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'sim/cut-mid-stream', input: INPUT, stream: true }),
    })
    const events = (await response.text())
      .split('\n')
      .filter((line) => line.startsWith('data: {'))
      .map((line) => JSON.parse(line.slice('data: '.length)))
    const [created] = events
    expect(events.at(-1)).toMatchObject({
      type: 'response.failed',
      sequence_number: events.length - 1,
      response: {
        id: created.response.id,
        status: 'failed',
        error: { code: 'server_error', message: expect.stringMatching('ended early') },
        error_type: 'provider_unavailable',
      },
    })
  })

  test('a failure that upstream tells in the stream is told in its own event', async () => {
    const stream = await gateway()
      .client()
      .responses.create({ model: 'sim/error-mid-stream', input: INPUT, stream: true })
    const events: OpenAI.Responses.ResponseStreamEvent[] = []
    for await (const event of stream) events.push(event)
    expect(events.at(-1)).toMatchObject({
      type: 'response.failed',
      response: { status: 'failed', error: { message: 'Provider returned error' } },
    })
  })
})

test('legacy completions, whole and streamed', async () => {
  const client = gateway().client()
  const request = { model: MODEL, prompt: INPUT }
  const whole = await client.completions.create(request)
  let text = ''
  for await (const chunk of await client.completions.create({ ...request, stream: true })) {
    text += chunk.choices[0]?.text ?? ''
  }
  expect(text).toBe(whole.choices[0]?.text)
  expect(text).toMatch(SAID)
})

test('embeddings, as numbers and as the client asks for them by itself, in base64', async () => {
  const client = gateway().client()
  const request = { model: 'openai/text-embedding-3-small', input: ['eins', 'zwei'] }
  const decoded = await client.embeddings.create(request)
  const plain = await client.embeddings.create({ ...request, encoding_format: 'float' })
  expect(decoded.data).toHaveLength(2)
  expect(decoded.data[0]?.embedding.length).toBe(plain.data[0]?.embedding.length)
  expect(decoded.data[0]?.embedding[0]).toBeCloseTo(plain.data[0]?.embedding[0] ?? NaN, 5)
  expect(decoded.usage.total_tokens).toBeGreaterThan(0)
})

test('speech is sound, and its transcription text', async () => {
  const client = gateway().client()
  const speech = await client.audio.speech.create({
    model: 'openai/gpt-4o-mini-tts',
    input: INPUT,
    voice: 'alloy',
  })
  const sound = new Uint8Array(await speech.arrayBuffer())
  expect(sound.byteLength).toBeGreaterThan(100)
  const { text } = await client.audio.transcriptions.create({
    model: 'openai/whisper-1',
    file: new File([sound], 'sound.mp3', { type: 'audio/mpeg' }),
  })
  expect(text).toEqual(expect.any(String))
})

test('abort ends a stream in good order', async () => {
  await upstream.control.patchSettings({ answerTokens: 500, tokensPerSecond: 100 })
  const stream = await gateway()
    .client()
    .chat.completions.create({ model: MODEL, messages: MESSAGES, stream: true })
  let chunks = 0
  for await (const _ of stream) {
    chunks += 1
    if (chunks === 5) stream.controller.abort()
  }
  expect(chunks).toBeLessThan(20)
})

describe('the client’s own retries', () => {
  test('hear in Retry-After when there will be room again', async () => {
    const only = await startGateway(upstream, {
      keys: [{ name: 'alpha', rpm: 1 }],
      policy: { queue: { max_wait_ms: 0 } },
    })
    const ask = () => only.client().chat.completions.create({ model: MODEL, messages: MESSAGES })
    await ask()
    const error = await ask().catch((thrown: unknown) => thrown)
    if (!(error instanceof RateLimitError)) throw new Error('Not limited')
    const afterS = Number(error.headers.get('retry-after'))
    expect(afterS).toBeGreaterThan(50)
    expect(afterS).toBeLessThanOrEqual(61)
  })

  test('are for what may pass, and for nothing else', async () => {
    const wrong = new OpenAI({
      baseURL: `${gateway().origin}/api/v1`,
      apiKey: 'sy-wrong',
      maxRetries: 3,
    })
    const request = { model: MODEL, messages: MESSAGES }
    await expect(wrong.chat.completions.create(request)).rejects.toMatchObject({
      status: 401,
      error: { metadata: { source: 'switchyard' } },
    })
    const right = gateway().client({ maxRetries: 3 })
    await expect(
      right.chat.completions.create({ ...request, model: 'nobody/none' }),
    ).rejects.toMatchObject({ status: 400 })
    expect((await upstream.control.log()).filter(({ method }) => method === 'POST')).toHaveLength(1)
  })
})

import { OpenRouter } from '@openrouter/sdk'
import { describe, expect, test } from 'vitest'
import { MESSAGES, MODEL, TOKEN, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream, {
  policy: { strategy: 'priority', breaker: { failures: 100 } },
})

const client = (apiKey = TOKEN) =>
  new OpenRouter({
    serverURL: `${gateway().origin}/api/v1`,
    apiKey,
    retryConfig: { strategy: 'none' },
  })

/** A chat call that narrows the answer's type: the client's types allow a stream too. */
async function chat(sdk: OpenRouter = client(), model = MODEL) {
  const answer = await sdk.chat.send({ chatRequest: { model, messages: MESSAGES } })
  if (!('choices' in answer)) throw new Error('A stream that nobody asked for')
  return answer
}

describe('a chat', () => {
  test('is answered whole', async () => {
    const answer = await chat()
    expect(answer.choices[0]?.message.content).toMatch(/You said: Wie geht’s\?$/)
    expect(answer.usage?.cost).toBeGreaterThan(0)
  })

  test('is answered in a stream', async () => {
    const stream = await client().chat.send({
      chatRequest: { model: MODEL, messages: MESSAGES, stream: true },
    })
    if (!(Symbol.asyncIterator in stream)) throw new Error('No stream')
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toMatch(/You said: Wie geht’s\?$/)
  })
})

test('models and providers are listed', async () => {
  const ids: string[] = []
  for await (const { result } of await client().models.list()) {
    ids.push(...result.data.map(({ id }) => id))
  }
  expect(ids).toContain(MODEL)
  const providers = await client().providers.list()
  expect(providers.data.length).toBeGreaterThan(0)
})

test('texts are embedded', async () => {
  const answer = await client().embeddings.generate({
    requestBody: { model: 'openai/text-embedding-3-small', input: ['eins', 'zwei'] },
  })
  expect(answer).toMatchObject({ data: [{}, {}] })
})

test('the client’s own key is told what it has spent', async () => {
  await chat()
  await gateway().settledPool()
  const { data } = await client().apiKeys.getCurrentKeyMetadata()
  expect(data).toMatchObject({ label: 'tester', limit: null, limitRemaining: null })
  expect(data.usage).toBeGreaterThan(0)
})

test('an answer is found by its id', async () => {
  const answer = await chat()
  await gateway().settledPool()
  const { data } = await client().generations.getGeneration({ id: answer.id })
  expect(data).toMatchObject({ id: answer.id, model: MODEL })
})

describe('an error', () => {
  test('of the gateway’s is the client’s own', async () => {
    await expect(chat(client('sy-wrong'))).rejects.toMatchObject({
      statusCode: 401,
      name: 'UnauthorizedResponseError',
    })
  })

  test('of the gateway’s, when no key could serve, is the client’s own', async () => {
    const metadata = { source: 'switchyard', reason: 'upstream_unreachable' }
    await expect(chat(client(), 'sim/html-503')).rejects.toMatchObject({
      name: 'BadGatewayResponseError',
      error: { code: 502, metadata: { ...metadata, error_type: 'provider_unavailable' } },
    })
  })

  test('in the middle of a stream is told in its last chunk', async () => {
    const stream = await client().chat.send({
      chatRequest: { model: 'sim/cut-mid-stream', messages: MESSAGES, stream: true },
    })
    if (!(Symbol.asyncIterator in stream)) throw new Error('No stream')
    let last: unknown = null
    for await (const chunk of stream) last = chunk
    expect(last).toMatchObject({
      error: {
        code: 502,
        message: expect.stringMatching('ended early'),
        metadata: { errorType: 'provider_unavailable' },
      },
      choices: [{ finishReason: 'error' }],
    })
  })

  test('in the middle of a stream of Responses is a run that failed', async () => {
    const stream = await client().responses.send({
      responsesRequest: { model: 'sim/cut-mid-stream', input: 'Wie geht’s?', stream: true },
    })
    if (!(Symbol.asyncIterator in stream)) throw new Error('No stream')
    let last: unknown = null
    for await (const event of stream) last = event
    expect(last).toMatchObject({
      type: 'response.failed',
      response: {
        error: { code: 'server_error', message: expect.stringMatching('ended early') },
        errorType: 'provider_unavailable',
      },
    })
  })

  test('of OpenRouter’s, too', async () => {
    await expect(chat(client(), 'nobody/none')).rejects.toMatchObject({
      statusCode: 400,
      name: 'BadRequestResponseError',
    })
  })
})

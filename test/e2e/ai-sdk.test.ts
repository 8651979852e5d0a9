import { createOpenRouter } from '@openrouter/ai-sdk-provider'
import { APICallError, embedMany, generateText, isStepCount, Output, streamText, tool } from 'ai'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { MODEL, TOKEN, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream, {
  policy: { strategy: 'priority', breaker: { failures: 100 } },
})

const provider = () => createOpenRouter({ baseURL: `${gateway().origin}/api/v1`, apiKey: TOKEN })

const SAID = /You said: Wie geht’s\?$/
const prompt = 'Wie geht’s?'

const costIn = (metadata: unknown): unknown =>
  z
    .object({ openrouter: z.object({ usage: z.object({ cost: z.number() }) }) })
    .transform(({ openrouter }) => openrouter.usage.cost)
    .parse(metadata)

async function costOfLast(): Promise<number> {
  const log = await upstream.control.log()
  return log.findLast(({ path }) => path === '/chat/completions')?.costUsd ?? -1
}

describe('a text', () => {
  test('is generated, with what it used and cost', async () => {
    const { text, usage, providerMetadata, finishReason } = await generateText({
      model: provider()(MODEL, { usage: { include: true } }),
      prompt,
    })
    expect(text).toMatch(SAID)
    expect(finishReason).toBe('stop')
    expect(usage.outputTokens).toBeGreaterThan(0)
    expect(costIn(providerMetadata)).toBeCloseTo(await costOfLast(), 9)
  })

  test('is streamed, with what it used and cost', async () => {
    const result = streamText({
      model: provider()(MODEL, { usage: { include: true } }),
      prompt,
    })
    let text = ''
    for await (const piece of result.textStream) text += piece
    expect(text).toMatch(SAID)
    expect((await result.usage).outputTokens).toBeGreaterThan(0)
    expect(costIn(await result.providerMetadata)).toBeCloseTo(await costOfLast(), 9)
  })

  test('comes with the reasoning before it', async () => {
    const { reasoningText, text } = await generateText({
      model: provider()('deepseek/deepseek-r1'),
      prompt,
    })
    expect(reasoningText).toEqual(expect.any(String))
    expect(text).toMatch(SAID)
  })
})

const weather = (onCall: (city: string) => void) =>
  tool({
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      onCall(city)
      return 'sunny'
    },
  })

describe('a tool', () => {
  test('is called, and what it gave is answered', async () => {
    const cities: string[] = []
    const { steps, text } = await generateText({
      model: provider()(MODEL),
      prompt,
      tools: { weather: weather((city) => cities.push(city)) },
      stopWhen: isStepCount(2),
    })
    expect(cities).toEqual([expect.any(String)])
    expect(steps).toHaveLength(2)
    expect(text).toEqual(expect.any(String))
  })

  test('is called from a stream', async () => {
    const cities: string[] = []
    const result = streamText({
      model: provider()(MODEL),
      prompt,
      tools: { weather: weather((city) => cities.push(city)) },
    })
    await result.consumeStream()
    expect(cities).toEqual([expect.any(String)])
  })
})

test('an object keeps to its schema', async () => {
  const { output } = await generateText({
    model: provider()(MODEL),
    prompt,
    output: Output.object({ schema: z.object({ city: z.string(), degrees: z.number().int() }) }),
  })
  expect(output).toEqual({ city: expect.any(String), degrees: expect.any(Number) })
})

test('texts are embedded', async () => {
  const { embeddings } = await embedMany({
    model: provider().textEmbeddingModel('openai/text-embedding-3-small'),
    values: ['eins', 'zwei'],
  })
  expect(embeddings.map(({ length }) => length > 10)).toEqual([true, true])
})

describe('a failure', () => {
  test('of one key is never seen', async () => {
    const { text } = await generateText({ model: provider()('sim/401@alpha'), prompt })
    expect(text).toMatch(SAID)
  })

  test('in the middle of a stream is the error of the stream', async () => {
    const errors: unknown[] = []
    const result = streamText({
      model: provider()('sim/cut-mid-stream'),
      prompt,
      maxRetries: 0,
      onError: ({ error }) => void errors.push(error),
    })
    let text = ''
    for await (const piece of result.textStream) text += piece
    expect(text.length).toBeGreaterThan(0)
    expect(errors).toHaveLength(1)
    expect(JSON.stringify(errors)).toContain('ended early')
  })

  test('of every key is the gateway’s own error', async () => {
    const work = generateText({ model: provider()('sim/html-503'), prompt, maxRetries: 0 })
    const error: unknown = await work.catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      name: 'AI_APICallError',
      statusCode: 502,
      message: expect.stringMatching('OpenRouter could not be reached'),
    })
  })

  test('that is the caller’s own is the provider’s error', async () => {
    const work = generateText({ model: provider()('nobody/none'), prompt, maxRetries: 0 })
    const error: unknown = await work.catch((thrown: unknown) => thrown)
    expect(APICallError.isInstance(error) && error.statusCode).toBe(400)
  })
})

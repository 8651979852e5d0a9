import { APIError } from 'openai'
import { Stream } from 'openai/streaming'
import { describe, expect, it } from 'vitest'
import { completions } from '../../../src/openrouter/shapes/completions.ts'
import { eventsIn, raisedBy, readData, streamResponse } from './shape-reader.ts'

const chunk = (choice: object, rest: object = {}) => ({
  id: 'gen-1',
  object: 'text_completion',
  created: 1_790_000_000,
  model: 'openai/gpt-3.5-turbo-instruct',
  provider: 'OpenAI',
  choices: [{ index: 0, text: '', logprobs: null, finish_reason: null, ...choice }],
  ...rest,
})
const usage = { prompt_tokens: 21, completion_tokens: 3, total_tokens: 24, cost: 0.00000495 }

describe('an event of /completions', () => {
  it.each([
    [{ text: 'Hello' }, true],
    [{ text: '', reasoning: 'We need' }, true],
    [{ text: '' }, false],
    [{ text: '', reasoning: null, native_finish_reason: null }, false],
  ])('with the choice %j has output: %j', (choice, output) => {
    expect(readData(completions, chunk(choice))).toMatchObject({ output, finished: false })
  })

  it('tells end, usage and errors as chat does', () => {
    const last = chunk({ finish_reason: 'stop' }, { usage })
    expect(readData(completions, last)).toMatchObject({
      finished: true,
      usage: { promptTokens: 21, completionTokens: 3, costUsd: 0.00000495 },
    })
    const error = { code: 503, message: 'Busy' }
    expect(readData(completions, chunk({ finish_reason: 'error', error })).error).toMatchObject({
      status: 503,
    })
    expect(readData(completions, chunk({ finish_reason: 'error' })).error).toMatchObject({
      status: 502,
      providerName: 'OpenAI',
    })
  })
})

describe('a whole answer of /completions', () => {
  it('is one with a choice', () => {
    const body = chunk({ text: 'Hello', finish_reason: 'stop' }, { usage })
    expect(completions.readWhole(body)).toMatchObject({
      answer: true,
      error: null,
      usage: { promptTokens: 21 },
    })
    expect(completions.readWhole(chunk({}, { choices: [] })).answer).toBe(false)
  })
})

it('has no conversation whose opening could be kept in mind', () => {
  expect(completions.openingOf({ prompt: 'Once upon a time' })).toEqual([])
})

describe('the number of its parts', () => {
  it.each([
    [{ prompt: 'a' }, 1],
    [{ prompt: 'a', n: 3 }, 3],
    [{ prompt: ['a', 'b'], n: 3 }, 6],
    [{ prompt: [1, 2, 3] }, 1],
    [{ prompt: [[1, 2], [3]] }, 2],
    [{ prompt: [] }, 1],
  ])('of %j is %i', (body, parts) => {
    expect(completions.partsOf?.(body)).toBe(parts)
  })
})

describe('an error of our own', () => {
  const metadata = { source: 'switchyard', error_type: 'provider_unavailable' }
  const notice = { code: 502, message: 'Broke off.', metadata }

  it('is a chunk of this shape, then the end', () => {
    const identity = { id: 'gen-1', model: 'openai/gpt-4o-mini', created: 1_790_000_000 }
    const events = eventsIn(completions.errorEvent({ ...notice, ...identity }))
    expect(events.map(({ data }) => data)).toEqual([expect.any(String), '[DONE]'])
    expect(JSON.parse(events[0]?.data ?? '')).toMatchObject({
      ...identity,
      object: 'text_completion',
      choices: [{ index: 0, text: '', finish_reason: 'error' }],
      error: notice,
    })
  })

  it('makes OpenAI’s client raise its own error', async () => {
    const said = `data: ${JSON.stringify(chunk({ text: 'Hel' }))}\n\n`
    const response = streamResponse(said + completions.errorEvent(notice))
    const error = await raisedBy(Stream.fromSSEResponse(response, new AbortController()))
    expect(error).toBeInstanceOf(APIError)
    expect(error).toMatchObject({ message: 'Broke off.', code: 502 })
  })
})

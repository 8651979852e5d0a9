// The APIs without conversations: embeddings, reranking, images, sound, and unknown APIs.

import { APIError } from 'openai'
import { Stream } from 'openai/streaming'
import { describe, expect, it } from 'vitest'
import type { ApiShape } from '../../../src/openrouter/shapes/api-shape.ts'
import { API_SHAPES, unknownShape } from '../../../src/openrouter/shapes/shape-registry.ts'
import { eventsIn, raisedBy, readData, streamResponse } from './shape-reader.ts'

function shapeAt(path: string): ApiShape {
  const shape = API_SHAPES.find((candidate) => candidate.path === path)
  if (shape === undefined) throw new Error(`Nothing is served at ${path}.`)
  return shape
}
const embeddings = shapeAt('embeddings')
const rerank = shapeAt('rerank')
const images = shapeAt('images')
const speech = shapeAt('audio/speech')
const transcriptions = shapeAt('audio/transcriptions')
const unknown = unknownShape('videos')

const vectors = {
  object: 'list',
  id: 'gen-1',
  model: 'openai/text-embedding-3-small',
  data: [{ object: 'embedding', index: 0, embedding: [0.1, 0.2] }],
  usage: { prompt_tokens: 9, total_tokens: 9, cost: 0.0001 },
}
const ranks = {
  id: 'gen-2',
  model: 'cohere/rerank-v3.5',
  results: [{ index: 1, relevance_score: 0.9, document: { text: 'fox' } }],
  usage: { search_units: 1, total_tokens: 150, cost: 0.001 },
}
const pictures = {
  created: 1_790_000_000,
  data: [{ b64_json: 'AA==', media_type: 'image/png' }],
  usage: { prompt_tokens: 5, completion_tokens: 1290, total_tokens: 1295, cost: 0.04 },
}
const transcript = {
  text: 'Hello',
  usage: { seconds: 9.2, input_tokens: 83, output_tokens: 30, total_tokens: 113, cost: 0.000508 },
}

describe('a whole answer', () => {
  it.each([
    [embeddings, vectors, { promptTokens: 9, completionTokens: 0, costUsd: 0.0001 }],
    [rerank, ranks, { promptTokens: 150, costUsd: 0.001 }],
    [images, pictures, { promptTokens: 5, completionTokens: 1290, costUsd: 0.04 }],
    [transcriptions, transcript, { promptTokens: 83, completionTokens: 30, costUsd: 0.000508 }],
    [unknown, { id: 'job-1', usage: { cost: 0.2 } }, { costUsd: 0.2 }],
    [unknown, { data: { usage: { cost: 0.2 } } }, { costUsd: 0.2 }],
    [unknown, { response: { usage: { input_tokens: 3 } } }, { promptTokens: 3 }],
  ])('of $path counts its usage', (shape, body, usage) => {
    expect(shape.readWhole(body)).toMatchObject({ answer: true, error: null, usage })
  })

  it.each([
    [embeddings, { ...vectors, data: [] }],
    [rerank, { ...ranks, results: [] }],
    [images, { ...pictures, data: [] }],
  ])('of $path may be empty: who asks about nothing hears nothing', (shape, body) => {
    expect(shape.readWhole(body)).toMatchObject({ answer: true, error: null })
  })

  it.each([
    [embeddings, { ...vectors, data: null }],
    [rerank, { ...ranks, results: {} }],
    [images, { ...pictures, data: undefined }],
    [speech, {}],
    [speech, undefined],
    [transcriptions, { duration: 3 }],
    [unknown, undefined],
  ])('of $path is none when it is %j', (shape, body) => {
    expect(shape.readWhole(body)).toMatchObject({ answer: false, error: null })
  })

  it.each([
    [transcriptions, { text: '' }],
    [transcriptions, { usage: { seconds: 1 } }],
    [speech, { audio: 'AA==' }],
    [unknown, {}],
    [unknown, []],
    [unknown, null],
    [unknown, { anything: 1, error: null }],
  ])('of $path is good when it is %j', (shape, body) => {
    expect(shape.readWhole(body)).toMatchObject({ answer: true, error: null })
  })

  it.each([embeddings, rerank, images, speech, transcriptions, unknown])(
    'of $path may be an error in spite of its 200',
    (shape) => {
      const metadata = { provider_name: 'X' }
      const body = { id: 'gen-1', error: { code: 429, message: 'Slow', metadata } }
      expect(shape.readWhole(body).error).toMatchObject({
        status: 429,
        message: 'Slow',
        providerName: 'X',
      })
    },
  )

  it('may be something else than JSON only where it is sound, a text, or unknown', () => {
    const inBytes = API_SHAPES.filter(({ answers }) => answers === 'bytes')
    expect(inBytes).toEqual([speech, transcriptions])
    expect(unknown.answers).toBe('bytes')
  })
})

describe('a stream', () => {
  it.each([
    [images, { type: 'image_generation.partial_image', partial_image_index: 0, b64_json: 'AA==' }],
    [images, { type: 'image_generation.text_chunk', phase: 'content', text: '<svg>' }],
    [transcriptions, { type: 'transcript.text.delta', delta: 'Hel' }],
    [speech, { type: 'speech.audio.delta', audio: 'AAAA' }],
    [unknown, { anything: 'x' }],
    [unknown, { deep: [{ inside: 'x' }] }],
  ])('of $path begins with %j', (shape, event) => {
    expect(readData(shape, event)).toMatchObject({ output: true, finished: false, error: null })
  })

  it.each(['plain text', '[1]', '"x"', '7'])('of an unknown API may begin with %s', (data) => {
    expect(unknown.readEvent({ event: 'message', data }).output).toBe(true)
  })

  it.each([
    [images, { type: 'image_generation.text_chunk', phase: 'content', text: '' }],
    [transcriptions, { type: 'transcript.text.delta', delta: '', logprobs: [] }],
    [unknown, {}],
    [unknown, { id: 'gen-1', model: 'm', usage: null, error: null }],
  ])('of $path has not begun with %j', (shape, event) => {
    expect(readData(shape, event)).toMatchObject({ output: false, finished: false, error: null })
  })

  it('has not begun with an event without content', () => {
    expect(unknown.readEvent({ event: 'message', data: ' ' }).output).toBe(false)
  })

  it.each([
    [images, { type: 'image_generation.completed', b64_json: 'AA==', usage: pictures.usage }, 1290],
    [transcriptions, { type: 'transcript.text.done', text: 'Hi', usage: transcript.usage }, 30],
    [speech, { type: 'speech.audio.done', usage: { input_tokens: 1, output_tokens: 9 } }, 9],
  ])('of $path ends with %j', (shape, event, completionTokens) => {
    const reading = readData(shape, event)
    expect(reading).toMatchObject({ finished: true, error: null, usage: { completionTokens } })
    expect(shape.mayMatter(JSON.stringify(event))).toBe(true)
  })

  it.each([images, speech, transcriptions, unknown])('of $path ends with [DONE]', (shape) => {
    expect(shape.readEvent({ event: 'message', data: '[DONE]' }).done).toBe(true)
  })

  it.each([
    [{ type: 'error', error: { code: '429', message: 'No', param: null, type: null } }, 429],
    [{ type: 'error', error: { code: 'server_error', message: 'No' } }, 500],
    [{ type: 'error', error: { code: 'upstream_error', message: 'No' } }, 502],
    [{ type: 'error', message: 'No' }, 502],
    [{ error: { code: 503, message: 'No' } }, 503],
  ])('of pictures fails with %j', (event, status) => {
    expect(readData(images, event).error).toMatchObject({ status, message: 'No' })
  })
})

it.each([embeddings, rerank, images, speech, transcriptions, unknown])(
  '$path has no conversation whose opening could be kept in mind',
  (shape) => {
    expect(shape.openingOf({ input: 'x', messages: [{ role: 'user', content: 'x' }] })).toEqual([])
  },
)

describe('an error of our own', () => {
  const notice = {
    code: 504,
    message: 'Too late.',
    metadata: { source: 'switchyard', error_type: 'timeout' },
  }

  it('has OpenRouter’s form in the stream of an unknown API', () => {
    const events = eventsIn(unknown.errorEvent(notice))
    expect(events.map(({ data }) => data)).toEqual([JSON.stringify({ error: notice }), '[DONE]'])
  })

  it('has the form of its events in a stream of pictures', () => {
    const [event] = eventsIn(images.errorEvent(notice))
    expect(JSON.parse(event?.data ?? '')).toEqual({
      type: 'error',
      error: { ...notice, code: '504', param: null, type: null },
    })
  })

  it.each([images, speech, transcriptions, unknown])(
    'makes OpenAI’s client raise its own error in a stream of $path, and is read back',
    async (shape) => {
      const text = shape.errorEvent(notice)
      const error = await raisedBy(
        Stream.fromSSEResponse(streamResponse(text), new AbortController()),
      )
      expect(error).toBeInstanceOf(APIError)
      expect(error).toMatchObject({ message: 'Too late.' })
      const [event] = eventsIn(text)
      if (event === undefined) throw new Error('There is no event.')
      expect(shape.readEvent(event).error).toMatchObject({ status: 504, message: 'Too late.' })
    },
  )
})

// Properties that hold for every API shape.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { API_SHAPES, unknownShape } from '../../../src/openrouter/shapes/shape-registry.ts'
import { neverPassedOver, readData } from './shape-reader.ts'

const SHAPES = [...API_SHAPES, unknownShape('videos')]

const TYPES = [
  ...['response.created', 'response.output_text.delta', 'response.completed', 'response.failed'],
  ...['response.incomplete', 'response.error', 'message_start', 'content_block_delta'],
  ...['message_delta', 'message_stop', 'ping', 'image_generation.completed', 'error'],
  ...['transcript.text.done', 'speech.audio.done', ''],
]

const USAGE = fc.constantFrom<unknown>(
  undefined,
  null,
  {},
  { cost: 0 },
  { prompt_tokens: 1, completion_tokens: 2 },
  { input_tokens: null, output_tokens: 2 },
)
const ERROR = fc.constantFrom<unknown>(
  undefined,
  null,
  'No',
  {},
  { code: 500, message: 'null' },
  { type: 'overloaded_error', message: 'No' },
)
const REASON = fc.constantFrom<unknown>(undefined, null, '', 'stop', 'error', 'end_turn')

/** Events that mix the fields of all API shapes, with right and wrong values. */
const EVENTS = fc.record(
  {
    type: fc.constantFrom(...TYPES),
    usage: USAGE,
    error: ERROR,
    note: fc.string(),
    delta: fc.oneof(fc.string(), fc.record({ stop_reason: REASON, text: fc.string() })),
    message: fc.record({ id: fc.string(), usage: USAGE }),
    response: fc.oneof(
      fc.constant(null),
      fc.record({
        status: fc.constantFrom('in_progress', 'completed', 'failed'),
        error: ERROR,
        usage: USAGE,
      }),
    ),
    choices: fc.array(fc.record({ finish_reason: REASON, error: ERROR, text: fc.string() }), {
      maxLength: 2,
    }),
  },
  { requiredKeys: [] },
)

const DEPTH = 100_000

it('serves each path once', () => {
  expect(API_SHAPES.map(({ path }) => path)).toEqual([
    'chat/completions',
    'completions',
    'responses',
    'messages',
    'messages/count_tokens',
    'embeddings',
    'rerank',
    'images',
    'audio/speech',
    'audio/transcriptions',
  ])
})

describe.each(SHAPES)('$path', (shape) => {
  it('never passes over usage, an error or an end, whatever the JSON looks like', () => {
    expect(neverPassedOver(shape, EVENTS)).toBeGreaterThan(100)
  })

  it('never throws, neither on wrong types', () => {
    fc.assert(
      fc.property(fc.jsonValue(), EVENTS, fc.constantFrom(...TYPES), (value, event, type) => {
        const fields = Object.keys(event)
        const wrong = Object.fromEntries(fields.map((field) => [field, value]))
        for (const body of [value, event, wrong, { ...wrong, type }, { error: value, type }]) {
          const reading = readData(shape, body)
          expect(typeof reading.output).toBe('boolean')
          const whole = shape.readWhole(body)
          expect(typeof whole.answer).toBe('boolean')
        }
        expect(Array.isArray(shape.openingOf({ ...wrong, messages: value, input: value }))).toBe(
          true,
        )
      }),
    )
  })

  it('never throws, nor on deep nesting', () => {
    const deep = '['.repeat(DEPTH) + ']'.repeat(DEPTH)
    for (const field of ['delta', 'content_block', 'item', 'response', 'error', 'anything']) {
      const data = `{"type":"content_block_delta","${field}":${deep}}`
      expect(shape.readEvent({ event: 'message', data }).done).toBe(false)
    }
  })

  it.each(['', '{', 'null', '7', '"text"', '[]', '<html>', '{"choices":[null,7,"x"]}'])(
    'finds neither end nor error nor usage in %j',
    (data) => {
      expect(shape.readEvent({ event: 'message', data })).toMatchObject({
        finished: false,
        done: false,
        error: null,
        usage: null,
      })
    },
  )

  it('is told an end by [DONE], whatever event it is called', () => {
    expect(shape.readEvent({ event: 'data', data: '[DONE]' }).done).toBe(true)
    expect(shape.mayMatter(new TextEncoder().encode('event: data\ndata: [DONE]\n\n'))).toBe(true)
  })

  it('words an error of ours so that it is read back with its message and metadata', () => {
    const metadata = { source: 'switchyard', reason: 'upstream_timeout' }
    const notice = { code: 504, message: 'Too "late".\n', metadata }
    expect(shape.readWhole(shape.errorBody(notice)).error).toMatchObject({
      status: 504,
      message: notice.message,
      metadata,
    })
    const bare = shape.errorBody({ code: 404, message: 'No' })
    expect(shape.readWhole(bare).error).toMatchObject({ status: 404, metadata: {} })
  })
})

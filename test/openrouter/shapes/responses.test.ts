import { StreamEvents$inboundSchema } from '@openrouter/sdk/models'
import { APIError } from 'openai'
import { Stream } from 'openai/streaming'
import { describe, expect, it } from 'vitest'
import { blame } from '../../../src/openrouter/failures/blame.ts'
import { failureOf, type WireError } from '../../../src/openrouter/failures/upstream-failure.ts'
import { responses } from '../../../src/openrouter/shapes/responses.ts'
import { eventsIn, raisedBy, readData, streamResponse } from './shape-reader.ts'

/** The row of the table of blame for an error in a 200. */
function blamed({ error }: { readonly error: WireError | null }): string {
  if (error === null) return 'no error'
  const spill = { freeTier: false, policy: false }
  return blame(failureOf(error, new Headers()), { nowMs: 0, spill }).row
}

const encoder = new TextEncoder()
const read = (event: unknown) => readData(responses, event)

const usage = {
  input_tokens: 78,
  input_tokens_details: { cached_tokens: 8 },
  output_tokens: 37,
  output_tokens_details: { reasoning_tokens: 22 },
  total_tokens: 115,
  cost: 0.0000113,
  is_byok: false,
}
const run = (fields: object = {}) => ({
  object: 'response',
  id: 'gen-1790000000-abcdefghijklmnopqrst',
  created_at: 1_790_000_000,
  status: 'in_progress',
  error: null,
  incomplete_details: null,
  model: 'openai/gpt-oss-20b',
  output: [],
  output_text: '',
  instructions: 'Be brief.',
  metadata: {},
  ...fields,
})
const completed = {
  type: 'response.completed',
  response: run({ status: 'completed', usage }),
  sequence_number: 39,
}
const failed = (fields: object = {}, beside: object = {}) => ({
  type: 'response.failed',
  response: run({ status: 'failed', ...fields }),
  sequence_number: 4,
  ...beside,
})

describe('an event of /responses', () => {
  const at = { output_index: 0, item_id: 'msg_tmp_8cjof4f6zpw', content_index: 0 }

  it.each([
    { type: 'response.output_text.delta', ...at, delta: 'Hi', logprobs: [] },
    { type: 'response.refusal.delta', ...at, delta: 'I can’t' },
    { type: 'response.reasoning_text.delta', ...at, delta: 'The' },
    { type: 'response.reasoning_summary_text.delta', ...at, delta: 'The' },
    { type: 'response.function_call_arguments.delta', ...at, delta: '{' },
    { type: 'response.custom_tool_call_input.delta', ...at, delta: 'x' },
    { type: 'response.code_interpreter_call_code.delta', ...at, delta: 'x' },
    { type: 'response.audio.delta', delta: 'AAAA' },
    { type: 'response.audio.transcript.delta', delta: 'Hi' },
    { type: 'response.apply_patch_call_operation_diff.delta', ...at, delta: '+' },
    { type: 'response.fusion_call.panel.completed', ...at, model: 'a/b', content: 'Hi' },
    { type: 'response.a_tool_of_tomorrow.result', ...at, result: { text: 'Hi' } },
    { type: 'response.output_text.annotation.added', ...at, annotation: { title: 'A' } },
    { type: 'response.content_part.added', ...at, part: { type: 'output_text', text: 'Hi' } },
    { type: 'response.output_text.done', ...at, text: 'Hi' },
    { type: 'response.function_call_arguments.done', ...at, arguments: '{}' },
    { type: 'response.image_generation_call.partial_image', ...at, partial_image_b64: 'AA==' },
    {
      type: 'response.output_item.added',
      item: {
        type: 'function_call',
        id: 'fc_tmp_1',
        call_id: 'call_1',
        name: 'weather',
        arguments: '',
        status: 'in_progress',
      },
    },
    {
      type: 'response.output_item.done',
      item: { type: 'reasoning', id: 'rs_tmp_1', summary: [], encrypted_content: 'AbC=' },
    },
    {
      type: 'response.output_item.done',
      item: {
        type: 'web_search_call',
        id: 'ws_1',
        status: 'completed',
        action: { type: 'search', query: 'weather' },
      },
    },
  ])('is output when it is %j', (event) => {
    expect(read(event)).toMatchObject({ output: true, finished: false, done: false, error: null })
  })

  it.each([
    { type: 'response.created', response: run(), sequence_number: 0 },
    { type: 'response.in_progress', response: run(), sequence_number: 1 },
    { type: 'response.queued', response: run({ status: 'queued' }) },
    { type: 'response.debug', debug: { echo_upstream_body: { model: 'x' } } },
    {
      type: 'response.output_item.added',
      item: {
        type: 'message',
        id: 'msg_tmp_1',
        role: 'assistant',
        status: 'in_progress',
        phase: 'final_answer',
        content: [],
      },
    },
    {
      type: 'response.output_item.added',
      item: { type: 'reasoning', id: 'rs_tmp_1', summary: [], format: 'openai-responses-v1' },
    },
    {
      type: 'response.output_item.added',
      item: { type: 'image_generation_call', id: 'ig_1', status: 'in_progress', result: null },
    },
    {
      type: 'response.content_part.added',
      ...at,
      part: { type: 'output_text', annotations: [], text: '' },
    },
    {
      type: 'response.reasoning_summary_part.added',
      ...at,
      part: { type: 'summary_text', text: '' },
    },
    { type: 'response.output_text.delta', ...at, delta: '', logprobs: [], obfuscation: 'xyz' },
    { type: 'response.fusion_call.panel.added', ...at, model: 'a/b' },
    { type: 'response.web_search_call.in_progress', ...at },
    { type: 'response.web_search_call.searching', ...at },
    { type: 'response.image_generation_call.generating', ...at },
  ])('is no output, and nothing else, when it is %j', (event) => {
    expect(read(event)).toMatchObject({
      output: false,
      finished: false,
      done: false,
      error: null,
      usage: null,
    })
  })

  it('says at the start who answers', () => {
    expect(read({ type: 'response.created', response: run() })).toMatchObject({
      id: 'gen-1790000000-abcdefghijklmnopqrst',
      model: 'openai/gpt-oss-20b',
      created: 1_790_000_000,
    })
  })

  it.each(['completed', 'incomplete'])('ends the answer as response.%s, with usage', (status) => {
    const event = { type: `response.${status}`, response: run({ status, usage }) }
    expect(read(event)).toMatchObject({
      finished: true,
      error: null,
      usage: {
        promptTokens: 78,
        completionTokens: 37,
        cachedTokens: 8,
        reasoningTokens: 22,
        costUsd: 0.0000113,
      },
    })
  })

  it('ends the stream with [DONE]', () => {
    expect(responses.readEvent({ event: 'message', data: '[DONE]' }).done).toBe(true)
  })

  it.each([
    [failed({ error: { code: 'server_error', message: 'No' } }), 500],
    [failed({ error: { code: 'rate_limit_exceeded', message: 'No' } }), 429],
    [failed({ error: { code: 'invalid_prompt', message: 'No' } }), 400],
    [failed({ error: { code: 'image_file_too_large', message: 'No' } }), 400],
    [failed({ error: { code: 'bio_policy', message: 'No' } }), 403],
    [failed({ error: { code: 'server_error', message: 'No' }, error_type: 'authentication' }), 401],
    [failed({ error: { code: 'server_error', message: 'No' } }, { error_type: 'timeout' }), 504],
    [failed({ error: { code: 'server_error', message: 'No' }, error_type: null }), 500],
    [
      failed(
        { error: { code: 'server_error', message: 'No' }, error_type: null },
        { error_type: 'payment_required' },
      ),
      402,
    ],
    [failed({ error: { code: 'flex_unavailable', message: 'No' } }), 503],
    [{ type: 'response.error', error: { code: 'server_error', message: 'No' } }, 500],
    [{ type: 'response.error', code: 'rate_limit_exceeded', message: 'No' }, 429],
    [{ type: 'error', code: 'rate_limit_exceeded', message: 'No', param: null }, 429],
    [{ type: 'error', code: '503', message: 'No', param: null }, 503],
    [{ type: 'error', code: null, message: 'No', param: null }, 502],
    [{ type: 'error', code: 'server_error', message: 'No', error_type: 'authentication' }, 401],
    [{ type: 'error', error: { code: 'server_error', message: 'No' } }, 500],
    [{ error: { code: 502, message: 'No' } }, 502],
  ])('is an error when it is %j', (event, status) => {
    expect(read(event)).toMatchObject({ error: { status, message: 'No' }, finished: false })
  })

  it.each([
    ['authentication', 'User not found.', '4'],
    ['permission_denied', 'Key limit exceeded (total limit).', '5'],
    ['payment_required', 'Insufficient credits', '9'],
    ['content_policy_violation', 'Flagged', '14'],
    ['context_length_exceeded', 'Too long', '15'],
    ['provider_unavailable', 'Provider returned error', '16'],
  ])('is blamed by its error_type, since its code has few words: %s', (type, message, row) => {
    const error = { code: 'server_error', message }
    const readings = [
      read(failed({ error, error_type: type })),
      read(failed({ error }, { error_type: type })),
      responses.readWhole(run({ status: 'failed', error, error_type: type })),
    ]
    expect(readings.map(blamed)).toEqual([row, row, row])
  })

  it('is a provider’s where a tier has no capacity, and never the key’s', () => {
    const error = { code: 'flex_unavailable', message: 'No flex capacity.' }
    const events = [failed({ error }), { type: 'error', ...error, param: null }]
    expect(events.map((event) => blamed(read(event)))).toEqual(['3', '3'])
  })

  it('is the caller’s where it says no more than that the prompt is invalid', () => {
    const error = { code: 'invalid_prompt', message: 'Key limit exceeded, User not found.' }
    expect(blamed(read(failed({ error })))).toBe('15')
  })

  it.each([failed(), failed({ status: 'completed' }), { type: 'response.failed' }])(
    'is an error without a reason when it is %j',
    (event) => {
      expect(read(event).error).toMatchObject({ status: 502, providerName: null })
    },
  )

  it('counts what a failed answer has cost', () => {
    const event = failed({ error: { code: 'server_error', message: 'No' }, usage })
    expect(read(event).usage).toMatchObject({ promptTokens: 78, costUsd: 0.0000113 })
  })

  it('takes the caller’s own metadata, which a run repeats, for no word about the error', () => {
    const metadata = { limit_source: 'key_limit', provider_name: 'X', error_type: 'authentication' }
    const error = { code: 'server_error', message: 'No' }
    const told = { status: 500, limitSource: null, providerName: null, metadata: {} }
    expect(read(failed({ error, metadata })).error).toMatchObject(told)
    expect(responses.readWhole(run({ status: 'failed', error, metadata })).error).toMatchObject(
      told,
    )
  })
})

describe('an event that comes when the answer has begun', () => {
  const block = (event: object) => encoder.encode(`data: ${JSON.stringify(event)}\n\n`)

  it.each([
    { type: 'response.output_text.delta', delta: 'an "error" in usage: failed' },
    { type: 'response.function_call_arguments.delta', delta: '{"error": {"usage": 1}}' },
    { type: 'response.in_progress', response: run({ usage: null }) },
    { type: 'response.output_item.added', item: { type: 'message', content: [] } },
  ])('is not worth parsing when it is %j', (event) => {
    expect(responses.mayMatter(block(event))).toBe(false)
    const named = encoder.encode(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
    expect(responses.mayMatter(named)).toBe(false)
  })

  it.each([
    completed,
    failed(),
    { type: 'error', code: null, message: 'x' },
    { type: 'some.event', response: { status: 'failed' } },
  ])('is worth it when it is %j', (event) => {
    expect(responses.mayMatter(block(event))).toBe(true)
  })
})

describe('a whole answer of /responses', () => {
  const output = [{ type: 'message', content: [{ type: 'output_text', text: '4' }] }]

  it.each(['completed', 'incomplete'])('is an answer with usage when it is %s', (status) => {
    expect(responses.readWhole(run({ status, output, usage }))).toMatchObject({
      answer: true,
      error: null,
      usage: { promptTokens: 78, completionTokens: 37 },
    })
  })

  it('may have failed in spite of its 200, with a reason or without', () => {
    const error = { code: 'server_error', message: 'Provider disconnected' }
    expect(responses.readWhole(run({ status: 'failed', error })).error).toMatchObject({
      status: 500,
      message: 'Provider disconnected',
    })
    expect(responses.readWhole(run({ status: 'failed' })).error).toMatchObject({ status: 502 })
    expect(responses.readWhole({ error: { code: 502, message: 'No' } })).toMatchObject({
      answer: false,
      error: { status: 502 },
    })
  })

  it.each([undefined, null, '<html>', 7, [], {}, { output: null }])(
    'is no answer when it is %j',
    (body) => {
      expect(responses.readWhole(body)).toEqual({ answer: false, error: null, usage: null })
    },
  )
})

describe('the opening of a conversation', () => {
  const first = { role: 'user', content: 'Hi' }

  it('is the instructions and the input up to the first user message, the same in every turn', () => {
    const system = { role: 'developer', content: 'Be brief.' }
    const later = [system, first, { role: 'assistant', content: 'Yes?' }, { role: 'user' }]
    const opening = ['Be kind.', system, first]
    expect(responses.openingOf({ instructions: 'Be kind.', input: later })).toEqual(opening)
    expect(responses.openingOf({ instructions: 'Be kind.', input: [system, first] })).toEqual(
      opening,
    )
  })

  it('is the input itself where that is a text', () => {
    expect(responses.openingOf({ input: 'Hi' })).toEqual(['Hi'])
  })

  it.each([{}, { input: [] }, { input: [null, 7] }])('is nothing in %j', (body) => {
    expect(responses.openingOf(body)).toEqual([])
  })
})

describe('an error of our own', () => {
  const notice = {
    code: 502,
    message: 'The upstream broke off.',
    metadata: {
      source: 'switchyard',
      reason: 'upstream_unreachable',
      error_type: 'provider_unavailable',
    },
  }

  it('is a run that failed, the next event of its stream, then the end', () => {
    const events = eventsIn(responses.errorEvent({ ...notice, id: 'gen-1', events: 12 }))
    expect(events.map(({ data }) => data)).toEqual([expect.any(String), '[DONE]'])
    expect(JSON.parse(events[0]?.data ?? '')).toMatchObject({
      type: 'response.failed',
      sequence_number: 12,
      response: {
        id: 'gen-1',
        status: 'failed',
        error: { code: 'server_error', message: notice.message },
        error_type: 'provider_unavailable',
      },
      error: notice,
    })
  })

  it.each([
    [429, 'rate_limit_exceeded'],
    [400, 'invalid_prompt'],
    [504, 'server_error'],
  ])('has for the status %i a code of this API: %s', (code, name) => {
    const [event] = eventsIn(responses.errorEvent({ code, message: 'No' }))
    expect(JSON.parse(event?.data ?? '')).toMatchObject({ response: { error: { code: name } } })
  })

  it('is an event that OpenRouter’s client reads, also where nothing of the stream was known', () => {
    const [event] = eventsIn(responses.errorEvent(notice))
    expect(StreamEvents$inboundSchema.parse(JSON.parse(event?.data ?? ''))).toMatchObject({
      type: 'response.failed',
      response: { error: { message: notice.message }, errorType: 'provider_unavailable' },
    })
  })

  it('makes OpenAI’s client raise its own error in the middle of a stream', async () => {
    const said = { type: 'response.output_text.delta', delta: 'Hel', sequence_number: 4 }
    const text = `data: ${JSON.stringify(said)}\n\n${responses.errorEvent(notice)}`
    const stream = Stream.fromSSEResponse(streamResponse(text), new AbortController())
    const error = await raisedBy(stream)
    expect(error).toBeInstanceOf(APIError)
    expect(error).toMatchObject({ message: notice.message, code: 502 })
  })

  it('is read back as what it is', () => {
    const [event] = eventsIn(responses.errorEvent(notice))
    if (event === undefined) throw new Error('There is no event.')
    expect(responses.readEvent(event).error).toMatchObject({ status: 502, message: notice.message })
  })
})

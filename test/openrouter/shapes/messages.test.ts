import { APIError } from '@anthropic-ai/sdk'
import { Stream } from '@anthropic-ai/sdk/streaming'
import { describe, expect, it } from 'vitest'
import { countTokens, messages } from '../../../src/openrouter/shapes/messages.ts'
import { mergeUsage } from '../../../src/openrouter/usage.ts'
import { eventsIn, raisedBy, readData, streamResponse } from './shape-reader.ts'

const encoder = new TextEncoder()
const read = (event: unknown) => readData(messages, event)

const start = {
  type: 'message_start',
  message: {
    id: 'gen-1790000000-abcdefghijklmnopqrst',
    type: 'message',
    role: 'assistant',
    model: 'anthropic/claude-sonnet-4.5',
    provider: 'Anthropic',
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: {
      input_tokens: 5,
      cache_creation_input_tokens: 20,
      cache_read_input_tokens: 100,
      output_tokens: 1,
      service_tier: 'standard',
    },
  },
}
const blockStart = (content_block: object) => ({
  type: 'content_block_start',
  index: 0,
  content_block,
})
const blockDelta = (delta: object) => ({ type: 'content_block_delta', index: 0, delta })
const end = {
  type: 'message_delta',
  delta: { stop_reason: 'end_turn', stop_sequence: null, stop_details: null, container: null },
  usage: {
    input_tokens: null,
    cache_creation_input_tokens: null,
    cache_read_input_tokens: null,
    output_tokens: 30,
    output_tokens_details: { thinking_tokens: 12 },
    cost: 0.0012,
    is_byok: false,
  },
}

describe('an event of /messages', () => {
  it.each([
    blockDelta({ type: 'text_delta', text: 'Hello' }),
    blockDelta({ type: 'text_delta', text: ' ' }),
    blockDelta({ type: 'thinking_delta', thinking: 'The user' }),
    blockDelta({ type: 'input_json_delta', partial_json: '{"a"' }),
    blockDelta({ type: 'citations_delta', citation: { type: 'page_location', cited_text: 'x' } }),
    blockDelta({ type: 'signature_delta', signature: 'AbC=' }),
    blockStart({ type: 'text', text: 'Hel' }),
    blockDelta({ type: 'compaction_delta', content: 'So far' }),
    { ...start, message: { ...start.message, content: [{ type: 'text', text: 'Hello' }] } },
    blockStart({ type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} }),
    blockStart({ type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: {} }),
    blockStart({ type: 'redacted_thinking', data: 'AbC=' }),
    blockStart({
      type: 'web_search_tool_result',
      tool_use_id: 'srvtoolu_1',
      content: [{ type: 'web_search_result', url: 'https://a.example', title: 'A' }],
    }),
  ])('is output when it is %j', (event) => {
    expect(read(event)).toMatchObject({ output: true, finished: false, done: false, error: null })
  })

  it.each([
    start,
    { type: 'ping' },
    blockStart({ type: 'text', text: '', citations: null }),
    blockStart({ type: 'thinking', thinking: '', signature: '' }),
    blockStart({ type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: [] }),
    blockDelta({ type: 'text_delta', text: '' }),
    blockDelta({ type: 'input_json_delta', partial_json: '' }),
    { type: 'content_block_stop', index: 0 },
    { ...end, delta: { ...end.delta, stop_reason: '' } },
    end,
    { type: 'message_stop' },
  ])('is no output when it is %j', (event) => {
    expect(read(event).output).toBe(false)
  })

  it('says at the start who answers', () => {
    expect(read(start)).toMatchObject({
      id: 'gen-1790000000-abcdefghijklmnopqrst',
      model: 'anthropic/claude-sonnet-4.5',
    })
  })

  it.each(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use', 'pause_turn', 'refusal'])(
    'tells the end of the answer by the stop reason %s',
    (stop_reason) => {
      const reading = read({ ...end, delta: { ...end.delta, stop_reason } })
      expect(reading).toMatchObject({ finished: true, done: false, error: null })
    },
  )

  it('tells the end of the stream by message_stop, and again by OpenRouter’s own mark', () => {
    expect(read({ type: 'message_stop' })).toMatchObject({ done: true, error: null })
    const [mark] = eventsIn('event: data\ndata: [DONE]\n\n')
    if (mark === undefined) throw new Error('There is no event.')
    expect(messages.readEvent(mark)).toMatchObject({ done: true, output: false, error: null })
  })

  it.each([null, ''])('has no end where a message ends with the reason %j', (stop_reason) => {
    expect(read({ ...end, delta: { stop_reason } }).finished).toBe(false)
    const running = { type: 'message_delta', delta: { stop_reason } }
    expect(messages.mayMatter(JSON.stringify(running))).toBe(false)
  })

  it('counts the prompt at the start and the answer at the end, and the two together', () => {
    const usage = mergeUsage(read(start).usage, read(end).usage)
    expect(usage).toEqual({
      promptTokens: 125,
      completionTokens: 30,
      cachedTokens: 100,
      reasoningTokens: 12,
      costUsd: 0.0012,
      estimated: false,
    })
  })

  it('counts what the end repeats of the prompt only once', () => {
    const repeated = { ...start.message.usage, ...end.usage, input_tokens: 5 }
    const whole = { ...repeated, cache_creation_input_tokens: 20, cache_read_input_tokens: 100 }
    const usage = mergeUsage(read(start).usage, read({ ...end, usage: whole }).usage)
    expect(usage).toMatchObject({ promptTokens: 125, completionTokens: 30, cachedTokens: 100 })
  })

  it.each([
    [{ type: 'overloaded_error', message: 'Overloaded' }, 529],
    [{ type: 'api_error', message: 'No', error_type: 'provider_unavailable' }, 502],
    [{ type: 'rate_limit_error', message: 'Slow' }, 429],
    [{ type: 'billing_error', message: 'Pay' }, 402],
    [{ message: 'No' }, 502],
  ])('is an error when it holds %j', (error, status) => {
    expect(read({ type: 'error', error }).error).toMatchObject({ status, message: error.message })
  })

  it('finds an error’s metadata within it and beside it', () => {
    const error = { type: 'rate_limit_error', message: 'Slow' }
    const metadata = { provider_name: 'Anthropic', limit_source: 'openrouter_free_tier_daily' }
    const told = { providerName: 'Anthropic', limitSource: 'free_tier_daily' }
    expect(read({ type: 'error', error, metadata }).error).toMatchObject(told)
    expect(read({ type: 'error', error: { ...error, metadata } }).error).toMatchObject(told)
  })

  it('is an error, too, when it only calls itself one', () => {
    expect(read({ type: 'error', message: 'No' }).error).toMatchObject({ message: 'No' })
  })
})

describe('an event that comes when the answer has begun', () => {
  const block = (event: { type: string }) =>
    encoder.encode(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)

  it.each([
    blockDelta({ type: 'text_delta', text: 'The "usage" of an error: message ended' }),
    blockDelta({ type: 'input_json_delta', partial_json: '{"error": {"usage": 1}}' }),
    blockStart({ type: 'text', text: '', citations: null }),
    { type: 'content_block_stop', index: 0 },
    { type: 'ping' },
  ])('is not worth parsing when it is %j', (event) => {
    expect(messages.mayMatter(block(event))).toBe(false)
    expect(messages.mayMatter(JSON.stringify(event))).toBe(false)
  })

  it.each([end, { type: 'message_stop' }, { type: 'error', error: { message: 'x' } }])(
    'is worth it when it is %j',
    (event) => {
      expect(messages.mayMatter(block(event))).toBe(true)
      expect(messages.mayMatter(JSON.stringify(event))).toBe(true)
    },
  )
})

describe('a whole answer of /messages', () => {
  const answer = {
    ...start.message,
    content: [{ type: 'text', text: 'Hello', citations: null }],
    stop_reason: 'end_turn',
    usage: { input_tokens: 5, cache_read_input_tokens: 7, output_tokens: 2, cost: 0.001 },
  }

  it('is an answer with usage', () => {
    expect(messages.readWhole(answer)).toMatchObject({
      answer: true,
      error: null,
      usage: { promptTokens: 12, completionTokens: 2, cachedTokens: 7, costUsd: 0.001 },
    })
  })

  it('may be a turn that ended without a word, but not one that never ended', () => {
    expect(messages.readWhole({ ...answer, content: [] }).answer).toBe(true)
    expect(messages.readWhole({ ...answer, content: [], stop_reason: null }).answer).toBe(false)
  })

  it('may be an error in spite of its 200', () => {
    const error = { type: 'overloaded_error', message: 'Overloaded' }
    expect(messages.readWhole({ type: 'error', error, request_id: 'gen-1' })).toMatchObject({
      answer: false,
      error: { status: 529, message: 'Overloaded' },
    })
  })

  it.each([undefined, null, '<html>', 7, [], {}, { content: null }, { type: 'message' }])(
    'is no answer when it is %j',
    (body) => {
      expect(messages.readWhole(body)).toMatchObject({ answer: false, error: null, usage: null })
    },
  )
})

describe('the opening of a conversation', () => {
  const first = { role: 'user', content: 'Hi' }

  it('is the system prompt and the first user message, the same in every turn', () => {
    const system = [{ type: 'text', text: 'Be brief.' }]
    const later = [first, { role: 'assistant', content: 'Yes?' }, { role: 'user', content: 'Go' }]
    expect(messages.openingOf({ system, messages: later })).toEqual([system, first])
    expect(messages.openingOf({ system, messages: [first] })).toEqual([system, first])
    expect(messages.openingOf({ messages: [first] })).toEqual([first])
  })

  it.each([{}, { messages: 'x' }, { messages: [null, 7] }])('is nothing in %j', (body) => {
    expect(messages.openingOf(body)).toEqual([])
  })
})

describe('the count of a message’s tokens', () => {
  it('is an answer that costs nothing', () => {
    expect(countTokens.readWhole({ input_tokens: 0 })).toEqual({
      answer: true,
      error: null,
      usage: null,
    })
  })

  it('is no answer where there is no number', () => {
    expect(countTokens.readWhole({ input_tokens: '12' }).answer).toBe(false)
    expect(countTokens.readWhole({ error: { type: 'api_error', message: 'No' } })).toMatchObject({
      answer: false,
      error: { status: 500 },
    })
  })
})

describe('an error of our own', () => {
  const notice = {
    code: 502,
    message: 'The upstream broke off.\nTry again.',
    metadata: {
      source: 'switchyard',
      reason: 'upstream_unreachable',
      error_type: 'provider_unavailable',
    },
  }

  it.each([
    [400, 'invalid_request_error'],
    [401, 'authentication_error'],
    [402, 'billing_error'],
    [403, 'permission_error'],
    [404, 'not_found_error'],
    [413, 'request_too_large'],
    [418, 'invalid_request_error'],
    [429, 'rate_limit_error'],
    [500, 'api_error'],
    [502, 'api_error'],
    [503, 'overloaded_error'],
    [504, 'timeout_error'],
    [529, 'overloaded_error'],
  ])('with the status %i is an %s in Anthropic’s words', (code, type) => {
    expect(messages.errorBody({ ...notice, code })).toEqual({
      type: 'error',
      error: {
        type,
        message: notice.message,
        error_type: 'provider_unavailable',
        metadata: notice.metadata,
      },
      request_id: null,
    })
  })

  it('makes Anthropic’s client raise its own error in the middle of a stream', async () => {
    const said = blockDelta({ type: 'text_delta', text: 'Hel' })
    const before = `event: content_block_delta\ndata: ${JSON.stringify(said)}\n\n`
    const response = streamResponse(before + messages.errorEvent(notice))
    const error = await raisedBy(Stream.fromSSEResponse(response, new AbortController()))
    expect(error).toBeInstanceOf(APIError)
    expect(error).toMatchObject({ type: 'api_error', apiMessage: notice.message })
  })

  it('is one event, and read back as what it is', () => {
    const events = eventsIn(messages.errorEvent(notice))
    expect(events.map(({ event }) => event)).toEqual(['error'])
    const [event] = events
    if (event === undefined) throw new Error('There is no event.')
    expect(messages.readEvent(event).error).toMatchObject({
      message: notice.message,
      metadata: notice.metadata,
    })
  })
})

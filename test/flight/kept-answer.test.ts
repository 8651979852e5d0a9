import { describe, expect, it } from 'vitest'
import { keptHead, mayKeep } from '../../src/flight/kept-answer.ts'
import { API_SHAPES } from '../../src/openrouter/shapes/shape-registry.ts'

const shapeOf = (path: string) => {
  const shape = API_SHAPES.find((one) => one.path === path)
  if (shape === undefined) throw new Error(path)
  return shape
}
const encode = (text: string) => new TextEncoder().encode(text)
const JSON_HEAD = { status: 200, headers: { 'content-type': 'application/json' } }
const STREAM_HEAD = { status: 200, headers: { 'content-type': 'text/event-stream' } }

const whole = (path: string, json: unknown) =>
  mayKeep(shapeOf(path), JSON_HEAD, encode(JSON.stringify(json)))
const stream = (path: string, events: readonly unknown[], tail = 'data: [DONE]\n\n') => {
  const text = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('') + tail
  return mayKeep(shapeOf(path), STREAM_HEAD, encode(`: PROCESSING\n\n${text}`))
}

const chat = (reason: string | null, more: object = {}) => ({
  choices: [{ index: 0, message: { content: 'Hi' }, finish_reason: reason, ...more }],
})
const chunk = (reason: string | null) => ({
  choices: [{ index: 0, delta: { content: 'Hi' }, finish_reason: reason }],
})
const run = (status: string, more: object = {}) => ({
  id: 'r',
  status,
  output: [{ type: 'message', status: 'completed', content: [] }],
  ...more,
})

/** By path: answers that are kept, whole and as events, and answers that are not. */
const TABLE: Readonly<
  Record<string, { readonly good: readonly unknown[]; readonly bad: readonly unknown[] }>
> = {
  'chat/completions': {
    good: [chat('stop'), chat('tool_calls')],
    bad: [
      ...[chat('length'), chat('content_filter'), chat('error'), chat('function_call'), chat(null)],
      { choices: [...chat('stop').choices, ...chat('length').choices] },
      { ...chat('stop'), usage: { server_tool_use: { web_search_requests: 1 } } },
      chat('stop', { message: { annotations: [{ type: 'url_citation' }] } }),
      {},
    ],
  },
  completions: {
    good: [{ choices: [{ text: 'Hi', finish_reason: 'stop' }] }],
    bad: [{ choices: [{ text: 'Hi', finish_reason: 'length' }] }, { choices: [{ text: 'Hi' }] }],
  },
  messages: {
    good: [
      ...['end_turn', 'tool_use', 'stop_sequence'].map((stop_reason) => ({ stop_reason })),
      { stop_reason: 'end_turn', usage: { server_tool_use: { web_search_requests: 0 } } },
    ],
    bad: [
      ...['max_tokens', 'refusal', 'pause_turn', 'model_context_window_exceeded', null].map(
        (stop_reason) => ({ stop_reason, content: [] }),
      ),
      { stop_reason: 'end_turn', usage: { server_tool_use: { web_search_requests: 2 } } },
      { stop_reason: 'end_turn', content: [{ type: 'web_search_tool_result' }] },
    ],
  },
  responses: {
    good: [run('completed')],
    bad: [
      ...[run('incomplete'), run('failed'), run('cancelled'), run('in_progress'), { output: [] }],
      run('completed', { output: [{ type: 'web_search_call', status: 'completed' }] }),
    ],
  },
  embeddings: { good: [{ data: [{ embedding: [1] }] }], bad: [[], 'text', null] },
  rerank: { good: [{ results: [] }], bad: [[]] },
}

describe.each(Object.entries(TABLE))('an answer of %s', (path, { good, bad }) => {
  it.each(good.map((json) => [JSON.stringify(json), json]))('is kept: %s', (_, json) => {
    expect(whole(path, json)).toBe(true)
  })

  it.each(bad.map((json) => [JSON.stringify(json), json]))('is not kept: %s', (_, json) => {
    expect(whole(path, json)).toBe(false)
  })

  it('is kept only with the status of one', () => {
    const body = encode(JSON.stringify(good[0]))
    for (const status of [201, 206, 402, 500]) {
      expect(mayKeep(shapeOf(path), { ...JSON_HEAD, status }, body)).toBe(false)
    }
  })
})

it('is not kept where nobody knows how it ended, or what it is', () => {
  const paths = ['images', 'audio/speech', 'audio/transcriptions', 'messages/count_tokens']
  for (const path of paths) expect(whole(path, chat('stop'))).toBe(false)
  expect(mayKeep(shapeOf('embeddings'), JSON_HEAD, encode('{"data":'))).toBe(false)
})

describe('a stream', () => {
  it.each<[string, string, readonly unknown[]]>([
    ['chat', 'chat/completions', [chunk(null), chunk('stop'), { ...chunk('stop'), usage: {} }]],
    ['tool calls', 'chat/completions', [chunk(null), chunk('tool_calls')]],
    ['completions', 'completions', [{ choices: [{ text: 'a', finish_reason: 'stop' }] }]],
    [
      'messages',
      'messages',
      [
        { type: 'message_start', message: { stop_reason: null, content: [] } },
        { type: 'content_block_delta', delta: { type: 'text_delta', text: 'stop_reason' } },
        { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: {} },
        { type: 'message_stop' },
      ],
    ],
    [
      'responses',
      'responses',
      [
        { type: 'response.created', response: run('in_progress') },
        { type: 'response.output_item.done', item: { status: 'completed' } },
        { type: 'response.completed', response: run('completed') },
      ],
    ],
  ])('of %s is kept if it ended well', (_, path, events) => {
    expect(stream(path, events)).toBe(true)
    expect(stream(path, events.slice(0, 1))).toBe(path === 'completions')
  })

  it.each<[string, string, readonly unknown[]]>([
    ['was cut by its length', 'chat/completions', [chunk(null), chunk('length')]],
    ['was filtered', 'chat/completions', [chunk('content_filter')]],
    ['had a part that was cut', 'chat/completions', [chunk('stop'), chunk('length')]],
    [
      'cites a page',
      'chat/completions',
      [{ choices: [{ delta: { annotations: [{ type: 'url_citation' }] } }] }, chunk('stop')],
    ],
    [
      'searched',
      'chat/completions',
      [{ ...chunk('stop'), usage: { server_tool_use_details: { web_search_requests: 1 } } }],
    ],
    [
      'reached its limit',
      'messages',
      [{ type: 'message_delta', delta: { stop_reason: 'max_tokens' } }],
    ],
    ['was refused', 'messages', [{ type: 'message_delta', delta: { stop_reason: 'refusal' } }]],
    ['is incomplete', 'responses', [{ type: 'response.incomplete', response: run('incomplete') }]],
  ])('is not kept that %s', (_, path, events) => {
    expect(stream(path, events)).toBe(false)
  })

  it('is kept without the blank line after its last event', () => {
    const tail = `data: ${JSON.stringify(chunk('stop'))}`
    expect(stream('chat/completions', [chunk(null)], tail)).toBe(true)
  })
})

it('is kept with the headers that are true of it later', () => {
  const headers = {
    'content-type': 'application/json',
    'x-generation-id': 'gen-1',
    'x-switchyard-model': 'vendor/other',
    ...{ 'retry-after': '1', 'x-ratelimit-remaining': '3', 'server-timing': 'auth;dur=1' },
    ...{ 'x-switchyard-key': 'alpha', 'x-switchyard-attempts': '1' },
  }
  expect(Object.keys(keptHead({ status: 200, headers }).headers)).toEqual([
    ...['content-type', 'x-generation-id', 'x-switchyard-model'],
  ])
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chatCompletions } from '../../../src/openrouter/shapes/chat-completions.ts'
import { createSseScanner, parseSseEvent } from '../../../src/openrouter/sse.ts'

const encoder = new TextEncoder()

const read = (body: unknown) =>
  chatCompletions.readEvent({ event: 'message', data: JSON.stringify(body) })

const chunk = (choice: object, rest: object = {}) => ({
  id: 'gen-1790000000-abcdefghijklmnopqrst',
  object: 'chat.completion.chunk',
  created: 1_790_000_000,
  model: 'openai/gpt-4o-mini',
  provider: 'Azure',
  choices: [{ index: 0, finish_reason: null, native_finish_reason: null, ...choice }],
  ...rest,
})
const delta = (fields: object) => chunk({ delta: { role: 'assistant', ...fields } })

const usage = { prompt_tokens: 21, completion_tokens: 3, total_tokens: 24, cost: 0.00000495 }

describe('readEvent', () => {
  it.each([
    { content: 'Hello' },
    { content: ' ' },
    { content: [{ type: 'text', text: 'Hello' }] },
    { content: '', reasoning: 'We need' },
    { content: null, reasoning_content: 'We need' },
    { content: '', thinking: 'We need' },
    { content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'We' }] }] },
    { content: '', thinking_blocks: [{ type: 'thinking', thinking: 'We' }] },
    { video: { url: 'https://a.example/v.mp4' } },
    { a_name_of_tomorrow: 'Hello' },
    { reasoning_details: [{ type: 'reasoning.text', text: 'We', index: 0, format: null }] },
    { reasoning_details: [{ type: 'reasoning.encrypted', data: 'AbC=', index: 0 }] },
    { reasoning_details: [{ type: 'reasoning.summary', summary: 'Thought' }] },
    { refusal: 'I can’t' },
    {
      tool_calls: [
        { index: 0, id: 'call_1', type: 'function', function: { name: 'f', arguments: '' } },
      ],
    },
    { tool_calls: [{ index: 0, function: { arguments: '{"a"' } }] },
    { function_call: { name: 'f', arguments: '' } },
    { images: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] },
    { audio: { id: 'audio_1', data: 'AAAA' } },
    { audio: { transcript: 'Hi' } },
    { annotations: [{ type: 'url_citation', url_citation: { url: 'https://a.example' } }] },
  ])('takes %j for output', (fields) => {
    expect(read(delta(fields)).output).toBe(true)
    expect(read(chunk({ message: fields })).output).toBe(true)
  })

  it.each([
    {},
    { content: '' },
    { content: null },
    { content: '', reasoning: null, reasoning_details: [] },
    {
      content: '',
      reasoning: '',
      reasoning_details: [{ type: 'reasoning.text', text: '', index: 0 }],
    },
    { content: [{ type: 'text', text: '' }] },
    { tool_calls: [] },
    { tool_calls: null, refusal: null, annotations: [], images: [], audio: null },
    { audio: { id: 'audio_1', expires_at: 1 } },
    { name: 'assistant', content: '', reasoning_content: '' },
    { content: '', provider: 'Azure', obfuscation: 'xyz' },
  ])('takes %j for no output yet', (fields) => {
    expect(read(delta(fields)).output).toBe(false)
  })

  it('takes the text of the older completions for output', () => {
    expect(read(chunk({ text: 'Hello' })).output).toBe(true)
    expect(read(chunk({ text: '' })).output).toBe(false)
  })

  it('says who answers, as far as the chunk does', () => {
    expect(read(delta({ content: 'x' }))).toMatchObject({
      id: 'gen-1790000000-abcdefghijklmnopqrst',
      model: 'openai/gpt-4o-mini',
      created: 1_790_000_000,
    })
    expect(read({ choices: [] })).toEqual({
      output: false,
      finished: false,
      done: false,
      error: null,
      usage: null,
    })
  })

  it('finds usage by its field, in the newer form (a choice is repeated) and in the older (none)', () => {
    const counted = { promptTokens: 21, completionTokens: 3, costUsd: 0.00000495 }
    expect(read(chunk({ delta: { content: '' }, finish_reason: 'stop' }, { usage }))).toMatchObject(
      {
        usage: counted,
        finished: true,
        output: false,
      },
    )
    expect(read(chunk({}, { choices: [], usage }))).toMatchObject({
      usage: counted,
      finished: false,
    })
  })

  it.each(['stop', 'length', 'tool_calls', 'content_filter'])(
    'is finished, without error, by finish_reason "%s"',
    (finish_reason) => {
      expect(read(chunk({ delta: {}, finish_reason }))).toMatchObject({
        finished: true,
        error: null,
      })
    },
  )

  it.each(['', null, undefined, 0, false])('goes on with the finish_reason %j', (finish_reason) => {
    const running = chunk({ delta: { content: 'x' }, finish_reason })
    expect(read(running)).toMatchObject({ finished: false, error: null })
    expect(chatCompletions.mayMatter(JSON.stringify(chunk({ finish_reason: '' })))).toBe(false)
  })

  it('says which of several choices have ended', () => {
    const choices = [
      { index: 2, delta: {}, finish_reason: 'stop' },
      { index: 0, delta: {}, finish_reason: null },
      { delta: {}, finish_reason: 'length' },
    ]
    expect(read(chunk({}, { choices })).ended).toEqual([2, 2])
    expect(read(chunk({})).ended).toBeUndefined()
    expect([1, 3, '3', 0, -1, 1.5, null].map((n) => chatCompletions.partsOf?.({ n }))).toEqual([
      1, 3, 1, 1, 1, 1, 1,
    ])
  })

  it.each(['[DONE]', ' [DONE] '])('is done by %j', (data) => {
    expect(chatCompletions.readEvent({ event: 'message', data })).toEqual({
      output: false,
      finished: false,
      done: true,
      error: null,
      usage: null,
    })
  })

  it('finds an error at the top, with what else its chunk says', () => {
    const error = { code: 400, message: 'Token limit reached' }
    const found = read(chunk({ delta: { role: 'assistant', content: '' } }, { error, usage }))
    expect(found).toMatchObject({
      error: { status: 400, message: 'Token limit reached', providerName: null },
      usage: { promptTokens: 21 },
      finished: false,
      output: false,
    })
  })

  it('finds an error that is the only thing in the stream', () => {
    const error = { code: 'provider_overloaded', message: 'Busy', metadata: { provider_name: 'X' } }
    expect(read({ id: 'gen-1', error }).error).toMatchObject({ status: 503, providerName: 'X' })
  })

  it('finds an error in a choice, and believes it before the bare word "error"', () => {
    const error = { code: 503, message: 'Overloaded', metadata: { provider_name: 'Chutes' } }
    const found = read(chunk({ delta: { content: 'par' }, finish_reason: 'error', error }))
    expect(found.error).toMatchObject({
      status: 503,
      message: 'Overloaded',
      providerName: 'Chutes',
    })
    expect(found).toMatchObject({ finished: true, output: true })
  })

  it('blames the provider for finish_reason "error" that nothing explains', () => {
    const choice = {
      delta: {},
      finish_reason: 'error',
      native_finish_reason: 'MALFORMED_FUNCTION_CALL',
    }
    expect(read(chunk(choice)).error).toMatchObject({
      status: 502,
      message: 'MALFORMED_FUNCTION_CALL',
      providerName: 'Azure',
      metadata: { provider_name: 'Azure' },
    })
    expect(read({ choices: [choice] }).error).toMatchObject({ status: 502, providerName: null })
  })

  it.each([
    '',
    '{',
    'null',
    '7',
    '"text"',
    '[]',
    '<html>',
    '{"choices":7}',
    '{"choices":[null,7,"x"]}',
  ])('learns nothing from %j', (data) => {
    expect(chatCompletions.readEvent({ event: 'message', data })).toEqual({
      output: false,
      finished: false,
      done: false,
      error: null,
      usage: null,
    })
  })

  it('never throws, neither on strange JSON nor on deep', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        for (const body of [
          value,
          { choices: value },
          chunk({ delta: value }),
          delta({ content: value }),
        ]) {
          expect(read(body).done).toBe(false)
        }
      }),
    )
    const deep = `{"choices":[{"delta":{"content":${'['.repeat(100_000)}${']'.repeat(100_000)}}}]}`
    expect(chatCompletions.readEvent({ event: 'message', data: deep }).done).toBe(false)
  })
})

describe('readWhole', () => {
  it('reads an answer', () => {
    const message = { role: 'assistant', content: 'Hello' }
    expect(
      chatCompletions.readWhole(chunk({ message, finish_reason: 'stop' }, { usage })),
    ).toMatchObject({
      answer: true,
      error: null,
      usage: { promptTokens: 21, completionTokens: 3 },
    })
  })

  it('reads an error in a 200 that has no choices', () => {
    const body = { id: 'gen-1', error: { code: 502, message: 'Provider disconnected' } }
    expect(chatCompletions.readWhole(body)).toMatchObject({
      answer: false,
      error: { status: 502 },
    })
  })

  it('reads an error in a choice beside a part of the answer', () => {
    const error = { code: 429, message: 'Slow down' }
    const body = chunk({ message: { content: 'par' }, finish_reason: 'error', error })
    expect(chatCompletions.readWhole(body)).toMatchObject({ answer: true, error: { status: 429 } })
  })

  it('blames the provider for an unexplained error', () => {
    const body = chunk({ message: { content: '' }, finish_reason: 'error' })
    expect(chatCompletions.readWhole(body).error).toMatchObject({
      status: 502,
      providerName: 'Azure',
    })
  })

  it.each([undefined, null, '<html>', 7, [], {}, { choices: [] }, { choices: null }])(
    'finds no answer in %j',
    (body) => {
      expect(chatCompletions.readWhole(body)).toEqual({ answer: false, error: null, usage: null })
    },
  )
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
  const identity = { id: 'gen-1', model: 'openai/gpt-4o-mini', created: 1_790_000_000 }

  it('ends a stream as OpenRouter does: one chunk with the error, then [DONE]', () => {
    const text = chatCompletions.errorEvent({ ...notice, ...identity })
    const blocks = createSseScanner().push(encoder.encode(text))
    const events = blocks.map(({ bytes }) => parseSseEvent(bytes))
    expect(events.map((event) => event?.event)).toEqual(['message', 'message'])
    expect(events[1]?.data).toBe('[DONE]')
    expect(JSON.parse(events[0]?.data ?? '')).toEqual({
      id: 'gen-1',
      object: 'chat.completion.chunk',
      created: 1_790_000_000,
      model: 'openai/gpt-4o-mini',
      choices: [
        { index: 0, delta: { content: '' }, finish_reason: 'error', native_finish_reason: null },
      ],
      error: notice,
    })
  })

  it('is read back as what it is, also where nothing of the stream was known', () => {
    const [block] = createSseScanner().push(encoder.encode(chatCompletions.errorEvent(notice)))
    const event = parseSseEvent(block?.bytes ?? new Uint8Array())
    if (event === null) throw new Error('The text holds no event.')
    expect(chatCompletions.readEvent(event)).toMatchObject({
      output: false,
      finished: true,
      error: { status: 502, message: notice.message, providerName: null },
    })
  })

  it('has OpenRouter’s shape in JSON', () => {
    expect(chatCompletions.errorBody(notice)).toEqual({ error: notice })
    expect(chatCompletions.errorBody({ code: 404, message: 'No' })).toEqual({
      error: { code: 404, message: 'No', metadata: { error_type: 'not_found' } },
    })
  })

  it('is served at chat/completions', () => {
    expect(chatCompletions.path).toBe('chat/completions')
  })
})

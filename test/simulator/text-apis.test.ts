// The special features of the APIs that answer in text. Chat is in simulator.test.ts.

import { describe, expect, it } from 'vitest'
import { bodyOf, eventsOf, serveSimulator } from './served-simulator.ts'
import { REQUESTS, type ShapePath } from './shape-requests.ts'

const { ask, control } = serveSimulator()

const weather = { type: 'object', properties: { city: { type: 'string' }, days: { enum: [3] } } }

const whole = async (path: ShapePath, body: object = {}) =>
  bodyOf(await ask(path, { ...REQUESTS[path], ...body }))

const streamed = async (path: ShapePath, body: object = {}) =>
  eventsOf(await ask(path, { ...REQUESTS[path], ...body, stream: true }))

describe('/responses', () => {
  it('numbers its events without a gap, up to an error in the middle', async () => {
    for (const model of ['deepseek/deepseek-r1', 'sim/error-mid-stream', 'sim/finish-error']) {
      const events = await streamed('/responses', { model })
      const numbers = events.map((event) => event.sequence_number)
      expect(numbers).toEqual(numbers.map((_, index) => index))
    }
  })

  it('says in its deltas what the last event says in full', async () => {
    const events = await streamed('/responses', { model: 'deepseek/deepseek-r1' })
    const said = (type: string) =>
      events.flatMap((event) => (event.type === type ? [event.delta] : [])).join('')
    const { response } = events.at(-1)
    const [reasoning, message] = response.output
    expect(reasoning.content[0].text).toBe(said('response.reasoning_text.delta'))
    expect(message.content[0].text).toBe(said('response.output_text.delta'))
    expect(response.output_text).toContain('Wie geht’s?')
    expect(response.usage.output_tokens_details.reasoning_tokens).toBeGreaterThan(0)
  })

  it('is cut at max_output_tokens, and says so', async () => {
    const events = await streamed('/responses', { max_output_tokens: 2 })
    expect(events.at(-1)).toMatchObject({
      type: 'response.incomplete',
      response: {
        status: 'incomplete',
        incomplete_details: { reason: 'max_output_tokens' },
        usage: { output_tokens: 2 },
      },
    })
  })

  it('calls a tool until it has answered', async () => {
    const tools = [{ type: 'function', name: 'weather', parameters: weather }]
    const { output } = await whole('/responses', { tools })
    expect(output).toMatchObject([{ type: 'function_call', name: 'weather', status: 'completed' }])
    expect(JSON.parse(output[0].arguments)).toEqual({ city: 'sample', days: 3 })
    const done = { type: 'function_call_output', call_id: output[0].call_id, output: 'rain' }
    const input = [{ role: 'user', content: 'Weather?' }, output[0], done]
    const after = await whole('/responses', { tools, input })
    expect(after.output.map((item: { type: string }) => item.type)).toEqual(['message'])
  })

  it('follows a schema', async () => {
    const text = { format: { type: 'json_schema', name: 'w', schema: weather, strict: true } }
    const { output_text: said } = await whole('/responses', { text })
    expect(JSON.parse(said)).toEqual({ city: 'sample', days: 3 })
  })

  it('keeps no state', async () => {
    for (const body of [{ store: true }, { previous_response_id: 'resp_1' }]) {
      const response = await ask('/responses', { ...REQUESTS['/responses'], ...body })
      expect(response.status).toBe(400)
    }
    const nulled = { ...REQUESTS['/responses'], store: false, previous_response_id: null }
    expect((await ask('/responses', nulled)).status).toBe(200)
  })

  it('counts what was cached of a conversation', async () => {
    const instructions = 'Be brief. '.repeat(50)
    const first = { role: 'user', content: [{ type: 'input_text', text: 'One?' }] }
    const { usage } = await whole('/responses', { instructions, input: [first] })
    const input = [first, { role: 'assistant', content: 'Yes.' }, { role: 'user', content: 'Two?' }]
    const { usage: then } = await whole('/responses', { instructions, input })
    expect(usage.input_tokens_details.cached_tokens).toBe(0)
    expect(then.input_tokens_details.cached_tokens).toBe(usage.input_tokens)
  })
})

describe('/messages', () => {
  it('takes Anthropic’s credential, and ends in Anthropic’s way before OpenRouter’s', async () => {
    const request = { ...REQUESTS['/messages'], stream: true }
    const headers = { authorization: '', 'x-api-key': 'sk-or-v1-simulated-gamma' }
    const text = await (await ask('/messages', request, headers)).text()
    expect(text).toMatch(/^: OPENROUTER PROCESSING\n\nevent: message_start\ndata: /)
    expect(text).toMatch(
      /\n\nevent: message_stop\ndata: [^\n]*\n\nevent: data\ndata: \[DONE\]\n\n$/,
    )
    expect((await control.log())[0]?.key).toBe('gamma')
    await control.patchSettings({ messagesTrailer: false })
    expect(await (await ask('/messages', request)).text()).toMatch(/message_stop"\}\n\n$/)
  })

  it('thinks in a block of its own, and signs it', async () => {
    const { content } = await whole('/messages', { model: 'deepseek/deepseek-r1' })
    const [thinking, said] = content
    expect(thinking).toMatchObject({ type: 'thinking', signature: expect.stringMatching(/./) })
    expect(thinking.thinking).toContain('The user wants')
    expect(said).toMatchObject({ type: 'text', text: expect.stringContaining('Wie geht’s?') })
    const events = await streamed('/messages', { model: 'deepseek/deepseek-r1' })
    const deltas = events.flatMap((event) => event.delta?.type ?? [])
    const order = ['thinking_delta', 'signature_delta', 'text_delta']
    expect(deltas.filter((type, index) => type !== deltas[index - 1])).toEqual(order)
    const blocks = events.flatMap((event) => event.index ?? [])
    expect(blocks).toEqual(blocks.toSorted((a, b) => a - b))
  })

  it('calls a tool until it has answered', async () => {
    const tools = [{ name: 'weather', input_schema: weather }]
    const { content, stop_reason: reason } = await whole('/messages', { tools })
    expect(reason).toBe('tool_use')
    expect(content).toMatchObject([
      { type: 'tool_use', name: 'weather', input: { city: 'sample', days: 3 } },
    ])
    const events = await streamed('/messages', { tools })
    const written = events.flatMap((event) => event.delta?.partial_json ?? []).join('')
    expect(JSON.parse(written)).toEqual(content[0].input)
    const result = { type: 'tool_result', tool_use_id: content[0].id, content: 'rain' }
    const messages = [
      { role: 'user', content: 'Weather?' },
      { role: 'assistant', content },
      { role: 'user', content: [result] },
    ]
    expect((await whole('/messages', { tools, messages })).stop_reason).toBe('end_turn')
  })

  it('follows a schema', async () => {
    const output_config = { format: { type: 'json_schema', schema: weather } }
    const { content } = await whole('/messages', { output_config })
    expect(JSON.parse(content[0].text)).toEqual({ city: 'sample', days: 3 })
  })

  it('splits its usage over the first and the last event', async () => {
    const { usage } = await whole('/messages')
    const [start] = await streamed('/messages')
    expect(start.message.usage).toMatchObject({
      input_tokens: usage.input_tokens,
      output_tokens: 0,
    })
    const deltaUsage = async () =>
      (await streamed('/messages')).find((event) => event.type === 'message_delta').usage
    const { input_tokens: input, output_tokens: output, cost } = usage
    expect(await deltaUsage()).toMatchObject({ input_tokens: input, output_tokens: output, cost })
    await control.patchSettings({ usageForm: 'older' })
    expect(await deltaUsage()).toMatchObject({ input_tokens: null, output_tokens: output, cost })
  })

  it('counts what it reads from the cache beside the rest, and what it was told to write', async () => {
    const system = [{ type: 'text', text: 'Be brief. '.repeat(50) }]
    const kept = [{ ...system[0], cache_control: { type: 'ephemeral' } }]
    const first = { role: 'user', content: 'One?' }
    const messages = [
      first,
      { role: 'assistant', content: 'Yes.' },
      { role: 'user', content: '2?' },
    ]
    const { usage } = await whole('/messages', { system, messages: [first] })
    expect(usage).toMatchObject({ cache_creation_input_tokens: 0, cache_read_input_tokens: 0 })
    const { usage: then } = await whole('/messages', { system, messages })
    expect(then.cache_read_input_tokens).toBe(usage.input_tokens)
    expect(then.input_tokens).toBeLessThan(10)
    const { usage: told } = await whole('/messages', { system: kept, messages: [first] })
    expect(told).toMatchObject({
      input_tokens: 0,
      cache_creation_input_tokens: usage.input_tokens,
      cache_read_input_tokens: 0,
    })
  })

  it('counts tokens for nothing', async () => {
    const counted = await whole('/messages/count_tokens')
    expect(counted).toEqual({ input_tokens: (await whole('/messages')).usage.input_tokens })
    expect((await control.log())[0]).toMatchObject({ path: '/messages/count_tokens', costUsd: 0 })
  })
})

describe('/completions', () => {
  it('says in its stream what it says whole', async () => {
    const { choices } = await whole('/completions')
    const events = await streamed('/completions')
    const said = events.flatMap((event) =>
      event.choices.map((choice: { text: string }) => choice.text),
    )
    expect(said.join('')).toBe(choices[0].text)
    expect(choices[0].text).toContain('Wie geht’s?')
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chatCompletions } from '../../../src/openrouter/shapes/chat-completions.ts'
import { parseSseEvent } from '../../../src/openrouter/sse.ts'

const encoder = new TextEncoder()

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

describe('mayMatter', () => {
  const both = (data: string) => {
    const block = data.split('\n').map((line) => `data: ${line}\n`)
    return [
      chatCompletions.mayMatter(data),
      chatCompletions.mayMatter(encoder.encode(`${block.join('')}\n`)),
    ]
  }

  it('passes over the chunks that most of a stream consists of', () => {
    const ordinary = [
      delta({ content: 'Hello' }),
      delta({ content: 'an error in usage, said the finish_reason: "stop"' }),
      delta({ content: 'Grüße, 世界 \n "quoted" \\ 👋' }),
      chunk({ delta: { content: 'x' } }, { usage: null, error: null }),
    ]
    for (const body of ordinary) {
      expect(both(JSON.stringify(body))).toEqual([false, false])
    }
    expect(both('{"usage" : null, "choices":[{"finish_reason":\tnull}]}')).toEqual([false, false])
  })

  it.each([
    '[DONE]',
    JSON.stringify(chunk({ delta: {}, finish_reason: 'stop' })),
    JSON.stringify(chunk({}, { choices: [], usage })),
    JSON.stringify(chunk({ error: { code: 500, message: 'x' } })),
    '{"\\u0075sage":{"prompt_tokens":1}}',
    '{"usage":null,"usage":{"prompt_tokens":1}}',
    '{"choices":[{"finish_reason":null},{"finish_reason":"stop"}]}',
    '{"usage"\n:\n{"prompt_tokens":1}}',
    '{"choices":[{"finish_reason"\n:\n"stop"}]}',
  ])('does not pass over %s', (data) => {
    expect(both(data)).toEqual([true, true])
  })

  it('never misses usage, an error or an end, whatever the JSON looks like', () => {
    const space = fc
      .array(fc.constantFrom(' ', '\n', '\t', '\r'), { maxLength: 3 })
      .map((all) => all.join(''))
    const reason = fc.constantFrom(null, 'stop', 'error', '')
    const error = fc.constantFrom(undefined, null, 'No', {}, { code: 500, message: 'null' })
    const bodies = fc.record({
      usage: fc.constantFrom(undefined, null, {}, usage, { cost: 0 }),
      error,
      note: fc.string(),
      choices: fc.array(
        fc.record({ delta: fc.record({ content: fc.string() }), finish_reason: reason, error }),
      ),
    })
    const pretty = (value: unknown, gap: string): string => {
      if (Array.isArray(value))
        return `[${gap}${value.map((item) => pretty(item, gap)).join(`${gap},${gap}`)}]`
      if (typeof value !== 'object' || value === null) return JSON.stringify(value)
      const members = Object.entries(value).filter(([, item]) => item !== undefined)
      const text = members.map(
        ([name, item]) => `${JSON.stringify(name)}${gap}:${gap}${pretty(item, gap)}`,
      )
      return `{${gap}${text.join(`${gap},${gap}`)}${gap}}`
    }
    let mattered = 0
    fc.assert(
      fc.property(bodies, space, fc.constantFrom('\n', '\r\n', '\r'), (body, gap, end) => {
        // A CR alone in the JSON ends a line of the stream, like every other line end.
        const lines = pretty(body, gap).split(/\r\n|\n|\r/)
        const block = encoder.encode(`${lines.map((line) => `data: ${line}${end}`).join('')}${end}`)
        const event = parseSseEvent(block)
        if (event === null) throw new Error('The block holds no event.')
        const { error: found, usage: counted, finished } = chatCompletions.readEvent(event)
        if (found === null && counted === null && !finished) return
        mattered += 1
        expect(chatCompletions.mayMatter(event.data)).toBe(true)
        expect(chatCompletions.mayMatter(block)).toBe(true)
      }),
      { numRuns: 1000 },
    )
    expect(mattered).toBeGreaterThan(100)
  })
})

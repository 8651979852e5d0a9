import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createStreamWatch,
  type StreamSummary,
} from '../../../src/gateway/attempts/stream-watch.ts'
import type { ApiShape } from '../../../src/openrouter/shapes/api-shape.ts'
import { chatCompletions } from '../../../src/openrouter/shapes/chat-completions.ts'
import { images } from '../../../src/openrouter/shapes/images.ts'
import { messages } from '../../../src/openrouter/shapes/messages.ts'
import { responses } from '../../../src/openrouter/shapes/responses.ts'
import { mergeUsage } from '../../../src/openrouter/usage.ts'

const encoder = new TextEncoder()

type Told = Omit<StreamSummary, 'identity'> & { readonly awaitsUsage: boolean }

/** The data of each event of a whole text; null for an event without data. */
function dataOf(text: string): (string | null)[] {
  const blocks = text.replaceAll(/\r\n?/g, '\n').split(/\n\n+/)
  const tail = eventData(blocks.pop() ?? '')
  const events = blocks.map(eventData).filter((data) => data !== undefined)
  return typeof tail === 'string' && isWhole(tail) ? [...events, tail] : events
}

/** Undefined for a block that is no event. */
function eventData(block: string): string | null | undefined {
  const fields = block.split('\n').filter((line) => line !== '' && !line.startsWith(':'))
  if (fields.length === 0) return undefined
  const lines = fields.filter((line) => line === 'data' || line.startsWith('data:'))
  return lines.length === 0 ? null : lines.map((line) => line.replace(/^data:? ?/, '')).join('\n')
}

/** A whole stream, read the plain way: all text at once, every event parsed. */
function reference(shape: ApiShape, text: string, parts: number): Told {
  const all = dataOf(text)
  const readings = all.flatMap((data) =>
    data === null ? [] : [shape.readEvent({ event: 'message', data })],
  )
  const over = readings.findIndex(({ done }) => done)
  const ends = readings.flatMap((reading, i) =>
    reading.finished ? (reading.ended ?? [`event ${i}`]).map((part) => ({ part, i })) : [],
  )
  const endedParts = new Set<number | string>()
  const last = ends.find(({ part }) => endedParts.add(part).size >= parts)
  const finishedAt = Math.min(...[over, last?.i ?? -1].filter((i) => i >= 0))
  const isFinished = Number.isFinite(finishedAt)
  const error = readings.findLast((reading) => reading.error !== null)?.error ?? null
  const counted = readings.findLastIndex(({ usage }) => usage !== null) >= finishedAt
  return {
    usage: readings.map(({ usage }) => usage).reduce(mergeUsage, null),
    error,
    finished: isFinished,
    events: all.length,
    awaitsUsage: isFinished && over === -1 && !counted && error === null,
  }
}

function isWhole(data: string): boolean {
  if (data.trim() === '[DONE]') return true
  try {
    const value: unknown = JSON.parse(data)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

/** The same by the watch: `looks` chunks as before the commit, the others as after it. */
function watched(
  shape: ApiShape,
  chunks: readonly Uint8Array[],
  how: { parts: number; looks: number },
) {
  const watch = createStreamWatch(shape, how.parts)
  for (const [i, chunk] of chunks.entries()) {
    if (i < how.looks) watch.look(chunk)
    else watch.glance(chunk)
  }
  watch.end()
  const { identity: _, ...summary } = watch.summary()
  return { ...summary, awaitsUsage: watch.awaitsUsage() }
}

function cut(text: string, places: readonly number[]): Uint8Array[] {
  const bytes = encoder.encode(text)
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...ends].map((start, i) => bytes.slice(start, ends[i] ?? bytes.length))
}

const usage = { prompt_tokens: 21, completion_tokens: 3, total_tokens: 24, cost: 0.0005 }
const choice = (fields: object) => ({ choices: [{ index: 0, ...fields }] })

/** Events of each API, as data: with output, ends, usage, errors, and all that is none of them. */
const DATA: ReadonlyMap<ApiShape, readonly unknown[]> = new Map<ApiShape, readonly unknown[]>([
  [
    chatCompletions,
    [
      choice({ delta: { content: 'é "finish_reason": "stop"' }, finish_reason: '' }),
      choice({ delta: { content: '' }, finish_reason: null }),
      choice({ delta: {}, finish_reason: 'stop' }),
      choice({ index: 1, delta: {}, finish_reason: 'length' }),
      { choices: [{ finish_reason: 'stop' }, { finish_reason: 'stop' }] },
      { choices: [], usage },
      { ...choice({ delta: {}, finish_reason: 'stop' }), usage },
      { error: { code: 502, message: 'No' } },
    ],
  ],
  [
    messages,
    [
      { type: 'ping' },
      { type: 'message_start', message: { usage: { input_tokens: 5, output_tokens: 1 } } },
      { type: 'content_block_delta', delta: { type: 'text_delta', text: 'message_stop' } },
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 9 } },
      { type: 'message_delta', delta: { stop_reason: '' } },
      { type: 'message_stop' },
      { type: 'error', error: { type: 'overloaded_error', message: 'No' } },
    ],
  ],
  [
    responses,
    [
      { type: 'response.created', response: { id: 'gen-1', status: 'in_progress' } },
      { type: 'response.output_text.delta', delta: 'failed' },
      { type: 'response.completed', response: { status: 'completed', usage } },
      { type: 'response.incomplete', response: { status: 'incomplete' } },
      { type: 'response.failed', response: { status: 'failed' } },
    ],
  ],
  [
    images,
    [
      { type: 'image_generation.partial_image', b64_json: 'AA' },
      { type: 'image_generation.completed', b64_json: 'AA' },
      { type: 'image_generation.completed', b64_json: 'AA', usage },
    ],
  ],
])

/** A stream of one API: its events, with comments, other fields and line ends between. */
function streamsOf(data: readonly unknown[]): fc.Arbitrary<string> {
  const events = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom(...data).map((value) => `data: ${JSON.stringify(value)}\n\n`),
    },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(...data)
        .map((value) => `data: ${JSON.stringify(value, null, 1).replaceAll('\n', '\ndata: ')}\n\n`),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        'data: [DONE]\n\n',
        ': c\n\n',
        'event: x\n\n',
        '\n',
        'data: {"cut\n\n',
      ),
    },
  )
  const ends = fc.constantFrom('\n', '\r\n', '\r')
  return fc
    .tuple(fc.array(events, { maxLength: 8 }), ends, fc.nat({ max: 4 }))
    .map(([all, end, missing]) => {
      const text = all.join('')
      return text.slice(0, text.length - missing).replaceAll('\n', end)
    })
}

describe.each([...DATA])('$path', (shape, data) => {
  it('is watched as a plain parser would, however its stream is cut and where it is committed', () => {
    const places = fc.array(fc.nat({ max: 2_000 }), { maxLength: 30 })
    let finished = 0
    let open = 0
    fc.assert(
      fc.property(
        streamsOf(data),
        places,
        fc.record({ parts: fc.integer({ min: 1, max: 3 }), looks: fc.nat({ max: 12 }) }),
        (text, at, how) => {
          const expected = reference(shape, text, how.parts)
          if (expected.finished) finished += 1
          else open += 1
          expect(watched(shape, cut(text, at), how)).toEqual(expected)
        },
      ),
      { numRuns: 600 },
    )
    expect(finished).toBeGreaterThan(30)
    expect(open).toBeGreaterThan(30)
  })
})

describe('the last event without its blank line', () => {
  const text = `data: ${JSON.stringify({ ...choice({ finish_reason: 'stop' }), usage })}`

  it.each(['', '\n', '\r', '\r\n'])('counts, whatever its line ends with: %j', (end) => {
    const [first, ...rest] = cut(text + end, [40, 80])
    const watch = createStreamWatch(chatCompletions)
    watch.look(first ?? new Uint8Array(0))
    for (const chunk of rest) watch.glance(chunk)
    expect(watch.summary()).toMatchObject({ finished: false, usage: null })
    expect(watch.end()).toMatchObject({ finished: true })
    expect(watch.summary()).toMatchObject({
      finished: true,
      usage: { promptTokens: 21 },
      events: 1,
    })
    expect(new TextDecoder().decode(watch.tail())).toBe(text + end)
  })

  it.each(['data: {"choices":[{"finish_reason":"stop"}]', 'data: [DON', 'event: x', ': c', ''])(
    'does not, where it has been cut or holds nothing: %j',
    (cutOff) => {
      const watch = createStreamWatch(chatCompletions)
      watch.glance(encoder.encode(cutOff))
      expect(watch.end()).toBeNull()
      expect(watch.summary()).toMatchObject({ finished: false, events: 0 })
    },
  )
})

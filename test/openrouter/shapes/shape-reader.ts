import fc from 'fast-check'
import { expect } from 'vitest'
import type { ApiShape, EventReading } from '../../../src/openrouter/shapes/api-shape.ts'
import { createSseScanner, parseSseEvent, type SseEvent } from '../../../src/openrouter/sse.ts'

const encoder = new TextEncoder()

/** Reads an event whose data is the value as JSON. */
export const readData = (shape: ApiShape, value: unknown): EventReading =>
  shape.readEvent({ event: 'message', data: JSON.stringify(value) })

/** The events of a stream, without comments. */
export function eventsIn(text: string): SseEvent[] {
  return createSseScanner()
    .push(encoder.encode(text))
    .map(({ bytes }) => parseSseEvent(bytes))
    .filter((event) => event !== null)
}

/** The error that a client raises while it reads a stream, or null if it reads to the end. */
export async function raisedBy(stream: AsyncIterable<unknown>): Promise<unknown> {
  try {
    for await (const _event of stream);
    return null
  } catch (error) {
    return error
  }
}

/** A stream as the response of a client's `fetch`. */
export const streamResponse = (text: string) =>
  new Response(text, { headers: { 'content-type': 'text/event-stream' } })

/** JSON with white space at every place that allows it. */
function spaced(value: unknown, gap: string): string {
  if (Array.isArray(value)) {
    return `[${gap}${value.map((item) => spaced(item, gap)).join(`${gap},${gap}`)}]`
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .map(([name, item]) => `${JSON.stringify(name)}${gap}:${gap}${spaced(item, gap)}`)
  return `{${gap}${members.join(`${gap},${gap}`)}${gap}}`
}

/** The same JSON with the first letter of every string as an escape. */
const escaped = (json: string) =>
  json.replace(/"([a-z])/g, (_, letter: string) => {
    return `"\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`
  })

/**
 * Asserts that `mayMatter` says yes to every event with usage, an error or an end. The JSON varies
 * in its white space, escapes and lines, with or without the event's name before it.
 * @returns how many events had usage, an error or an end
 */
export function neverPassedOver(shape: ApiShape, bodies: fc.Arbitrary<unknown>): number {
  const gaps = fc
    .array(fc.constantFrom(' ', '\n', '\t', '\r'), { maxLength: 3 })
    .map((all) => all.join(''))
  const ends = fc.constantFrom('\n', '\r\n', '\r')
  const heads = fc.constantFrom('', 'event: some_event')
  let mattered = 0
  fc.assert(
    fc.property(bodies, gaps, ends, heads, fc.boolean(), (body, gap, end, head, escapes) => {
      const plain = spaced(body, gap)
      const json = escapes ? escaped(plain) : plain
      const data = json.split(/\r\n|\n|\r/).map((line) => `data: ${line}${end}`)
      const block = encoder.encode(`${head === '' ? '' : head + end}${data.join('')}${end}`)
      const event = parseSseEvent(block)
      if (event === null) throw new Error('The block holds no event.')
      const { error, usage, finished, done } = shape.readEvent(event)
      if (error === null && usage === null && !finished && !done) return
      mattered += 1
      expect(shape.mayMatter(event.data)).toBe(true)
      expect(shape.mayMatter(block)).toBe(true)
    }),
    { numRuns: 500 },
  )
  return mattered
}

import { readError, type WireError } from '../failures/upstream-failure.ts'
import { isJsonObject, type JsonObject, textOf } from '../json-value.ts'
import type { StreamIdentity } from './api-shape.ts'

/** The JSON object in an event's data, or null if the data is not a JSON object. */
export function parseObject(data: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(data)
    return isJsonObject(value) ? value : null
  } catch {
    return null
  }
}

/** Whether the data is OpenAI's end mark of a stream. OpenRouter sends it in all its APIs. */
export function isDone(data: string): boolean {
  return data.trim() === '[DONE]'
}

/** A number of choices or images that a request asks for. Anything but a whole number is one. */
export function countOf(value: unknown): number {
  return typeof value === 'number' && Number.isInteger(value) && value > 1 ? value : 1
}

/** The id, model and creation time in an event, or in the part of it that describes the answer. */
export function identityOf(body: JsonObject): StreamIdentity {
  const id = textOf(body.id)
  const model = textOf(body.model)
  const created = body.created ?? body.created_at
  return {
    ...(id === null ? {} : { id }),
    ...(model === null ? {} : { model }),
    ...(typeof created === 'number' ? { created } : {}),
  }
}

/** An event's `error`, or the event itself if its type is `error`, as /responses sends it. */
export function errorOf(event: JsonObject): WireError | null {
  const within = readError(event, null)
  return within ?? (event.type === 'error' ? readError({ error: event }, null) : null)
}

/** Fields that describe a piece of output or give its place. They hold no output. */
const LABELS: ReadonlySet<string> = new Set([
  ...['type', 'id', 'index', 'format', 'role', 'object', 'status', 'phase'],
  ...['item_id', 'call_id', 'tool_use_id'],
])

/** No real delta nests this deep. Without the limit, deep nesting could overflow the stack. */
const MAX_DEPTH = 8

/**
 * Whether the value holds any text. Providers begin a stream with empty objects, such as a
 * reasoning detail without text. If the gateway committed the stream for one of them, it would
 * give up failover for nothing. A value that nests too deep counts as text.
 */
export function isReal(value: unknown, depth = 0): boolean {
  if (typeof value === 'string') return value !== ''
  if (typeof value !== 'object' || value === null) return false
  if (depth === MAX_DEPTH) return true
  return Array.isArray(value)
    ? value.some((item) => isReal(item, depth + 1))
    : Object.entries(value).some(([name, item]) => !LABELS.has(name) && isReal(item, depth + 1))
}

/**
 * An event with several lines of data. The lines may split a sign, and only parsing joins them.
 * Other lines, such as the event's name, do not count.
 */
const SEVERAL_LINES = /(?:^|[\r\n])data\b.*[\r\n]data\b/s

const decoder = new TextDecoder()

/**
 * Makes the cheap test whether an event is worth parsing; see `ApiShape.mayMatter`.
 * @param signs matches the data of every event that matters. It must also match `\u` escapes
 *   (`\u0075sage`): they are rare, so every event with an escape is parsed.
 */
export function mayMatterBy(signs: RegExp): (event: string | Uint8Array) => boolean {
  return (event) => {
    if (typeof event === 'string') return signs.test(event)
    const text = decoder.decode(event)
    return signs.test(text) || SEVERAL_LINES.test(text)
  }
}

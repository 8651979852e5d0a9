import { readError, type WireError } from '../failures/upstream-failure.ts'
import { isJsonObject, type JsonObject, textOf } from '../json-value.ts'
import type { StreamIdentity } from './api-shape.ts'

/** The JSON object that an event's data holds, or null. */
export function parseObject(data: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(data)
    return isJsonObject(value) ? value : null
  } catch {
    return null
  }
}

/** OpenAI's mark for the end of a stream, which OpenRouter sends in all of its shapes. */
export function isDone(data: string): boolean {
  return data.trim() === '[DONE]'
}

/** Who answers, as the JSON of an answer says it, of an event, or of the part that stands for one. */
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

/** The error within an event, or the error that it is: /responses puts no `error` into that one. */
export function errorOf(event: JsonObject): WireError | null {
  const within = readError(event, null)
  return within ?? (event.type === 'error' ? readError({ error: event }, null) : null)
}

/** Says what a piece of output is, or where it belongs, not what it holds. */
const LABELS: ReadonlySet<string> = new Set([
  ...['type', 'id', 'index', 'format', 'role', 'object', 'status', 'phase'],
  ...['item_id', 'call_id', 'tool_use_id'],
])

/** Deeper than any real delta; whoever nests deeper than this shall not overflow our stack. */
const MAX_DEPTH = 8

/**
 * Whether any text is in there somewhere. Providers open a stream with shells,
 * such as a reasoning detail whose text is empty: to commit to a key for one of
 * these would give up failover for nothing.
 */
export function isReal(value: unknown, depth = 0): boolean {
  if (typeof value === 'string') return value !== ''
  if (typeof value !== 'object' || value === null) return false
  if (depth === MAX_DEPTH) return true
  return Array.isArray(value)
    ? value.some((item) => isReal(item, depth + 1))
    : Object.entries(value).some(([name, item]) => !LABELS.has(name) && isReal(item, depth + 1))
}

/** Data of several lines is only joined by parsing it. Other lines, such as the name, do not count. */
const SEVERAL_LINES = /(?:^|[\r\n])data\b.*[\r\n]data\b/s

const decoder = new TextDecoder()

/**
 * A cheap test of whether an event is worth being parsed.
 * @param signs what its data holds where it is; must heed escapes (`\u0075sage`), which are rare
 *   enough to parse whatever has one
 */
export function mayMatterBy(signs: RegExp): (event: string | Uint8Array) => boolean {
  return (event) => {
    if (typeof event === 'string') return signs.test(event)
    const text = decoder.decode(event)
    return signs.test(text) || SEVERAL_LINES.test(text)
  }
}

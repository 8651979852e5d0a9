import {
  type ApiShape,
  type ErrorNotice,
  type EventReading,
  SILENT,
  type StreamIdentity,
  type WholeReading,
} from './api-shape.ts'
import { isDone, isReal, mayMatterBy, parseObject } from './event-data.ts'
import { isJsonObject, type JsonObject, objectOf, textOf } from './json-value.ts'
import { openRouterError } from './openrouter-error.ts'
import type { SseEvent } from './sse.ts'
import { readError, type WireError } from './upstream-failure.ts'
import { readUsage } from './usage.ts'

const SIGNS =
  /response\.(?:completed|incomplete|failed|error)|"type"\s*:\s*"error"|(?:"usage|"error)"\s*:(?!\s*null)|\[DONE\]|\\u/

/**
 * OpenAI's Responses, which OpenRouter serves without a memory of its own. Events
 * name themselves in their JSON. https://platform.openai.com/docs/api-reference/responses-streaming
 */
export const responses: ApiShape = {
  path: 'responses',
  answers: 'json',
  openingOf,
  readEvent,
  mayMatter: mayMatterBy(SIGNS),
  readWhole,
  errorEvent,
  errorBody: openRouterError,
}

function openingOf({ instructions, input }: JsonObject): readonly unknown[] {
  if (!Array.isArray(input)) return [instructions, input].filter((part) => part !== undefined)
  const items = input.filter(isJsonObject)
  const first = items.findIndex(({ role }) => role === 'user')
  return [...(instructions === undefined ? [] : [instructions]), ...items.slice(0, first + 1)]
}

/** Events that end an answer, well or cut short by its own limits. */
const ENDS: ReadonlySet<string> = new Set(['response.completed', 'response.incomplete'])

function readEvent({ data }: SseEvent): EventReading {
  if (isDone(data)) return { ...SILENT, done: true }
  const event = parseObject(data)
  if (event === null) return SILENT
  const type = textOf(event.type) ?? ''
  const response = objectOf(event.response)
  return {
    output: hasOutput(type, event),
    finished: ENDS.has(type),
    done: false,
    error: errorIn(type, event),
    usage: readUsage(response.usage ?? event.usage),
    ...identityOf(response),
  }
}

/** Whether an event brings something of the answer, and not only the frame for it. */
function hasOutput(type: string, event: JsonObject): boolean {
  if (type.endsWith('.delta')) return isReal(event.delta)
  if (type.endsWith('.partial_image')) return isReal(event.partial_image_b64)
  if (type.startsWith('response.output_item.')) {
    const item = objectOf(event.item)
    // The call of a tool begins with the tool's name.
    return (textOf(item.type) ?? '').endsWith('_call') || isReal(item.content)
  }
  if (type.startsWith('response.content_part.')) return isReal(event.part)
  return type.endsWith('.done') && isReal([event.text, event.arguments, event.refusal])
}

/** A run that failed, an error beside it, or one that stands for itself. */
function errorIn(type: string, event: JsonObject): WireError | null {
  const beside = readError(event, null)
  if (beside !== null) return beside
  if (type === 'error') return readError({ error: event }, null)
  const { response } = event
  return readError(response, null) ?? failedRun(response)
}

/** A run may say that it failed and nothing else. */
function failedRun(run: unknown): WireError | null {
  return objectOf(run).status === 'failed'
    ? readError({ error: { message: 'The answer failed without a reason.' } }, null)
    : null
}

function readWhole(body: unknown): WholeReading {
  const answer = objectOf(body)
  return {
    answer: Array.isArray(answer.output),
    error: readError(answer, null) ?? failedRun(answer),
    usage: readUsage(answer.usage),
    ...identityOf(answer),
  }
}

function identityOf(response: JsonObject): StreamIdentity {
  const id = textOf(response.id)
  const model = textOf(response.model)
  return { ...(id === null ? {} : { id }), ...(model === null ? {} : { model }) }
}

/**
 * The shape's own `error` event. OpenAI's client raises an error only for an event
 * that has `error` in it, and would hand this one to the app as any other.
 */
function errorEvent(notice: ErrorNotice & StreamIdentity): string {
  const event = {
    type: 'error',
    sequence_number: notice.events ?? 0,
    code: String(notice.code),
    message: notice.message,
    param: null,
    ...openRouterError(notice),
  }
  return `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`
}

import { readError, type WireError } from '../failures/upstream-failure.ts'
import { isJsonObject, type JsonObject, objectOf, textOf } from '../json-value.ts'
import type { SseEvent } from '../sse.ts'
import { readUsage } from '../usage.ts'
import {
  type ApiShape,
  type ErrorNotice,
  type EventReading,
  SILENT,
  type StreamIdentity,
  type WholeReading,
} from './api-shape.ts'
import { errorOf, identityOf, isDone, isReal, mayMatterBy, parseObject } from './event-data.ts'
import { openRouterError } from './openrouter-error.ts'

/** Ends, errors and failures, by the events that tell them or by the fields that hold them. */
const SIGNS =
  /"(?:response\.(?:completed|incomplete|failed|error)|failed)"|"type"\s*:\s*"error"|"(?:usage|error)"\s*:(?!\s*null)|\[DONE\]|\\u/

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
    output: OUTPUT_FIELDS.some((field) => isReal(event[field])),
    finished: ENDS.has(type),
    done: false,
    error: errorIn(type, event),
    usage: readUsage(response.usage ?? event.usage),
    ...identityOf(response),
  }
}

/**
 * What of an event belongs to the answer. An item or a part of one is added empty, unless it is the
 * call of a tool, which begins with the tool's name; only searches and pictures come when they come.
 */
const OUTPUT_FIELDS = [
  'delta',
  'text',
  'refusal',
  'arguments',
  'input',
  'code',
  'item',
  'part',
  'annotation',
  'partial_image_b64',
] as const

/** An error in the event, an event that is one, or a run that failed. */
function errorIn(type: string, event: JsonObject): WireError | null {
  const told = errorOf(type === 'response.error' ? { ...event, type: 'error' } : event)
  if (told !== null) return told
  const { response, error_type } = event
  const run = isJsonObject(response) ? { error_type, ...response } : {}
  return failureIn(type === 'response.failed' ? { ...run, status: 'failed' } : run)
}

/** Why a run failed, which it may also leave untold. */
function failureIn(run: JsonObject): WireError | null {
  const told = readError(run, null)
  return told === null && run.status === 'failed'
    ? readError({ error: 'The answer failed without a reason.' }, null)
    : told
}

function readWhole(body: unknown): WholeReading {
  const answer = objectOf(body)
  return {
    answer: Array.isArray(answer.output),
    error: failureIn(answer),
    usage: readUsage(answer.usage),
    ...identityOf(answer),
  }
}

/** This shape's codes are names, of which it has few. */
const CODES: ReadonlyMap<number, string> = new Map([[429, 'rate_limit_exceeded']])

/**
 * The shape's own `error` event. OpenAI's client raises an error only for an event
 * that has `error` in it, and would hand this one to the app as any other.
 */
function errorEvent(notice: ErrorNotice & StreamIdentity): string {
  const event = {
    type: 'error',
    sequence_number: notice.events ?? 0,
    code: CODES.get(notice.code) ?? (notice.code < 500 ? 'invalid_prompt' : 'server_error'),
    message: notice.message,
    param: null,
    ...openRouterError(notice),
  }
  return `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`
}

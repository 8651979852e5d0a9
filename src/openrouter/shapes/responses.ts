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
import { openRouterError, withErrorType } from './openrouter-error.ts'

/** Ends, errors and failures, found by the event's type or by the field that holds them. */
const SIGNS =
  /"(?:response\.(?:completed|incomplete|failed|error)|failed)"|"type"\s*:\s*"error"|"(?:usage|error)"\s*:(?!\s*null)|\[DONE\]|\\u/

/**
 * OpenAI's Responses API, which OpenRouter serves without storing responses. Each event has its
 * type in its JSON. https://platform.openai.com/docs/api-reference/responses-streaming
 */
export const responses: ApiShape = {
  path: 'responses',
  answers: 'json',
  endMark: 'passed',
  openingOf,
  readEvent,
  mayMatter: mayMatterBy(SIGNS),
  readWhole,
  errorEvent,
  errorBody: openRouterError,
  ending: { reasonsIn, good: new Set(['completed']) },
}

function openingOf({ instructions, input }: JsonObject): readonly unknown[] {
  if (!Array.isArray(input)) return [instructions, input].filter((part) => part !== undefined)
  const items = input.filter(isJsonObject)
  const first = items.findIndex(({ role }) => role === 'user')
  return [...(instructions === undefined ? [] : [instructions]), ...items.slice(0, first + 1)]
}

/** Events that end an answer: complete, or cut by the request's own limits. */
const ENDS: ReadonlySet<string> = new Set(['response.completed', 'response.incomplete'])

function readEvent({ data }: SseEvent): EventReading {
  if (isDone(data)) return { ...SILENT, done: true }
  const event = parseObject(data)
  if (event === null) return SILENT
  const type = textOf(event.type) ?? ''
  const response = objectOf(event.response)
  return {
    output: hasOutput(event) || isReal(response.output),
    finished: ENDS.has(type),
    done: false,
    error: errorIn(type, event),
    usage: readUsage(response.usage ?? event.usage),
    ...identityOf(response),
  }
}

/**
 * The fields of an event that hold no output. Every other field counts: `delta`, `text`, `arguments`,
 * `item`, `part`, `content`, `partial_image_b64`, and those of tools that are yet to come. A new item
 * or part is empty, except a tool call, which begins with the tool's name. A search or an image
 * becomes output when its content arrives.
 */
const SHELL_FIELDS: ReadonlySet<string> = new Set([
  ...['type', 'response', 'item_id', 'call_id', 'id', 'model', 'obfuscation', 'logprobs'],
  ...['usage', 'error', 'error_type', 'debug', 'openrouter_metadata', 'message', 'param'],
])

function hasOutput(event: JsonObject): boolean {
  return Object.entries(event).some(([name, value]) => !SHELL_FIELDS.has(name) && isReal(value))
}

/** The error in an event, an event that is itself an error, or the error of a failed run. */
function errorIn(type: string, event: JsonObject): WireError | null {
  const told = errorOf(type === 'response.error' ? { ...event, type: 'error' } : event)
  if (told !== null) return told
  const { response, error_type } = event
  const run = isJsonObject(response)
    ? { ...response, error_type: textOf(response.error_type) ?? error_type }
    : {}
  return failureIn(type === 'response.failed' ? { ...run, status: 'failed' } : run)
}

/** Why a run failed. Some failed runs give no reason. */
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
  }
}

/** The status of a run that is over. Events before that have the same field. */
function reasonsIn(json: JsonObject): readonly string[] {
  const status = textOf(objectOf(json.response ?? json).status)
  // An item of the output has a status too, but no `output`.
  const isRun = Array.isArray(objectOf(json.response ?? json).output)
  return status === null || !isRun || RUNNING.has(status) ? [] : [status]
}

const RUNNING: ReadonlySet<string> = new Set(['queued', 'in_progress'])

/** This API's error codes are names, and it has only a few. */
const CODES: ReadonlyMap<number, string> = new Map([[429, 'rate_limit_exceeded']])

/**
 * A run that failed: agents end their turn at `response.failed`, with the reason that its response
 * gives, and read past an `error` event. The response has every field that `@openrouter/sdk`
 * requires. The `error` beside it is for OpenAI's client, which raises an error only for that;
 * without it, an app that reads only the texts would take half of an answer for the whole.
 */
function errorEvent(notice: ErrorNotice & StreamIdentity): string {
  const { error } = openRouterError(notice)
  const { error_type } = withErrorType(notice.code, notice.metadata)
  const event = {
    type: 'response.failed',
    sequence_number: notice.events ?? 0,
    response: { ...failedRun(notice), error_type },
    error,
  }
  return `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`
}

function failedRun({ code, message, id, created, model }: ErrorNotice & StreamIdentity) {
  const name = CODES.get(code) ?? (code < 500 ? 'invalid_prompt' : 'server_error')
  return {
    id: id ?? '',
    object: 'response',
    created_at: created ?? 0,
    completed_at: null,
    status: 'failed',
    model: model ?? '',
    error: { code: name, message },
    incomplete_details: null,
    output: [],
    usage: null,
    instructions: null,
    metadata: null,
    tools: [],
    tool_choice: 'auto',
    parallel_tool_calls: true,
    temperature: null,
    top_p: null,
    presence_penalty: null,
    frequency_penalty: null,
  }
}

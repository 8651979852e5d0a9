import { readError, type WireError } from '../failures/upstream-failure.ts'
import { isJsonObject, type JsonObject, listOf, objectOf, textOf } from '../json-value.ts'
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
import { identityOf, isDone, isReal, mayMatterBy, parseObject } from './event-data.ts'
import { openRouterError } from './openrouter-error.ts'

/**
 * Every chunk has a `finish_reason`, and some upstreams send `usage` and `error`
 * always, so that null values have to be told apart. The look-ahead takes the
 * white space too: outside it, it could be given back, and any value would pass
 * for another than null. A key can hide behind an escape (`\u0075sage`), which
 * is rare enough to parse whatever has one.
 */
const SIGNS = /(?:"usage|"error|finish_reason)"\s*:(?!\s*null)|\[DONE\]|\\u/

/** OpenAI's chat completions with OpenRouter's additions. */
export const chatCompletions: ApiShape = {
  path: 'chat/completions',
  answers: 'json',
  openingOf,
  readEvent,
  mayMatter: mayMatterBy(SIGNS),
  readWhole,
  errorEvent,
  errorBody: openRouterError,
}

/** Up to the first user message; what comes before it is the system's or the developer's. */
function openingOf({ messages }: JsonObject): readonly unknown[] {
  const all = listOf(messages).filter(isJsonObject)
  const first = all.findIndex(({ role }) => role === 'user')
  return all.slice(0, first + 1)
}

function readEvent({ data }: SseEvent): EventReading {
  if (isDone(data)) return { ...SILENT, done: true }
  const chunk = parseObject(data)
  if (chunk === null) return SILENT
  const choices = choicesOf(chunk)
  return {
    output: choices.some(hasOutput),
    finished: choices.some((choice) => (choice.finish_reason ?? null) !== null),
    done: false,
    error: errorIn(chunk, choices),
    usage: readUsage(chunk.usage),
    ...identityOf(chunk),
  }
}

function readWhole(body: unknown): WholeReading {
  const answer = objectOf(body)
  const choices = choicesOf(answer)
  return {
    answer: choices.length > 0,
    error: errorIn(answer, choices),
    usage: readUsage(answer.usage),
    ...identityOf(answer),
  }
}

function choicesOf(body: JsonObject): readonly JsonObject[] {
  return listOf(body.choices).filter(isJsonObject)
}

/** An error stands at the top, in a choice, or is only told by how a choice finished. */
function errorIn(body: JsonObject, choices: readonly JsonObject[]): WireError | null {
  const told = [body, ...choices].map((place) => readError(place, null))
  const failed = choices.find((choice) => choice.finish_reason === 'error')
  return (
    told.find((error) => error !== null) ??
    (failed === undefined ? null : unexplained(failed, textOf(body.provider)))
  )
}

/**
 * `finish_reason: "error"` with nothing but the provider's own word for it
 * (`MALFORMED_FUNCTION_CALL`, say): the provider's fault, if it is named.
 */
function unexplained(choice: JsonObject, providerName: string | null): WireError {
  return {
    status: 502,
    message: textOf(choice.native_finish_reason) ?? 'The provider ended the answer with an error.',
    errorType: null,
    providerName,
    limitSource: null,
    isByok: false,
    metadata: providerName === null ? {} : { provider_name: providerName },
  }
}

/** What a delta can bring besides its role. `function_call` is the older form of `tool_calls`. */
const OUTPUT_FIELDS = [
  'content',
  'reasoning',
  'reasoning_details',
  'refusal',
  'tool_calls',
  'function_call',
  'images',
  'audio',
  'annotations',
] as const

/** The older completions have their text and its reasoning in the choice itself. */
function hasOutput(choice: JsonObject): boolean {
  const delta = objectOf(choice.delta ?? choice.message ?? choice)
  return isReal(choice.text) || OUTPUT_FIELDS.some((field) => isReal(delta[field]))
}

function errorEvent(notice: ErrorNotice & StreamIdentity): string {
  const chunk = {
    id: notice.id ?? '',
    object: 'chat.completion.chunk',
    created: notice.created ?? 0,
    model: notice.model ?? '',
    choices: [
      { index: 0, delta: { content: '' }, finish_reason: 'error', native_finish_reason: null },
    ],
    ...openRouterError(notice),
  }
  return `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`
}

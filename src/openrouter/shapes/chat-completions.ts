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
import { countOf, identityOf, isDone, isReal, mayMatterBy, parseObject } from './event-data.ts'
import { openRouterError } from './openrouter-error.ts'

/**
 * Every chunk has a `finish_reason`, and some upstreams always send `usage` and
 * `error`, so these fields do not count if they are null or an empty string. The white
 * space is inside the look-ahead: outside, the expression could backtrack over it, and
 * null would count as a value. A field name may contain an escape (`\u0075sage`). This is
 * rare, so every event with an escape is parsed.
 */
const SIGNS = /(?:"usage|"error|finish_reason)"\s*:(?!\s*(?:null|""))|\[DONE\]|\\u/

/** OpenAI's chat completions with OpenRouter's additions. */
export const chatCompletions: ApiShape = {
  path: 'chat/completions',
  answers: 'json',
  endMark: 'passed',
  openingOf,
  partsOf: ({ n }) => countOf(n),
  readEvent,
  mayMatter: mayMatterBy(SIGNS),
  readWhole,
  errorEvent,
  errorBody: openRouterError,
  ending: {
    reasonsIn: (json) =>
      choicesOf(json).flatMap(({ finish_reason }) => textOf(finish_reason) ?? []),
    good: new Set(['stop', 'tool_calls']),
  },
}

/** The messages up to the first user message: before it are those of the system or developer. */
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
  const ended = choices.flatMap((choice, at) => (isFinished(choice) ? [numberOf(choice, at)] : []))
  return {
    output: choices.some(hasOutput),
    finished: ended.length > 0,
    ...(ended.length > 0 ? { ended } : {}),
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
  }
}

function choicesOf(body: JsonObject): readonly JsonObject[] {
  return listOf(body.choices).filter(isJsonObject)
}

/** Some providers send an empty string as the finish reason of every running chunk. */
function isFinished({ finish_reason }: JsonObject): boolean {
  return textOf(finish_reason) !== null
}

/** Which of several choices this is. Some providers omit the index if there is only one. */
function numberOf({ index }: JsonObject, at: number): number {
  return typeof index === 'number' ? index : at
}

/** An error is at the top level, in a choice, or visible only in a choice's `finish_reason`. */
function errorIn(body: JsonObject, choices: readonly JsonObject[]): WireError | null {
  const told = [body, ...choices].map((place) => readError(place, null))
  const failed = choices.find((choice) => choice.finish_reason === 'error')
  return (
    told.find((error) => error !== null) ??
    (failed === undefined ? null : unexplained(failed, textOf(body.provider)))
  )
}

/**
 * The error of a choice that ends with `finish_reason: "error"` and has no error object. Its only
 * explanation is the provider's own reason (for example `MALFORMED_FUNCTION_CALL`). If the chunk
 * names the provider, the error counts as the provider's.
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

/**
 * The fields of a delta that hold no output. Every other field counts, since providers have their
 * own names: `content`, `reasoning`, `reasoning_content`, `thinking`, `tool_calls`, `refusal`,
 * `images`, `audio`. Output under a name that the gateway did not know would be held back to its end.
 */
const SHELL_FIELDS: ReadonlySet<string> = new Set([
  ...['role', 'name', 'id', 'index', 'type', 'object', 'created', 'model', 'provider'],
  ...['finish_reason', 'native_finish_reason', 'stop_reason', 'logprobs', 'usage', 'error'],
  ...['service_tier', 'system_fingerprint', 'obfuscation'],
])

/**
 * The legacy text completions have their output in the choice itself, without a delta. There,
 * fields such as Azure's filter results are beside it, so only known names count.
 */
const LEGACY_FIELDS = ['text', 'content', 'reasoning', 'reasoning_content', 'reasoning_details']

function hasOutput(choice: JsonObject): boolean {
  const said = Object.entries(objectOf(choice.delta ?? choice.message))
  return (
    said.some(([name, value]) => !SHELL_FIELDS.has(name) && isReal(value)) ||
    LEGACY_FIELDS.some((field) => isReal(choice[field]))
  )
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

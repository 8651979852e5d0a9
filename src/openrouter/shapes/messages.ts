import { readError } from '../failures/upstream-failure.ts'
import { isJsonObject, type JsonObject, listOf, objectOf, textOf } from '../json-value.ts'
import type { SseEvent } from '../sse.ts'
import { readUsage } from '../usage.ts'
import {
  type ApiShape,
  type ErrorNotice,
  type EventReading,
  SILENT,
  type WholeReading,
} from './api-shape.ts'
import { errorOf, identityOf, isDone, isReal, mayMatterBy, parseObject } from './event-data.ts'
import { withErrorType } from './openrouter-error.ts'

/**
 * `message_start` holds the usage of the prompt. `message_delta` holds the usage of the answer and
 * its stop reason. These fields do not count if they are null, as they often are, or an empty string.
 */
const SIGNS =
  /(?:"usage|"error|stop_reason)"\s*:(?!\s*(?:null|""))|"type"\s*:\s*"error"|message_stop|\[DONE\]|\\u/

/**
 * Anthropic's messages. OpenRouter sends a `[DONE]` after `message_stop`, which
 * Anthropic does not: its SDK throws on it after every answer.
 * https://docs.anthropic.com/en/api/messages-streaming
 */
export const messages: ApiShape = {
  path: 'messages',
  answers: 'json',
  endMark: 'left_out',
  openingOf,
  readEvent,
  mayMatter: mayMatterBy(SIGNS),
  readWhole,
  errorEvent: (notice) => `event: error\ndata: ${JSON.stringify(errorBody(notice))}\n\n`,
  errorBody,
  ending: {
    reasonsIn: ({ delta, message, stop_reason: own }) =>
      [own, objectOf(delta).stop_reason, objectOf(message).stop_reason].flatMap(
        (reason) => textOf(reason) ?? [],
      ),
    good: new Set(['end_turn', 'tool_use', 'stop_sequence']),
  },
}

/** Counts the tokens that a message would have. It makes no inference and costs nothing. */
export const countTokens: ApiShape = {
  ...withoutEnding(messages),
  path: 'messages/count_tokens',
  isFree: true,
  readWhole: (body) => ({
    answer: typeof objectOf(body).input_tokens === 'number',
    error: readError(body, null),
    usage: null,
  }),
}

/** Whoever counts asks nobody for an answer, and pays nothing. */
function withoutEnding({ ending: _ending, ...shape }: ApiShape): ApiShape {
  return shape
}

function openingOf({ system, messages: said }: JsonObject): readonly unknown[] {
  const first = listOf(said).find((message) => objectOf(message).role === 'user')
  return [system, first].filter((part) => part !== undefined)
}

function readEvent({ data }: SseEvent): EventReading {
  if (isDone(data)) return { ...SILENT, done: true }
  const event = parseObject(data)
  if (event === null) return SILENT
  const message = objectOf(event.message)
  const delta = objectOf(event.delta)
  return {
    // A block begins empty, except a tool call: that begins with the tool's name. A message begins
    // empty, except one that a server had at once.
    output:
      isReal(event.content_block) ||
      isReal(message.content) ||
      (event.type === 'content_block_delta' && isReal(delta)),
    finished: event.type === 'message_delta' && textOf(delta.stop_reason) !== null,
    done: event.type === 'message_stop',
    error: errorOf(event),
    usage: readUsage(event.usage ?? message.usage),
    ...identityOf(message),
  }
}

function readWhole(body: unknown): WholeReading {
  const answer = objectOf(body)
  return {
    // A model may end its turn without content; then there is a stop reason. A body with neither
    // is no answer.
    answer: listOf(answer.content).some(isJsonObject) || textOf(answer.stop_reason) !== null,
    error: errorOf(answer),
    usage: readUsage(answer.usage),
  }
}

const TYPES: ReadonlyMap<number, string> = new Map([
  [401, 'authentication_error'],
  [402, 'billing_error'],
  [403, 'permission_error'],
  [404, 'not_found_error'],
  [408, 'timeout_error'],
  [413, 'request_too_large'],
  [429, 'rate_limit_error'],
  [503, 'overloaded_error'],
  [504, 'timeout_error'],
  [524, 'timeout_error'],
  [529, 'overloaded_error'],
])

function errorBody({ code, message, metadata }: ErrorNotice): JsonObject {
  const type = TYPES.get(code) ?? (code < 500 ? 'invalid_request_error' : 'api_error')
  const named = withErrorType(code, metadata)
  const error = { type, message, error_type: named.error_type, metadata: named }
  return { type: 'error', error, request_id: null }
}

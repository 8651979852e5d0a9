import { type ApiShape, type EventReading, SILENT } from './api-shape.ts'
import { isDone, isReal, mayMatterBy, parseObject } from './event-data.ts'
import { isJsonObject, type JsonObject, objectOf, textOf } from './json-value.ts'
import { openRouterError } from './openrouter-error.ts'
import type { SseEvent } from './sse.ts'
import { readError } from './upstream-failure.ts'
import { readUsage } from './usage.ts'

const SIGNS = /(?:"usage|"error|finish_reason)"\s*:(?!\s*null)|\.(?:completed|done)"|\[DONE\]|\\u/

/**
 * An API of one question and one answer: vectors, ranks, pictures, sound. Its
 * answers have an error or usage where the others have theirs; if they are
 * streamed, an event that ends in `completed` or `done` is the last of them.
 *
 * @param isAnswer whether a body without an error is what was asked for
 */
export function plainShape(
  path: string,
  answers: ApiShape['answers'],
  isAnswer: (body: JsonObject) => boolean,
): ApiShape {
  return {
    path,
    answers,
    openingOf: () => [],
    readEvent,
    mayMatter: mayMatterBy(SIGNS),
    readWhole: (body) => ({
      answer: isJsonObject(body) && isAnswer(body),
      error: readError(body, null),
      usage: readUsage(objectOf(body).usage),
    }),
    errorEvent: (notice) => `data: ${JSON.stringify(openRouterError(notice))}\n\ndata: [DONE]\n\n`,
    errorBody: openRouterError,
  }
}

function readEvent({ data }: SseEvent): EventReading {
  if (isDone(data)) return { ...SILENT, done: true }
  const event = parseObject(data)
  if (event === null) return SILENT
  const { usage, error: _error, ...content } = event
  return {
    output: isReal(content),
    finished: /\.(?:completed|done)$/.test(textOf(event.type) ?? ''),
    done: false,
    error: readError(event, null),
    usage: readUsage(usage),
  }
}

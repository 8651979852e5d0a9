import { type JsonObject, objectOf, textOf } from '../json-value.ts'
import type { SseEvent } from '../sse.ts'
import { readUsage } from '../usage.ts'
import { type ApiShape, type EventReading, SILENT, type WholeReading } from './api-shape.ts'
import { errorOf, identityOf, isDone, isReal, mayMatterBy, parseObject } from './event-data.ts'
import { openRouterError } from './openrouter-error.ts'

const SIGNS =
  /"(?:usage|error)"\s*:(?!\s*null)|"type"\s*:\s*"error"|\.(?:completed|done)"|\[DONE\]|\\u/

/**
 * An API without conversations: embeddings, reranking, images, sound. Errors and usage are at the
 * same places as in the other APIs. In a stream, an event whose type ends in `.completed` or
 * `.done` finishes an answer.
 *
 * @param isAnswer whether a JSON body has what the request asked for
 */
export function plainShape(
  path: string,
  answers: ApiShape['answers'],
  isAnswer: (body: unknown) => boolean,
): ApiShape {
  return {
    path,
    answers,
    endMark: 'passed',
    openingOf: () => [],
    readEvent,
    mayMatter: mayMatterBy(SIGNS),
    readWhole: (body) => readWhole(body, isAnswer),
    errorEvent: (notice) => `data: ${JSON.stringify(openRouterError(notice))}\n\ndata: [DONE]\n\n`,
    errorBody: openRouterError,
  }
}

function readWhole(body: unknown, isAnswer: (body: unknown) => boolean): WholeReading {
  const answer = objectOf(body)
  return {
    answer: isAnswer(body),
    error: errorOf(answer),
    usage: usageIn(answer),
  }
}

function readEvent({ data }: SseEvent): EventReading {
  if (isDone(data)) return { ...SILENT, done: true }
  const event = parseObject(data)
  // Data that is not a JSON object may still be an answer, in a form unknown to the gateway.
  if (event === null) return { ...SILENT, output: data.trim() !== '' }
  const { usage: _usage, error: _error, id: _id, model: _model, ...content } = event
  return {
    output: isReal(content),
    finished: /\.(?:completed|done)$/.test(textOf(event.type) ?? ''),
    done: false,
    error: errorOf(event),
    usage: usageIn(event),
    ...identityOf(event),
  }
}

/** The usage at the top level, or in the field that describes the whole answer. */
function usageIn(body: JsonObject) {
  const places = [body, body.response, body.message, body.data].map(objectOf)
  return places.map(({ usage }) => readUsage(usage)).find((usage) => usage !== null) ?? null
}

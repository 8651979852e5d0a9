import { isJsonObject, objectOf } from '../json-value.ts'
import type { ApiShape } from './api-shape.ts'
import { chatCompletions } from './chat-completions.ts'
import { completions } from './completions.ts'
import { isReal } from './event-data.ts'
import { images } from './images.ts'
import { countTokens, messages } from './messages.ts'
import { plainShape } from './plain-shape.ts'
import { responses } from './responses.ts'

// An empty list is an answer: the caller may have sent an empty input, which is no fault of a key.
const embeddings: ApiShape = {
  ...plainShape('embeddings', 'json', (body) => Array.isArray(objectOf(body).data)),
  ending: { reasonsIn: () => [], good: null },
}
const rerank: ApiShape = {
  ...plainShape('rerank', 'json', (body) => Array.isArray(objectOf(body).results)),
  ending: { reasonsIn: () => [], good: null },
}

/** Sound. If a provider wraps the sound in JSON, the JSON must hold some content. */
const speech: ApiShape = {
  ...plainShape('audio/speech', 'bytes', (body) => isReal(body)),
  isPaidInFull: true,
}

/** JSON, or plain text such as subtitles. The transcript of silence is empty, but has usage. */
const transcriptions: ApiShape = {
  ...plainShape('audio/transcriptions', 'bytes', (body) => {
    const { text, usage } = objectOf(body)
    return typeof text === 'string' || isJsonObject(usage)
  }),
  mayBeEmpty: true,
  isPaidInFull: true,
}

/** Every API that the gateway serves without configuration. */
export const API_SHAPES: readonly ApiShape[] = [
  chatCompletions,
  completions,
  responses,
  messages,
  countTokens,
  embeddings,
  rerank,
  images,
  speech,
  transcriptions,
]

/** An API that an operator opened and the gateway does not know. All except errors is good. */
export function unknownShape(path: string): ApiShape {
  return { ...plainShape(path, 'bytes', (body) => body !== undefined), mayBeEmpty: true }
}

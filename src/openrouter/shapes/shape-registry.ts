import { isJsonObject, objectOf } from '../json-value.ts'
import type { ApiShape } from './api-shape.ts'
import { chatCompletions } from './chat-completions.ts'
import { completions } from './completions.ts'
import { isReal } from './event-data.ts'
import { images } from './images.ts'
import { countTokens, messages } from './messages.ts'
import { plainShape } from './plain-shape.ts'
import { responses } from './responses.ts'

// An empty list is an answer: the caller may have asked about nothing, and that is no key's fault.
const embeddings = plainShape('embeddings', 'json', (body) => Array.isArray(objectOf(body).data))
const rerank = plainShape('rerank', 'json', (body) => Array.isArray(objectOf(body).results))

/** Sound. Should a provider wrap it in JSON, there is at least something in that. */
const speech = plainShape('audio/speech', 'bytes', (body) => isReal(body))

/** JSON, or subtitles and other texts. Of silence the text is empty, though it is still counted. */
const transcriptions: ApiShape = {
  ...plainShape('audio/transcriptions', 'bytes', (body) => {
    const { text, usage } = objectOf(body)
    return typeof text === 'string' || isJsonObject(usage)
  }),
  mayBeEmpty: true,
}

/** Every API that is served unasked. */
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

/** An API that an operator has opened and that nothing is known of: whatever is no error is good. */
export function unknownShape(path: string): ApiShape {
  return { ...plainShape(path, 'bytes', (body) => body !== undefined), mayBeEmpty: true }
}

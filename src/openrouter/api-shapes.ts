import type { ApiShape } from './api-shape.ts'
import { chatCompletions } from './chat-completions.ts'
import { completions } from './completions.ts'
import { countTokens, messages } from './messages.ts'
import { plainShape } from './plain-shape.ts'
import { responses } from './responses.ts'

/** Every API that is known, by what a good answer of it has. */
export const API_SHAPES: readonly ApiShape[] = [
  chatCompletions,
  completions,
  responses,
  messages,
  countTokens,
  plainShape('embeddings', 'json', ({ data }) => Array.isArray(data)),
  plainShape('rerank', 'json', ({ results }) => Array.isArray(results)),
  plainShape('images', 'json', ({ data }) => Array.isArray(data)),
  plainShape('audio/speech', 'bytes', () => true),
  plainShape('audio/transcriptions', 'bytes', ({ text }) => typeof text === 'string'),
]

/** An API that an operator has opened and that nothing is known of: whatever is no error is good. */
export function unknownShape(path: string): ApiShape {
  return plainShape(path, 'bytes', () => true)
}

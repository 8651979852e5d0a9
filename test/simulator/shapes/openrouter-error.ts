import type { Reader } from '../api-shape.ts'
import type { ErrorAnswer } from '../errors.ts'
import type { Json } from '../json-schema-sample.ts'
import { asJson } from '../request-fields.ts'

/** OpenRouter's own envelope of an error with its status, in all APIs except Anthropic's. */
export function openRouterError(answer: ErrorAnswer, { userId }: Pick<Reader, 'userId'>): Json {
  const { message, code, metadata } = answer.error
  const error = asJson({ message, code, metadata })
  return userId === null ? { error } : { error, user_id: userId }
}

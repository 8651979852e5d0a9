import type { ApiShape } from '../api-shape.ts'
import { tokensOf } from '../prompt.ts'
import { invalid, listOf, readBody, thing } from '../request-fields.ts'
import { anthropicError } from './anthropic-error.ts'
import { turnsOf } from './messages.ts'
import { plainWording } from './plain-wording.ts'

/**
 * POST /messages/count_tokens. OpenRouter's documentation and its OpenAPI description do not have
 * it, but Anthropic's clients call it. It counts tokens and costs nothing.
 */
export const countTokens: ApiShape = {
  path: '/messages/count_tokens',
  apiType: null,
  takesForms: false,
  parse: (body) =>
    readBody(body, (fields, model) => {
      if (listOf(fields.messages).length === 0) return invalid('messages: at least one is required')
      const counted = { input_tokens: tokensOf(turnsOf(fields)) }
      const wording = plainWording(
        () => counted,
        () => ({}),
      )
      return thing(model, { promptTokens: 0 }, wording)
    }),
  errorBody: anthropicError,
}

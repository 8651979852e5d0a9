import { objectOf } from '../json-value.ts'
import type { ApiShape, ErrorNotice } from './api-shape.ts'
import { countOf } from './event-data.ts'
import { withErrorType } from './openrouter-error.ts'
import { plainShape } from './plain-shape.ts'

/** Images, whole or streamed with previews, in the events of OpenAI's image API. */
export const images: ApiShape = {
  ...plainShape('images', 'json', (body) => Array.isArray(objectOf(body).data)),
  partsOf: ({ n }) => countOf(n),
  errorEvent,
  isPaidInFull: true,
}

/** In this API, unlike the others, the code is a string. Each event, also this one, has a type. */
function errorEvent({ code, message, metadata }: ErrorNotice): string {
  const error = {
    code: String(code),
    message,
    param: null,
    type: null,
    metadata: withErrorType(code, metadata),
  }
  return `data: ${JSON.stringify({ type: 'error', error })}\n\ndata: [DONE]\n\n`
}

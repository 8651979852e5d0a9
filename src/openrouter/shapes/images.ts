import { objectOf } from '../json-value.ts'
import type { ApiShape, ErrorNotice } from './api-shape.ts'
import { plainShape } from './plain-shape.ts'

/** Images, whole or streamed with previews, in the events of OpenAI's image API. */
export const images: ApiShape = {
  ...plainShape('images', 'json', (body) => Array.isArray(objectOf(body).data)),
  errorEvent,
  isPaidInFull: true,
}

/** In this API, unlike the others, the code is a string. Each event, also this one, has a type. */
function errorEvent({ code, message, metadata }: ErrorNotice): string {
  const error = { code: String(code), message, param: null, type: null, metadata: metadata ?? {} }
  return `data: ${JSON.stringify({ type: 'error', error })}\n\ndata: [DONE]\n\n`
}

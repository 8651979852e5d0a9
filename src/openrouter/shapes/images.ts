import { objectOf } from '../json-value.ts'
import type { ApiShape, ErrorNotice } from './api-shape.ts'
import { plainShape } from './plain-shape.ts'

/** Pictures, whole or with previews: the events of OpenAI's image API. */
export const images: ApiShape = {
  ...plainShape('images', 'json', (body) => Array.isArray(objectOf(body).data)),
  errorEvent,
}

/** Unlike elsewhere the code is a text, and the event has a type like all of this API's events. */
function errorEvent({ code, message, metadata }: ErrorNotice): string {
  const error = { code: String(code), message, param: null, type: null, metadata: metadata ?? {} }
  return `data: ${JSON.stringify({ type: 'error', error })}\n\ndata: [DONE]\n\n`
}

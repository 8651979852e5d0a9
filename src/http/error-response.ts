import { type GatewayError, noticeOf, retryAfterSeconds } from '../gateway/gateway-error.ts'
import { chatCompletions } from '../openrouter/chat-completions.ts'

/** An error of ours in OpenRouter's shape. */
export function errorResponse(error: GatewayError): Response {
  const headers = new Headers()
  if (error.retryAfterMs !== null) headers.set('retry-after', retryAfterSeconds(error.retryAfterMs))
  return Response.json(chatCompletions.errorBody(noticeOf(error)), {
    status: error.status,
    headers,
  })
}

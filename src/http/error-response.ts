import { answerOf, type GatewayError } from '../gateway/gateway-error.ts'
import { chatCompletions } from '../openrouter/chat-completions.ts'

/** An error of ours in OpenRouter's shape. */
export function errorResponse(error: GatewayError): Response {
  const { body, ...head } = answerOf(error, chatCompletions)
  return new Response(body, head)
}

import type { Context } from 'hono'
import { answerOf, type GatewayError } from '../gateway/answers/gateway-error.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import { openRouterError } from '../openrouter/shapes/openrouter-error.ts'
import { API_SHAPES } from '../openrouter/shapes/shape-registry.ts'
import type { HttpEnvironment } from './context.ts'

/** The API is the same at both: OpenAI's and OpenRouter's SDKs use the first, Anthropic's adds `/v1`. */
export const PREFIXES = ['/api/v1', '/v1'] as const

/** By path, and so whether or not the request got as far as to its route. */
const WORDINGS = new Map<string, ApiShape>(
  PREFIXES.flatMap((prefix) =>
    API_SHAPES.map((shape) => [`${prefix}/${shape.path}`, shape] as const),
  ),
)

/** An error of ours, in the shape of the API that was called; OpenRouter's where it was none. */
export function errorResponse(c: Context<HttpEnvironment>, error: GatewayError): Response {
  const wording = WORDINGS.get(c.req.path) ?? { errorBody: openRouterError }
  const { body, ...head } = answerOf(error, wording)
  return new Response(body, head)
}

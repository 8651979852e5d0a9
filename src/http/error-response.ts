import type { Context } from 'hono'
import { answerOf, type GatewayError } from '../gateway/answers/gateway-error.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import { openRouterError } from '../openrouter/shapes/openrouter-error.ts'
import { API_SHAPES } from '../openrouter/shapes/shape-registry.ts'
import type { HttpEnvironment } from './context.ts'

/**
 * Both prefixes serve the same API. The base URL of OpenAI's and OpenRouter's SDKs ends with
 * `/api/v1`. Anthropic's SDK adds `/v1` to its base URL itself.
 */
export const PREFIXES = ['/api/v1', '/v1'] as const

/** The API shape of each path. It is also known for a request that fails before it gets a route. */
const WORDINGS = new Map<string, ApiShape>(
  PREFIXES.flatMap((prefix) =>
    API_SHAPES.map((shape) => [`${prefix}/${shape.path}`, shape] as const),
  ),
)

/** The gateway's own error in the API shape of the called path, else in OpenRouter's form. */
export function errorResponse(c: Context<HttpEnvironment>, error: GatewayError): Response {
  const wording = WORDINGS.get(c.req.path) ?? { errorBody: openRouterError }
  const { body, ...head } = answerOf(error, wording)
  return new Response(body, head)
}

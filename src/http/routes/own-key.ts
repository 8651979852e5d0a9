import type { Context } from 'hono'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import { keyAnswer } from '../../openrouter/key-answer.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'

/**
 * `GET key` and `GET auth/key`: what the caller's own client key has spent, in the
 * form in which OpenRouter tells it of one of its keys, so that tools that show a
 * balance go on working. The keys of the pool are no business of a client's.
 */
export async function clientKey(c: Context<HttpEnvironment>): Promise<Response> {
  const { gateway, clientId } = c.var
  const answer = await gateway.pool.spending(clientId)
  if (answer.kind === 'unavailable') {
    const message = 'What this client key has spent cannot be looked up now. Try again.'
    return errorResponse(c, gatewayError('no_key_available', message))
  }
  return Response.json(keyAnswer(clientId, answer.value), {
    headers: { 'cache-control': 'no-store' },
  })
}

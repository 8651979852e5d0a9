import type { Context } from 'hono'
import { poolUnavailable } from '../../gateway/answers/gateway-error.ts'
import { keyAnswer } from '../../openrouter/key-answer.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'

const NO_QUOTAS = { kind: 'answer', value: [] } as const

/**
 * `GET key` and `GET auth/key`: what the caller's own client key has spent. The answer has the form
 * of OpenRouter's answer about a key, so tools that show a balance still work. It shows nothing of
 * the pool's keys.
 */
export async function clientKey(c: Context<HttpEnvironment>): Promise<Response> {
  const { gateway, clientId, caller } = c.var
  const answer = await gateway.pool.spending(clientId)
  const quotas = caller.budget === null ? NO_QUOTAS : await gateway.pool.quotas(clientId)
  if (answer.kind === 'unavailable' || quotas.kind === 'unavailable') {
    const message = 'This gateway cannot look up the spending of this client key now. Try again.'
    return errorResponse(c, poolUnavailable(message))
  }
  return Response.json(keyAnswer(caller, answer.value, quotas.value), {
    headers: { 'cache-control': 'no-store' },
  })
}

import type { Context } from 'hono'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import { clientHeaders } from '../../openrouter/headers.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { fetchInTime } from './upstream-get.ts'

/**
 * `GET generation?id=`: asked of OpenRouter with a key of the account that made
 * the answer, since no other account's key finds it.
 */
export async function generation(c: Context<HttpEnvironment>): Promise<Response> {
  const { gateway, clientId } = c.var
  const { config, pool, ring } = gateway
  const id = c.req.query('id')
  if (id === undefined || id === '') {
    return errorResponse(c, gatewayError('invalid_request', 'Name a generation: ?id=gen-…'))
  }
  const answer = await pool.keyForGeneration(id, clientId)
  if (answer.kind === 'unavailable') {
    const message = 'Which key made that answer cannot be looked up now. Try again.'
    return errorResponse(c, gatewayError('no_key_available', message))
  }
  const secret = answer.value === null ? null : ring.secret(answer.value)
  if (secret === null) {
    const message =
      'No answer with that id was given to this client key within the last day, as far as this gateway remembers.'
    return errorResponse(c, gatewayError('not_found', message))
  }
  const url = `${config.upstreamUrl}/generation?${new URLSearchParams({ id })}`
  const upstream = await fetchInTime(gateway, url, {
    accept: 'application/json',
    authorization: `Bearer ${secret}`,
  })
  if (!upstream.ok) return errorResponse(c, upstream.error)
  const { body, status, headers } = upstream.response
  if ([401, 402, 403].includes(status)) {
    await body?.cancel()
    const message = 'OpenRouter refused the key that made that answer. Try again later.'
    return errorResponse(c, gatewayError('keys_exhausted', message))
  }
  return new Response(body, { status, headers: clientHeaders(headers) })
}

import type { Context } from 'hono'
import { gatewayError, poolUnavailable } from '../../gateway/answers/gateway-error.ts'
import { clientHeaders } from '../../openrouter/headers.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { fetchInTime } from './upstream-get.ts'

/**
 * `GET generation?id=`: asks OpenRouter with a key of the account that made the answer. Keys of
 * other accounts do not find it.
 */
export async function generation(c: Context<HttpEnvironment>): Promise<Response> {
  const { gateway, clientId } = c.var
  const { config, pool, ring } = gateway
  const id = c.req.query('id')
  if (id === undefined || id === '') {
    const message = 'The request names no generation. Send its id as ?id=gen-…'
    return errorResponse(c, gatewayError('invalid_request', message))
  }
  const answer = await pool.keyForGeneration(id, clientId)
  if (answer.kind === 'unavailable') {
    const message = 'This gateway cannot look up that answer now. Try again.'
    return errorResponse(c, poolUnavailable(message))
  }
  const secret = answer.value === null ? null : ring.secret(answer.value)
  if (secret === null) {
    const message =
      'This gateway knows no answer with that id for this client key. It remembers answers for one day at most. Check the id.'
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
    const message = 'OpenRouter refused the key for that answer. Try again later.'
    return errorResponse(c, gatewayError('keys_exhausted', message))
  }
  if (upstream.response.ok) return new Response(body, { status, headers: clientHeaders(headers) })
  const { redaction } = gateway
  const content = redaction.bytes(new Uint8Array(await upstream.response.arrayBuffer()))
  return new Response(content, { status, headers: redaction.headers(clientHeaders(headers)) })
}

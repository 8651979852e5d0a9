import { createMiddleware } from 'hono/factory'
import { type ClientId, clientId } from '../balancing/ids.ts'
import type { Client } from '../config/client-keys.ts'
import { sha256 } from '../config/secrets.ts'
import { gatewayError } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from './context.ts'
import { errorResponse } from './error-response.ts'

const ANONYMOUS = clientId('anonymous')

/**
 * Lets in requests with a client key: a bearer token, or `x-api-key` as Anthropic's SDK sends it.
 * In anonymous mode it lets in every request.
 */
export const authenticate = createMiddleware<HttpEnvironment>(async function authenticate(c, next) {
  const { config, ports } = c.var.gateway
  const beganMs = ports.nowMs()
  const caller = config.anonymous ? ANONYMOUS : await identify(c.req.raw.headers, config.clients)
  if (caller === null) {
    const response = errorResponse(c, gatewayError('unauthorized', UNAUTHORIZED))
    response.headers.set('www-authenticate', 'Bearer')
    return response
  }
  c.set('clientId', caller)
  c.set('authMs', ports.nowMs() - beganMs)
  return await next()
})

const UNAUTHORIZED =
  'The request has no valid client key. Send one as "Authorization: Bearer <token>". ' +
  'The operator of this gateway gives out client keys. An OpenRouter key does not work here.'

/** An SDK that finds two credentials in its environment sends both. Either may be a client key. */
function presentedTokens(headers: Headers): string[] {
  const [, bearer] = /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '') ?? []
  return [bearer, headers.get('x-api-key')].filter((token) => typeof token === 'string')
}

/**
 * Finds the client that a token belongs to. It compares hashes in constant time, and it checks
 * every client even after a match. So an attacker who measures times learns neither a token's
 * prefix nor its place in the list.
 */
async function identify(headers: Headers, clients: readonly Client[]): Promise<ClientId | null> {
  let found: ClientId | null = null
  for (const token of presentedTokens(headers)) {
    const presented = await sha256(token)
    for (const { id, tokenSha256 } of clients) {
      if (crypto.subtle.timingSafeEqual(presented, tokenSha256)) found ??= id
    }
  }
  return found
}

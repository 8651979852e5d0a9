import { createMiddleware } from 'hono/factory'
import { type ClientId, clientId } from '../balancing/ids.ts'
import type { Client } from '../config/client-keys.ts'
import { sha256 } from '../config/secrets.ts'
import { gatewayError } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from './context.ts'
import { errorResponse } from './error-response.ts'

const ANONYMOUS = clientId('anonymous')

/** Lets in who has a client key, as a bearer token or, as Anthropic's SDK sends it, `x-api-key`. */
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
  'Send a client key of this gateway as "Authorization: Bearer <token>". ' +
  'An OpenRouter key is not one; the operator of this gateway gives them out.'

/** SDKs that find two credentials in their environment send both, and only one may be ours. */
function presentedTokens(headers: Headers): string[] {
  const [, bearer] = /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '') ?? []
  return [bearer, headers.get('x-api-key')].filter((token) => typeof token === 'string')
}

/**
 * Finds the client that a token belongs to. Hashes are compared, each in constant
 * time, and every client is looked at whatever was found before: neither a
 * token's prefix nor its place in the list can be learned by timing.
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

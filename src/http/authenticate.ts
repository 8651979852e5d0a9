import { createMiddleware } from 'hono/factory'
import { type ClientId, clientId } from '../balancing/ids.ts'
import { sha256Hex } from '../config/secrets.ts'
import { gatewayError } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from './context.ts'
import { errorResponse } from './error-response.ts'

const ANONYMOUS = clientId('anonymous')

/**
 * Lets in requests with a client key: a bearer token, or `x-api-key` as Anthropic's SDK sends it.
 * In anonymous mode it lets in every request.
 */
export const authenticate = createMiddleware<HttpEnvironment>(async function authenticate(c, next) {
  const { config, ports, clients } = c.var.gateway
  const beganMs = ports.nowMs()
  const caller = config.anonymous ? ANONYMOUS : identify(c.req.raw.headers, clients)
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
 * Finds the client that a token belongs to, by the token's hash. How long that takes says something of
 * the hash, and nothing of the token: whoever sends guesses cannot choose hashes that are close to one.
 */
function identify(headers: Headers, clients: ReadonlyMap<string, ClientId>): ClientId | null {
  for (const token of presentedTokens(headers)) {
    const client = clients.get(sha256Hex(token))
    if (client !== undefined) return client
  }
  return null
}

import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { sha256Hex } from '../config/secrets.ts'
import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../http/context.ts'
import { errorResponse } from '../http/error-response.ts'
import { notServed } from '../http/unserved.ts'

/**
 * Lets operators in, by the tokens of `ADMIN_TOKEN` and, to read only, of `READ_TOKEN`. While neither
 * is set the whole API is not there.
 */
export const signIn = createMiddleware<HttpEnvironment>(async function signIn(c, next) {
  const { writers, readers } = c.var.gateway.config.admin
  if (writers.length + readers.length === 0) return errorResponse(c, notServed(c))
  const operator = operatorOf(c)
  if (operator !== null) c.set('operator', operator)
  if (operator === null) c.res = refused(c)
  else if (operator === READER && !isRead(c)) c.res = errorResponse(c, READ_ONLY)
  else await next()
  // What an operator sees is for no cache.
  c.res.headers.set('cache-control', 'no-store')
  return undefined
})

/** By what a request signs in; null if by nothing. */
function operatorOf(c: Context<HttpEnvironment>): string | null {
  const { writers, readers } = c.var.gateway.config.admin
  const [, token] = /^Bearer +(\S+) *$/i.exec(c.req.raw.headers.get('authorization') ?? '') ?? []
  // By the hash, as for clients: how long a comparison takes tells nothing of the token.
  const hash = token === undefined ? '' : sha256Hex(token)
  const writer = writers.indexOf(hash)
  if (writer !== -1) return WRITERS[writer === 0 ? 0 : 1]
  return readers.includes(hash) ? READER : null
}

const isRead = ({ req: { method } }: Context): boolean => method === 'GET' || method === 'HEAD'

const READER = 'READ_TOKEN'
const WRITERS = ['ADMIN_TOKEN', 'ADMIN_TOKEN (second)'] as const

const READ_ONLY: GatewayError = gatewayError(
  'unauthorized',
  'READ_TOKEN opens what is read, and changes nothing. Use ADMIN_TOKEN.',
  { status: 403 },
)

function refused(c: Context<HttpEnvironment>): Response {
  const message =
    'The request has no valid admin token. Send ADMIN_TOKEN as "Authorization: Bearer <token>".'
  const response = errorResponse(c, gatewayError('unauthorized', message))
  response.headers.set('www-authenticate', 'Bearer')
  return response
}

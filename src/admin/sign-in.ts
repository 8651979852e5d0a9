import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../http/context.ts'
import { errorResponse } from '../http/error-response.ts'
import { notServed } from '../http/unserved.ts'
import { admissionOf, hasOperators, isCrossSite, type Operator } from './sign-in/operator.ts'

/**
 * Lets operators in, by the tokens of `ADMIN_TOKEN` and, to read only, of `READ_TOKEN`; by a session
 * that began with one; or by Cloudflare Access. While none is configured, the whole API is not there.
 */
export const signIn = createMiddleware<HttpEnvironment>(async function signIn(c, next) {
  if (!hasOperators(c)) return errorResponse(c, notServed(c))
  const admission = await admissionOf(c)
  if (admission.kind === 'too_many_guesses') {
    return errorResponse(c, tooManyGuesses(admission.waitMs))
  }
  if (admission.kind === 'stranger') return refused(c)
  const { operator } = admission
  remember(c, operator)
  const refusal = writeRefusal(c, operator)
  if (refusal !== null) return errorResponse(c, refusal)
  return await next()
})

/** Tells the routes, the log and the audit who is signed in. */
export function remember(c: Context<HttpEnvironment>, operator: Operator): void {
  c.set('operator', operator.name)
  c.set('mayWrite', operator.mayWrite)
  c.set('signedInUntilMs', operator.endsAtMs)
}

/** Why that operator's request may not change anything; null if it may, or does not. */
export function writeRefusal(c: Context<HttpEnvironment>, operator: Operator): GatewayError | null {
  if (c.req.method === 'GET' || c.req.method === 'HEAD') return null
  if (!operator.mayWrite) return READ_ONLY
  return operator.isAmbient && isCrossSite(c) ? CROSS_SITE : null
}

/** The error of a network that has sent too many wrong tokens. */
export function tooManyGuesses(waitMs: number): GatewayError {
  const message = 'Too many wrong tokens came from your network. Wait a moment, then try again.'
  return gatewayError('unauthorized', message, { status: 429, retryAfterMs: waitMs })
}

const READ_ONLY: GatewayError = gatewayError(
  'unauthorized',
  'READ_TOKEN opens what is read, and changes nothing. Use ADMIN_TOKEN.',
  { status: 403 },
)

const CROSS_SITE: GatewayError = gatewayError(
  'unauthorized',
  'A browser may change something from this page only. From elsewhere, send ADMIN_TOKEN as "Authorization: Bearer <token>".',
  { status: 403 },
)

function refused(c: Context<HttpEnvironment>): Response {
  const message =
    'The request has no valid admin token. Send ADMIN_TOKEN as "Authorization: Bearer <token>".'
  const response = errorResponse(c, gatewayError('unauthorized', message))
  response.headers.set('www-authenticate', 'Bearer')
  return response
}

import { createMiddleware } from 'hono/factory'
import { holdsKey } from '../config/secrets.ts'
import { RETURNED_NAMES } from '../openrouter/headers.ts'
import type { HttpEnvironment } from './context.ts'

/** `*` stands for whatever else OpenRouter sends. Older browsers know only names. */
const EXPOSED_HEADERS = [
  '*',
  ...RETURNED_NAMES,
  'x-request-id',
  'x-switchyard-key',
  'x-switchyard-attempts',
  'x-switchyard-model',
  'x-switchyard-degraded',
  'x-switchyard-cache',
  'server-timing',
  'www-authenticate',
  'age',
]

const EXPOSED = EXPOSED_HEADERS.join(', ')

/** What a browser asks before it sends a page's request. Hono's middleware for it also serves origins apart. */
function preflight(request: Request): Response {
  const headers = new Headers({ 'access-control-allow-methods': 'GET,HEAD,POST,DELETE' })
  const asked = request.headers.get('access-control-request-headers')
  if (asked !== null && asked !== '') {
    headers.set('access-control-allow-headers', asked)
    headers.set('vary', 'access-control-request-headers')
  }
  return new Response(null, { status: 204, headers })
}

/** A caller may name its request. What it sends is shown in logs and pages, so it is a plain word. */
const REQUEST_ID = /^[\w=-]{1,255}$/

const isRequestId = (given: string): boolean => REQUEST_ID.test(given) && !holdsKey(given)

/**
 * Names each request, and gives its response the headers that all have. They are set on the response
 * that is there: Hono's own middlewares would prepare one of their own and copy the other into it,
 * which costs as much as all of its routing.
 */
export const responseHeaders = createMiddleware<HttpEnvironment>(async function respond(c, next) {
  const given = c.req.raw.headers.get('x-request-id')
  const requestId = given !== null && isRequestId(given) ? given : crypto.randomUUID()
  c.set('requestId', requestId)
  // The operators' API is for no page of another origin.
  const isPublic = !/^\/(?:admin|metrics)(?:\/|$)/.test(c.req.path)
  if (isPublic && c.req.method === 'OPTIONS') c.res = preflight(c.req.raw)
  else await next()
  const { headers } = c.res
  headers.set('x-request-id', requestId)
  if (!isPublic) return
  headers.set('access-control-allow-origin', '*')
  headers.set('access-control-expose-headers', EXPOSED)
})

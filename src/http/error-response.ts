import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { sha256Hex } from '../config/secrets.ts'
import { releaseOfDead } from '../flight/dead-objects.ts'
import { answerOf, type GatewayError } from '../gateway/answers/gateway-error.ts'
import { rowOfRefusal } from '../gateway/request-rows.ts'
import type { ApiShape } from '../openrouter/shapes/api-shape.ts'
import { openRouterError } from '../openrouter/shapes/openrouter-error.ts'
import { API_SHAPES } from '../openrouter/shapes/shape-registry.ts'
import { type Gateway, journeyContextOf, MEMORY } from './composition-root.ts'
import type { HttpEnvironment } from './context.ts'
import { logAnswer } from './log.ts'

/**
 * Both prefixes serve the same API. The base URL of OpenAI's and OpenRouter's SDKs ends with
 * `/api/v1`. Anthropic's SDK adds `/v1` to its base URL itself.
 */
export const PREFIXES = ['/api/v1', '/v1'] as const

/**
 * The gateway's own error in the API shape of the called path, else in OpenRouter's form. The request
 * gets its line in the log: without it, somebody who guesses tokens would not be seen.
 */
export function errorResponse(c: Context<HttpEnvironment>, error: GatewayError): Response {
  const wording = shapeAt(c.req.path) ?? { errorBody: openRouterError }
  const { body, ...head } = answerOf(error, wording)
  if (error.reason === 'overloaded') {
    const { flights, ports } = c.var.gateway
    c.executionCtx.waitUntil(releaseOfDead(MEMORY, flights, ports.nowMs()))
  }
  logAnswered(c, error.status, error)
  return new Response(body, head)
}

/** Also known for a request that fails before it gets a route, or whose prefix is wrong. */
function shapeAt(path: string): ApiShape | undefined {
  return API_SHAPES.find((shape) => path.endsWith(`/${shape.path}`))
}

/** Logs a request to a list or about a client. `errorResponse` logs those that are refused. */
export const logged = createMiddleware<HttpEnvironment>(async function logged(c, next) {
  await next()
  logAnswered(c, c.res.status, null)
})

function logAnswered(
  c: Context<HttpEnvironment>,
  status: number,
  error: GatewayError | null,
): void {
  if (c.get('isLogged')) return
  c.set('isLogged', true)
  const { requestId, clientId, operator, gateway } = c.var
  const { method } = c.req
  const path = gateway === undefined ? c.req.path : withoutTokens(c.req.path, gateway)
  logAnswer({ requestId, clientId, operator, method, path, status, error })
  if (error !== null && method === 'POST') noteRefusal(c, error)
}

/**
 * Notes a refused request of a known client for the operators. Who is not known leaves no row: guesses
 * would drive out those of clients, and cost the pool's object calls.
 */
function noteRefusal(c: Context<HttpEnvironment>, error: GatewayError): void {
  const { gateway, caller, requestId, startedAtMs } = c.var
  if (caller === undefined) return
  const prefix = PREFIXES.find((one) => c.req.path.startsWith(`${one}/`)) ?? ''
  const path = c.req.path.slice(prefix.length + 1)
  // What breaks here costs the row. The request has its answer and its line in the log.
  const background = (work: Promise<unknown>) =>
    c.executionCtx.waitUntil(work.catch(() => undefined))
  const { leases, ports } = journeyContextOf(gateway, gateway.ports, background)
  leases.note(rowOfRefusal({ requestId, caller, path, error, startedAtMs }, ports.nowMs()))
  background(leases.settle([]))
}

/** A token has at least so many characters. */
const SHORTEST_TOKEN = 16

/** The log shows the first hundred. A token that begins among them is whole among these. */
const LOOKED_AT = 512

/**
 * A path for the log. Somebody may mistake a token for the name of its client; what a token is, only
 * its hash tells.
 */
function withoutTokens(path: string, { callers, config }: Gateway): string {
  const { writers, readers } = config.admin
  const isToken = (part: string) => {
    if (part.length < SHORTEST_TOKEN) return false
    const hash = sha256Hex(part)
    return callers.has(hash) || writers.includes(hash) || readers.includes(hash)
  }
  return path
    .slice(0, LOOKED_AT)
    .split('/')
    .map((part) => (isToken(part) ? '…' : part))
    .join('/')
}

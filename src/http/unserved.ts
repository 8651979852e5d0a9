import type { Context } from 'hono'
import { type GatewayError, gatewayError } from '../gateway/answers/gateway-error.ts'
import { API_SHAPES } from '../openrouter/shapes/shape-registry.ts'
import type { HttpEnvironment } from './context.ts'
import { PREFIXES } from './error-response.ts'

/** A URL whose path has nothing in it that could be written in another way. Nearly all are such. */
const PLAIN_URL = /^https?:\/\/[^/?#\\]+(\/[\w/-]*)(?:\?|$)/

/** The query of a URL with its question mark, or an empty text. */
export function searchOf(url: string): string {
  const at = url.indexOf('?')
  if (at === -1) return ''
  return url.includes('#') ? new URL(url).search : url.slice(at)
}

/**
 * The path by which a request is routed, as the URL standard writes it: `a/../b`, `a/%2e%2e/b` and
 * `a/..\b` are all `b`. A raw request line is not normalised, but `new URL` and `fetch` do it. A
 * route that is matched before that serves another path than the one that goes upstream.
 */
export function normalisedPath(request: Request): string {
  const [, plain] = PLAIN_URL.exec(request.url) ?? []
  if (plain !== undefined) return plain
  return URL.canParse(request.url) ? new URL(request.url).pathname : '/'
}

const GET_PATHS: ReadonlySet<string> = new Set([
  ...['key', 'auth/key', 'generation'],
  ...['models', 'providers', 'embeddings/models', 'endpoints/zdr'],
])

const MANAGED =
  'This gateway does not serve that path. Keys, credits and accounts can only be managed at ' +
  'OpenRouter itself.'

/** The 404 of a path or method that is not served. It says what is wrong where that can be seen. */
export function notServed(c: Context<HttpEnvironment>): GatewayError {
  return gatewayError('not_found', explanation(c))
}

function explanation(c: Context<HttpEnvironment>): string {
  const { path } = c.req
  const { origin } = new URL(c.req.url)
  const base =
    `The base URL of this gateway is ${origin}${PREFIXES[0]}; ` +
    `for Anthropic's SDK it is ${origin}/api.`
  // What is left of a path if a client has added a prefix too often, or left it out.
  const [, endpoint = ''] = /^(?:\/+(?:api|v1))*\/+(.*?)\/*$/i.exec(path) ?? []
  const method = methodOf(endpoint.toLowerCase(), c.var.gateway?.config.policy.extraPaths ?? [])
  if (method === null) {
    return PREFIXES.some((prefix) => path.startsWith(`${prefix}/`))
      ? MANAGED
      : `This gateway does not serve that path. ${base}`
  }
  const isPlain = PREFIXES.some((prefix) => path === `${prefix}/${endpoint.toLowerCase()}`)
  return isPlain
    ? `This gateway serves that path with ${method} only.`
    : `This gateway does not serve that path, but ${method} ${origin}${PREFIXES[0]}/${endpoint.toLowerCase()}. ${base}`
}

/** The method with which an endpoint is served; null if there is no such endpoint. */
function methodOf(endpoint: string, extraPaths: readonly string[]): string | null {
  if (endpoint === 'files' || endpoint === 'batches') return 'POST or GET'
  if (GET_PATHS.has(endpoint) || endpoint.startsWith('models/')) return 'GET'
  const isBalanced = API_SHAPES.some(({ path }) => path === endpoint)
  return isBalanced || extraPaths.includes(endpoint) ? 'POST' : null
}

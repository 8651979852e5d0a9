import type { Context } from 'hono'
import { gatewayError } from '../gateway/gateway-error.ts'
import { clientHeaders } from '../openrouter/headers.ts'
import type { HttpEnvironment } from './context.ts'
import { errorResponse } from './error-response.ts'

/** The public lists: fetched without any key, so that they can be the same for everybody. */
export const CATALOGUE_PATHS = [
  'models',
  'models/*',
  'providers',
  'embeddings/models',
  'endpoints/zdr',
] as const

/**
 * Serves a public list through Cloudflare's cache, for as long as OpenRouter's
 * own `cache-control` says.
 */
export function catalogue(prefix: string) {
  return async function list(c: Context<HttpEnvironment>): Promise<Response> {
    const { config, ports } = c.var.gateway
    const { pathname, search } = new URL(c.req.url)
    // `models/..%2fkeys` is one segment to us and may be two to whoever decodes it behind us.
    if (/%(?:2f|5c)/i.test(pathname)) return await c.notFound()
    const url = config.upstreamUrl + pathname.slice(prefix.length) + search
    const cached = await caches.default.match(url).catch(() => undefined)
    if (cached !== undefined) return new Response(cached.body, cached)
    const controller = new AbortController()
    const cancel = ports.timer(config.policy.timeouts.headersMs, () => controller.abort())
    try {
      const upstream = await ports.fetch(url, {
        redirect: 'manual',
        headers: { accept: 'application/json' },
        signal: controller.signal,
      })
      const response = new Response(upstream.body, {
        status: upstream.status,
        headers: clientHeaders(upstream.headers),
      })
      if (isCacheable(upstream)) {
        c.executionCtx.waitUntil(caches.default.put(url, response.clone()).catch(() => undefined))
      }
      return response
    } catch {
      return errorResponse(
        c,
        controller.signal.aborted
          ? gatewayError('upstream_timeout', 'OpenRouter did not answer in time. Try again.')
          : gatewayError('upstream_unreachable', 'OpenRouter could not be reached. Try again.'),
      )
    } finally {
      cancel()
    }
  }
}

/** Only what OpenRouter says may be shared; the cache itself heeds the rest of `cache-control`. */
function isCacheable({ status, headers }: Response): boolean {
  return status === 200 && /\b(public|s-maxage|max-age)\b/.test(headers.get('cache-control') ?? '')
}

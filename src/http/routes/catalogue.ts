import type { Context } from 'hono'
import { clientHeaders } from '../../openrouter/headers.ts'
import type { Gateway } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { type Kept, keep, readKept } from './catalogue-cache.ts'
import { fetchInTime } from './upstream-get.ts'

/** The public lists. They are fetched without a key, so they are the same for all callers. */
export const CATALOGUE_PATHS = [
  'models',
  'models/*',
  'providers',
  'embeddings/models',
  'endpoints/zdr',
] as const

/** Lists that depend on the key that asks. They are not public, so clients do not get them. */
const OWN: ReadonlySet<string> = new Set(['/models/user'])

/**
 * Serves a public list through Cloudflare's cache. OpenRouter's own `cache-control` decides: a
 * fresh list is served from the cache, a stale one is served and renewed in the background, and an
 * old one is served only if OpenRouter fails.
 */
export function catalogue(prefix: string, renewals: Renewals) {
  return async function list(c: Context<HttpEnvironment>): Promise<Response> {
    const { gateway } = c.var
    const path = listPath(c.req.path.slice(prefix.length))
    if (path === null) return await c.notFound()
    const url = gateway.config.upstreamUrl + path + new URL(c.req.url).search
    const kept = await readKept(url)
    if (kept?.freshness === 'stale') c.executionCtx.waitUntil(renewals.renew(gateway, url))
    return kept === null || kept.freshness === 'old' ? await fetched(c, url, kept) : kept.response
  }
}

/** Segments of names: of authors, of models, of their lists. None begins with a dot. */
const SEGMENTS = /^(?:\/[\w~:@+-][\w.~:@+-]*)+$/

/**
 * The path of a list as it goes upstream: decoded, so that it is the one that was matched. A server
 * behind the gateway may decode it once more, and to the same. Null for every other path.
 */
function listPath(path: string): string | null {
  const decoded = decodedOnce(path)
  return decoded === null || !SEGMENTS.test(decoded) || OWN.has(decoded) ? null : decoded
}

function decodedOnce(path: string): string | null {
  try {
    return decodeURIComponent(path)
  } catch {
    return null
  }
}

/** @param kept the answer to use if OpenRouter fails */
async function fetched(
  c: Context<HttpEnvironment>,
  url: string,
  kept: Kept | null,
): Promise<Response> {
  const upstream = await fetchList(c.var.gateway, url)
  if (kept !== null && (!upstream.ok || upstream.response.status >= 500)) {
    if (upstream.ok) await upstream.response.body?.cancel()
    return kept.response
  }
  await kept?.response.body?.cancel()
  if (!upstream.ok) return errorResponse(c, upstream.error)
  const { response } = upstream
  c.executionCtx.waitUntil(keep(url, response.clone()))
  const headers = clientHeaders(response.headers)
  // OpenRouter's own cache may have kept the answer for some time. Caches behind the gateway need
  // that age.
  const age = response.headers.get('age')
  if (age !== null) headers.set('age', age)
  return new Response(response.body, { status: response.status, headers })
}

function fetchList(gateway: Gateway, url: string) {
  return fetchInTime(gateway, url, { accept: 'application/json' })
}

/** Renews lists in the background. Only one renewal of a list runs at a time in an isolate. */
export interface Renewals {
  renew(gateway: Gateway, url: string): Promise<void>
}

/** After this long a renewal counts as dead: the runtime may end background work silently. */
const RENEWAL_LASTS_MS = 60_000

export function createRenewals(): Renewals {
  const startedAtMs = new Map<string, number>()

  async function renew(gateway: Gateway, url: string): Promise<void> {
    const nowMs = gateway.ports.nowMs()
    const lastMs = startedAtMs.get(url)
    if (lastMs !== undefined && nowMs - lastMs < RENEWAL_LASTS_MS) return
    startedAtMs.set(url, nowMs)
    try {
      const upstream = await fetchList(gateway, url)
      // An answer that can't be stored, such as an error, leaves the cached list as it is.
      if (upstream.ok) await keep(url, upstream.response)
    } finally {
      startedAtMs.delete(url)
    }
  }

  return { renew }
}

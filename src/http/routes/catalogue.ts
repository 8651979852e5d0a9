import type { Context } from 'hono'
import { clientHeaders } from '../../openrouter/headers.ts'
import type { Gateway } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { type Kept, keep, readKept } from './catalogue-cache.ts'
import { fetchInTime } from './upstream-get.ts'

/** The public lists: fetched without any key, so that they can be the same for everybody. */
export const CATALOGUE_PATHS = [
  'models',
  'models/*',
  'providers',
  'embeddings/models',
  'endpoints/zdr',
] as const

/** Lists of the asking key's own models: not public, and no business of a client's. */
const OWN: ReadonlySet<string> = new Set(['/models/user'])

/**
 * Serves a public list through Cloudflare's cache, for as long as OpenRouter's own
 * `cache-control` says: at once while it may be stale and is fetched anew in the
 * background, and also later where OpenRouter allows that and fails.
 */
export function catalogue(prefix: string, renewals: Renewals) {
  return async function list(c: Context<HttpEnvironment>): Promise<Response> {
    const { gateway } = c.var
    const { pathname, search } = new URL(c.req.url)
    // `models/..%2fkeys` is one segment to us and may be two to whoever decodes it behind us.
    // A prefix that is written in another way (`/v%31`) is the same to the router only.
    const isPlain = pathname.startsWith(`${prefix}/`) && !/%(?:2f|5c)/i.test(pathname)
    if (!isPlain || OWN.has(pathname.slice(prefix.length))) return await c.notFound()
    const url = gateway.config.upstreamUrl + pathname.slice(prefix.length) + search
    const kept = await readKept(url)
    if (kept?.freshness === 'stale') c.executionCtx.waitUntil(renewals.renew(gateway, url))
    return kept === null || kept.freshness === 'old' ? await fetched(c, url, kept) : kept.response
  }
}

/** @param kept what to answer if OpenRouter fails */
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
  // OpenRouter's own cache may have had it for a while already, which those after us have to know.
  const age = response.headers.get('age')
  if (age !== null) headers.set('age', age)
  return new Response(response.body, { status: response.status, headers })
}

function fetchList(gateway: Gateway, url: string) {
  return fetchInTime(gateway, url, { accept: 'application/json' })
}

/** Fetches in the background, each list once at a time however many callers find it stale. */
export interface Renewals {
  renew(gateway: Gateway, url: string): Promise<void>
}

/** After so long a renewal is taken for dead: the runtime ends background work without a word. */
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
      // What can't be kept, an error above all, leaves the list as it is.
      if (upstream.ok) await keep(url, upstream.response)
    } finally {
      startedAtMs.delete(url)
    }
  }

  return { renew }
}

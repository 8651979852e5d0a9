import type { Context } from 'hono'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import { clientHeaders } from '../../openrouter/headers.ts'
import type { Gateway } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import {
  type CatalogueCache,
  createCatalogueCache,
  isStorable,
  type Kept,
  sharedBody,
} from './catalogue-cache.ts'
import { catalogueQuery } from './catalogue-query.ts'
import { type ListRead, readList } from './list-read.ts'
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

/** The lists that an isolate has, and its fetches of them. */
export interface Lists {
  readonly cache: CatalogueCache
  /** When the latest fetch of a list began, while it runs. */
  readonly fetching: Map<string, number>
}

export function createLists(): Lists {
  return { cache: createCatalogueCache(), fetching: new Map() }
}

/**
 * Serves a public list from a copy that all clients share. OpenRouter's own `cache-control` decides:
 * a fresh list is served from the cache, a stale one is served and renewed in the background, and an
 * old one is served only if OpenRouter fails.
 */
export function catalogue(prefix: string, lists: Lists) {
  return async function list(c: Context<HttpEnvironment>): Promise<Response> {
    const { gateway } = c.var
    const path = listPath(c.req.path.slice(prefix.length))
    if (path === null) return await c.notFound()
    const query = catalogueQuery(path, new URL(c.req.url).searchParams)
    const url = gateway.config.upstreamUrl + path + query
    const kept = await lists.cache.read(url)
    if (kept?.freshness === 'stale') c.executionCtx.waitUntil(renew(lists, gateway, url))
    if (kept !== null && kept.freshness !== 'old') return kept.respond()
    const others = kept === null ? await fetchedByOther(lists, gateway, url) : null
    return others?.respond() ?? (await fetched(c, lists, url, kept))
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

/** After this long a fetch counts as dead: the runtime may end background work silently. */
const FETCH_LASTS_MS = 60_000
/** A promise of one request must not be awaited by another, so it looks for the result. */
const LOOK_AGAIN_MS = 25

function isFetching({ fetching }: Lists, gateway: Gateway, url: string): boolean {
  const sinceMs = fetching.get(url)
  return sinceMs !== undefined && gateway.ports.nowMs() - sinceMs < FETCH_LASTS_MS
}

/** Waits for the list that another request is fetching, so that many do not each hold a copy. */
async function fetchedByOther(lists: Lists, gateway: Gateway, url: string): Promise<Kept | null> {
  const { ports, config } = gateway
  const untilMs = ports.nowMs() + config.policy.timeouts.headersMs
  while (isFetching(lists, gateway, url) && ports.nowMs() < untilMs) {
    await new Promise<void>((resolve) => void ports.timer(LOOK_AGAIN_MS, resolve))
    const kept = lists.cache.peek(url)
    if (kept?.freshness === 'fresh') return kept
  }
  return null
}

/** @param kept the answer to use if OpenRouter fails */
async function fetched(
  c: Context<HttpEnvironment>,
  lists: Lists,
  url: string,
  kept: Kept | null,
): Promise<Response> {
  const { gateway } = c.var
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const upstream = await fetchList(lists, gateway, url)
  if (kept !== null && (!upstream.ok || upstream.status >= 500)) {
    if (upstream.ok && upstream.kind === 'stream') background(upstream.body?.cancel() ?? done)
    return kept.respond()
  }
  if (!upstream.ok) return errorResponse(c, upstream.error)
  const { status } = upstream
  const headers = clientHeaders(upstream.headers)
  // OpenRouter's own cache may have kept the answer for some time. Caches behind the gateway need
  // that age.
  const age = upstream.headers.get('age')
  if (age !== null) headers.set('age', age)
  if (upstream.kind === 'stream') return new Response(upstream.body, { status, headers })
  background(lists.cache.keep(url, upstream))
  return new Response(sharedBody(upstream.bytes), { status, headers })
}

const done = Promise.resolve()

type ListFetch = ListRead | { readonly ok: false; readonly error: GatewayError }

/** Fetches a list. It is read whole if it may be stored. */
async function fetchList(lists: Lists, gateway: Gateway, url: string): Promise<ListFetch> {
  lists.fetching.set(url, gateway.ports.nowMs())
  try {
    const upstream = await fetchInTime(gateway, url, { accept: 'application/json' })
    if (!upstream.ok) return upstream
    const { response } = upstream
    const { status, headers, body } = response
    if (!isStorable(response)) return { ok: true, kind: 'stream', status, headers, body }
    const read = await readList(response, gateway.config.policy.timeouts.idleMs, gateway.ports)
    const message = 'The list from OpenRouter ended early. Try again.'
    return read ?? { ok: false, error: gatewayError('upstream_unreachable', message) }
  } finally {
    lists.fetching.delete(url)
  }
}

/** Renews a list in the background. Only one fetch of a list runs at a time in an isolate. */
async function renew(lists: Lists, gateway: Gateway, url: string): Promise<void> {
  if (isFetching(lists, gateway, url)) return
  const upstream = await fetchList(lists, gateway, url)
  // An answer that can't be stored, such as an error, leaves the cached list as it is.
  if (upstream.ok && upstream.kind === 'whole') await lists.cache.keep(url, upstream)
  else if (upstream.ok) await upstream.body?.cancel()
}

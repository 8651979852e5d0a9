import type { Context } from 'hono'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HeldBytes } from '../../gateway/byte-budget.ts'
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
  /** The fetches that run, by the list's URL. */
  readonly fetching: Map<string, RunningFetch>
}

interface RunningFetch {
  readonly sinceMs: number
  /** What it has of the isolate's budget. */
  readonly held: HeldBytes
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
    const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
    if (kept?.freshness === 'stale') background(renew(lists, gateway, url, background))
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
  const running = fetching.get(url)
  return running !== undefined && isAlive(running, gateway)
}

function isAlive({ sinceMs }: RunningFetch, { ports }: Gateway): boolean {
  return ports.nowMs() - sinceMs < FETCH_LASTS_MS
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
  const fetching = fetchList(lists, gateway, url, background)
  // Others wait for this list, and this client may leave.
  background(fetching)
  const upstream = await fetching
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
  return new Response(sharedBody(upstream.bytes), { status, headers })
}

const done = Promise.resolve()

type ListFetch = ListRead | { readonly ok: false; readonly error: GatewayError }

type Background = (work: Promise<unknown>) => void

/** Fetches a list. It is read whole and stored, if it may be stored. */
async function fetchList(
  lists: Lists,
  gateway: Gateway,
  url: string,
  background: Background,
): Promise<ListFetch> {
  const running = beginFetch(lists, gateway, url)
  const { held } = running
  let storing = done
  try {
    const upstream = await fetchInTime(gateway, url, { accept: 'application/json' })
    if (!upstream.ok) return upstream
    const { response } = upstream
    const { status, headers, body } = response
    if (!isStorable(response)) return { ok: true, kind: 'stream', status, headers, body }
    const { idleMs } = gateway.config.policy.timeouts
    const read = await readList(response, idleMs, gateway.ports, held)
    if (read?.kind === 'whole') storing = lists.cache.keep(url, read)
    const message = 'The list from OpenRouter ended early. Try again.'
    return read ?? { ok: false, error: gatewayError('upstream_unreachable', message) }
  } finally {
    if (lists.fetching.get(url) === running) lists.fetching.delete(url)
    background(storing.finally(() => held.release()))
  }
}

/** Notes that a fetch runs. Fetches that the runtime has ended hold nothing any more. */
function beginFetch({ fetching }: Lists, gateway: Gateway, url: string): RunningFetch {
  for (const [other, running] of fetching) {
    if (other !== url && isAlive(running, gateway)) continue
    running.held.release()
    fetching.delete(other)
  }
  const running = { sinceMs: gateway.ports.nowMs(), held: gateway.memory.open() }
  fetching.set(url, running)
  return running
}

/** Renews a list in the background. Only one fetch of a list runs at a time in an isolate. */
async function renew(
  lists: Lists,
  gateway: Gateway,
  url: string,
  background: Background,
): Promise<void> {
  if (isFetching(lists, gateway, url)) return
  const upstream = await fetchList(lists, gateway, url, background)
  // An answer that can't be stored, such as an error, leaves the cached list as it is.
  if (upstream.ok && upstream.kind === 'stream') await upstream.body?.cancel()
}

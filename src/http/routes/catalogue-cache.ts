import CachePolicy from 'http-cache-semantics'
import { clientHeaders } from '../../openrouter/headers.ts'

/**
 * A shared cache after RFC 9111 that also serves stale answers after RFC 5861. The Cache API itself
 * supports neither `stale-while-revalidate` nor `stale-if-error`.
 *
 * Each isolate keeps one copy of a list in its memory and answers all clients from it, since a copy
 * for each client that reads slowly would fill the memory. Behind it is the cache of the data
 * center, which all isolates share.
 */

/** An answer from the cache, and how it may be used. */
export interface Kept {
  /** Made new at each call, from the one copy of the bytes. */
  readonly respond: () => Response
  /** `stale`: serve it at once and fetch it again. `old`: serve it only if a fetch fails. */
  readonly freshness: 'fresh' | 'stale' | 'old'
}

export interface CatalogueCache {
  /** Reads an entry. A failure of the cache counts as a missing entry. */
  read(url: string): Promise<Kept | null>
  /** The same from the isolate's own memory only. */
  peek(url: string): Kept | null
  /** Stores an answer if its own headers allow it, for as long as it may be served, stale or not. */
  keep(url: string, answer: WholeList): Promise<void>
}

/** A list that has been read to its end. */
export interface WholeList {
  readonly status: number
  readonly headers: Headers
  readonly bytes: Uint8Array
}

interface Entry {
  readonly bytes: Uint8Array
  readonly headers: Headers
  readonly policy: CachePolicy
}

/** OpenRouter's longest list has some hundred kilobytes. A longer answer is not kept in memory. */
export const MAX_LIST_BYTES = 4 * 1024 * 1024

/** What an isolate keeps in its memory at most. The entry that was used longest ago goes first. */
const MAX_ENTRIES = 64
const MAX_BYTES = 8 * 1024 * 1024

/** The cached lists are the same for all callers, so the policy sees no caller's headers. */
const REQUEST = { method: 'GET', headers: {} }

/** The header that holds an entry's cache policy. `clientHeaders` removes it from answers. */
const POLICY_HEADER = 'x-switchyard-cache-policy'

/**
 * The headers that the policy is made from. `set-cookie` is left out: OpenRouter's edge sets one,
 * and the library would then store only answers that are `public` or `immutable`. `clientHeaders`
 * removes the cookie.
 */
const POLICY_SOURCES = [
  'age',
  'cache-control',
  'date',
  'expires',
  'last-modified',
  'pragma',
  'vary',
]

/**
 * Not `caches.default`: the runtime's own `fetch` reads and writes that cache. A renewal would then
 * get the same old entry that it must replace.
 */
const open = () => caches.open('catalogue')

export function createCatalogueCache(): CatalogueCache {
  const entries = new Map<string, Entry>()

  /** Puts an entry last in line, and removes what is too much before it. */
  const remember = (url: string, entry: Entry) => {
    entries.delete(url)
    entries.set(url, entry)
    let bytes = [...entries.values()].reduce((sum, one) => sum + one.bytes.length, 0)
    for (const [oldest, one] of entries) {
      if (oldest === url || (entries.size <= MAX_ENTRIES && bytes <= MAX_BYTES)) break
      entries.delete(oldest)
      bytes -= one.bytes.length
    }
  }

  const peek = (url: string) => {
    const own = entries.get(url)
    return own === undefined ? null : keptOf(own)
  }

  return {
    peek,
    async read(url) {
      const own = entries.get(url)
      const kept = peek(url)
      if (own !== undefined && kept?.freshness === 'fresh') {
        remember(url, own)
        return kept
      }
      // Another isolate may have renewed the list.
      const shared = await readShared(url)
      const found = shared === null ? null : keptOf(shared)
      if (shared === null || found === null) return kept
      remember(url, shared)
      return found
    },
    async keep(url, { status, headers, bytes }) {
      const policy = policyOf(status, headers)
      if (status !== 200 || !policy.storable() || policy.timeToLive() < 1000) return
      const entry = { bytes, headers: clientHeaders(headers), policy }
      remember(url, entry)
      await keepShared(url, entry)
    },
  }
}

/** Whether an answer with this head may be stored, so that it is worth reading whole. */
export function isStorable({ status, headers }: Pick<Response, 'status' | 'headers'>): boolean {
  return status === 200 && policyOf(status, headers).storable()
}

function keptOf({ bytes, headers, policy }: Entry): Kept | null {
  const freshness = freshnessOf(policy)
  if (freshness === null) return null
  const respond = () => {
    const own = new Headers(headers)
    own.set('cache-control', String(policy.responseHeaders()['cache-control']))
    own.set('age', String(Math.floor(policy.age())))
    return new Response(sharedBody(bytes), { headers: own })
  }
  return { respond, freshness }
}

/** A client that does not read holds one piece, and not a copy of the list. */
const PIECE_BYTES = 64 * 1024

/** A body that all clients read from the same memory: the runtime would copy a whole one for each. */
export function sharedBody(bytes: Uint8Array): Uint8Array | ReadableStream<Uint8Array> {
  if (bytes.length <= PIECE_BYTES) return bytes
  let at = 0
  const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    controller.enqueue(bytes.subarray(at, at + PIECE_BYTES))
    at += PIECE_BYTES
    if (at >= bytes.length) controller.close()
  }
  return new ReadableStream({ pull }, { highWaterMark: 0 })
}

async function readShared(url: string): Promise<Entry | null> {
  try {
    const entry = await (await open()).match(url)
    const stored = entry?.headers.get(POLICY_HEADER)
    if (entry === undefined || stored === null || stored === undefined) return null
    const policy = CachePolicy.fromObject(JSON.parse(stored))
    const headers = clientHeaders(entry.headers)
    return { bytes: new Uint8Array(await entry.arrayBuffer()), headers, policy }
  } catch {
    return null
  }
}

async function keepShared(url: string, { bytes, headers: own, policy }: Entry): Promise<void> {
  const headers = new Headers(own)
  headers.set('cache-control', `public, max-age=${Math.floor(policy.timeToLive() / 1000)}`)
  headers.set(POLICY_HEADER, JSON.stringify(policy.toObject()))
  try {
    await (await open()).put(url, new Response(bytes, { headers }))
  } catch {
    // The isolate has its own copy.
  }
}

function freshnessOf(policy: CachePolicy): Kept['freshness'] | null {
  const { revalidation } = policy.evaluateRequest(REQUEST)
  if (revalidation === undefined) return 'fresh'
  if (!revalidation.synchronous) return 'stale'
  // Without a response as its second argument, the library assumes that the fetch has failed. It
  // then matches only if `stale-if-error` still allows the entry.
  return policy.revalidatedPolicy(REQUEST).matches ? 'old' : null
}

function policyOf(status: number, headers: Headers): CachePolicy {
  const sources = POLICY_SOURCES.flatMap((name) => {
    const value = headers.get(name)
    return value === null ? [] : [[name, value]]
  })
  // Only OpenRouter's headers set the lifetime. Heuristics from `last-modified` are off.
  const options = { shared: true, cacheHeuristic: 0 }
  return new CachePolicy(REQUEST, { status, headers: Object.fromEntries(sources) }, options)
}

import CachePolicy from 'http-cache-semantics'
import { clientHeaders } from '../../openrouter/headers.ts'

/**
 * A shared cache after RFC 9111 that also serves stale answers after RFC 5861. The Cache API itself
 * supports neither `stale-while-revalidate` nor `stale-if-error`.
 */

/** An answer from the cache, and how it may be used. */
export interface Kept {
  readonly response: Response
  /** `stale`: serve it at once and fetch it again. `old`: serve it only if a fetch fails. */
  readonly freshness: 'fresh' | 'stale' | 'old'
}

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

/** Reads an entry. A failure of the cache counts as a missing entry. */
export async function readKept(url: string): Promise<Kept | null> {
  try {
    const entry = await (await open()).match(url)
    const stored = entry?.headers.get(POLICY_HEADER)
    if (entry === undefined || stored === null || stored === undefined) return null
    const policy = CachePolicy.fromObject(JSON.parse(stored))
    const freshness = freshnessOf(policy)
    if (freshness === null) return null
    const headers = clientHeaders(entry.headers)
    headers.set('cache-control', String(policy.responseHeaders()['cache-control']))
    headers.set('age', String(Math.floor(policy.age())))
    return { response: new Response(entry.body, { headers }), freshness }
  } catch {
    return null
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

/**
 * Stores an answer if its own headers allow it, for as long as it may be served, stale or not.
 * Reads the body to its end, or cancels it.
 */
export async function keep(url: string, upstream: Response): Promise<void> {
  const policy = policyOf(upstream)
  const lifetimeS = Math.floor(policy.timeToLive() / 1000)
  if (upstream.status !== 200 || !policy.storable() || lifetimeS <= 0) {
    await upstream.body?.cancel()
    return
  }
  const headers = clientHeaders(upstream.headers)
  headers.set('cache-control', `public, max-age=${lifetimeS}`)
  headers.set(POLICY_HEADER, JSON.stringify(policy.toObject()))
  try {
    await (await open()).put(url, new Response(upstream.body, { headers }))
  } catch {
    // The caller gets its answer without the cache.
  }
}

function policyOf({ status, headers }: Response): CachePolicy {
  const sources = POLICY_SOURCES.flatMap((name) => {
    const value = headers.get(name)
    return value === null ? [] : [[name, value]]
  })
  // Only OpenRouter's headers set the lifetime. Heuristics from `last-modified` are off.
  const options = { shared: true, cacheHeuristic: 0 }
  return new CachePolicy(REQUEST, { status, headers: Object.fromEntries(sources) }, options)
}

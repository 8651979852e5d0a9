import CachePolicy from 'http-cache-semantics'
import { clientHeaders } from '../../openrouter/headers.ts'

/**
 * Answers kept as RFC 9111 allows a shared cache, and served for some time after
 * they have gone stale as RFC 5861 does: the Cache API by itself knows neither
 * `stale-while-revalidate` nor `stale-if-error`.
 */

/** An answer from the cache, and how it may be used. */
export interface Kept {
  readonly response: Response
  /** `stale` may be served at once if it is also asked for anew; `old` only if that fails. */
  readonly freshness: 'fresh' | 'stale' | 'old'
}

/** What is cached is the same for everybody: nothing of a caller's request plays a part in it. */
const REQUEST = { method: 'GET', headers: {} }

/** Where an entry keeps the policy it came with. It is none of the headers that a client is shown. */
const POLICY_HEADER = 'x-switchyard-cache-policy'

/** What the policy is made of; a cookie is not. */
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
 * Not `caches.default`, which the runtime's own `fetch` reads and writes: asking
 * anew would be answered by the very entry that is to be renewed.
 */
const open = () => caches.open('catalogue')

/** A cache that fails is a cache without the entry. */
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
  // No answer at all is the failure of which `stale-if-error` speaks.
  return policy.revalidatedPolicy(REQUEST).matches ? 'old' : null
}

/** Keeps an answer if its own headers allow it, for as long as it may be of use. Reads it to its end. */
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
    // The caller has the answer all the same.
  }
}

function policyOf({ status, headers }: Response): CachePolicy {
  const sources = POLICY_SOURCES.flatMap((name) => {
    const value = headers.get(name)
    return value === null ? [] : [[name, value]]
  })
  // How long an answer lives is for OpenRouter to say: nothing is guessed from how old it is.
  const options = { shared: true, cacheHeuristic: 0 }
  return new CachePolicy(REQUEST, { status, headers: Object.fromEntries(sources) }, options)
}

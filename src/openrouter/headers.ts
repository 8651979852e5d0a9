/** Names that end in `*` stand for all that start so. */
type NamePattern = string

const FORWARDED: readonly NamePattern[] = [
  'content-type',
  'accept',
  'http-referer',
  'x-title',
  'x-openrouter-*',
  'x-session-id',
  'anthropic-version',
  'anthropic-beta',
  'x-anthropic-beta',
  'user-agent',
]

const RETURNED: readonly NamePattern[] = [
  'x-generation-id',
  'content-type',
  'cache-control',
  'retry-after',
  'x-ratelimit-*',
  'x-openrouter-*',
  'x-provider-name',
]

/**
 * The caller's headers that go upstream: an allow-list, since whatever a caller
 * or a proxy before us invents next must not reach OpenRouter, where
 * `x-api-key` would even win over the key that we set. The answer is asked for
 * uncompressed, so that events arrive as they were written instead of as a
 * compressor flushes them.
 */
export function upstreamHeaders(incoming: Headers): Headers {
  const headers = only(FORWARDED, incoming)
  headers.set('accept-encoding', 'identity')
  return headers
}

/** The headers of OpenRouter's answer that the caller gets to see. No cookie is among them. */
export function clientHeaders(upstream: Headers): Headers {
  return only(RETURNED, upstream)
}

function only(patterns: readonly NamePattern[], headers: Headers): Headers {
  const kept = new Headers()
  headers.forEach((value, name) => {
    if (patterns.some((pattern) => matches(pattern, name))) kept.append(name, value)
  })
  return kept
}

function matches(pattern: NamePattern, name: string): boolean {
  const lowerCased = name.toLowerCase()
  return pattern.endsWith('*')
    ? lowerCased.startsWith(pattern.slice(0, -1))
    : lowerCased === pattern
}

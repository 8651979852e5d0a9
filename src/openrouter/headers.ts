/** Lower-case header names, and beginnings of such names. */
interface NameList {
  readonly names: ReadonlySet<string>
  readonly prefixes: readonly string[]
}

const FORWARDED: NameList = {
  names: new Set([
    'content-type',
    'accept',
    'http-referer',
    'x-title',
    'x-session-id',
    'anthropic-version',
    'anthropic-beta',
    'x-anthropic-beta',
    'user-agent',
  ]),
  prefixes: ['x-openrouter-'],
}

const RETURNED: NameList = {
  names: new Set([
    'x-generation-id',
    'content-type',
    'cache-control',
    'retry-after',
    'x-provider-name',
  ]),
  prefixes: ['x-ratelimit-', 'x-openrouter-'],
}

/**
 * Names of the kept headers, for pages of other origins, which read only headers that are exposed. A
 * name with a `*` at its end cannot be said there; the known ones stand for it.
 */
export const RETURNED_NAMES: readonly string[] = [
  'x-generation-id',
  'retry-after',
  'x-ratelimit-limit',
  'x-ratelimit-remaining',
  'x-ratelimit-reset',
  'x-openrouter-cache-status',
  'x-openrouter-cache-age',
  'x-openrouter-cache-ttl',
  'x-provider-name',
]

/**
 * The caller's headers that go upstream. This is an allow-list: an unknown header of a caller, or
 * of a proxy before the gateway, must not reach OpenRouter. There, `x-api-key` would even win over
 * the gateway's own key. The request asks for an uncompressed answer: a compressor would hold
 * events back until it flushes.
 */
export function upstreamHeaders(incoming: Headers): Headers {
  const headers = only(FORWARDED, incoming)
  headers.set('accept-encoding', 'identity')
  return headers
}

/** The headers of OpenRouter's answer that the caller gets. Cookies are not among them. */
export function clientHeaders(upstream: Headers): Headers {
  return only(RETURNED, upstream)
}

function only({ names, prefixes }: NameList, headers: Headers): Headers {
  const kept = new Headers()
  // The names come in lower case.
  headers.forEach((value, name) => {
    if (names.has(name) || prefixes.some((prefix) => name.startsWith(prefix))) {
      kept.append(name, value)
    }
  })
  return kept
}

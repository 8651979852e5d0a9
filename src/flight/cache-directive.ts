/** What a request says about the cache, in the words of `Cache-Control`. It narrows what its route says. */
export type CacheDirective =
  /** Makes an upstream call of its own. Nothing is kept of it and nobody else gets it. */
  | { readonly kind: 'off' }
  /** Asks upstream even if an answer is kept, and replaces that one. */
  | { readonly kind: 'refresh' }
  /** Takes only an answer that is kept already. */
  | { readonly kind: 'only_if_cached' }
  /** Takes an answer that is kept for so long at most. */
  | { readonly kind: 'max_age'; readonly ms: number }
  | { readonly kind: 'none' }

export const CACHE_HEADER = 'x-switchyard-cache'

/** What the header has to be, for the error of one that is not. */
export const CACHE_HEADER_FORM = 'off, refresh, only-if-cached or max-age=N, with N in seconds'

/** Reads the header; null if it is none of the known words. */
export function readCacheDirective(value: string | null): CacheDirective | null {
  const word = value?.trim().toLowerCase() ?? ''
  switch (word) {
    case '':
      return { kind: 'none' }
    case 'off':
    case 'refresh':
      return { kind: word }
    case 'only-if-cached':
      return { kind: 'only_if_cached' }
    default: {
      const [, seconds] = /^max-age=(\d{1,9})$/.exec(word) ?? []
      return seconds === undefined ? null : { kind: 'max_age', ms: Number(seconds) * 1000 }
    }
  }
}

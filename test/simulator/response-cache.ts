import { type Answer, generationId, unbilled } from './answer.ts'
import type { Visit } from './visit.ts'

/** The APIs whose answers OpenRouter caches. */
const CACHED_PATHS = ['/chat/completions', '/responses', '/messages', '/embeddings']
const DEFAULT_TTL_S = 300
const MAX_TTL_S = 86_400

interface Kept {
  readonly answer: Answer
  readonly atMs: number
  readonly ttlS: number
}

/** Answers by key, path, model and exact bytes of the body: another order of fields is a miss. */
export type ResponseCache = Map<string, Kept>

/** A request for the cache: the name of its entry, and how long its answer is kept. */
export interface CacheDirective {
  readonly name: string
  readonly ttlS: number
  readonly clear: boolean
}

/** Reads the request's `X-OpenRouter-Cache*` headers; null if they do not ask for the cache. */
export function cacheDirective(visit: Visit): CacheDirective | null {
  const { path, headers, body, model } = visit.entry
  if (headers['x-openrouter-cache'] !== 'true' || !CACHED_PATHS.includes(path)) return null
  const asked = Number(headers['x-openrouter-cache-ttl'] ?? DEFAULT_TTL_S)
  const ttlS = Number.isFinite(asked) ? Math.trunc(asked) : DEFAULT_TTL_S
  return {
    name: JSON.stringify([visit.key?.name, path, model, body.sha256]),
    ttlS: Math.min(MAX_TTL_S, Math.max(1, ttlS)),
    clear: headers['x-openrouter-cache-clear'] === 'true',
  }
}

/**
 * The kept answer, with a new generation id and all counters at zero, and the headers of a hit;
 * null for a miss.
 */
export function cachedAnswer(
  visit: Visit,
  request: CacheDirective,
): { answer: Answer; headers: Record<string, string> } | null {
  const { responseCache } = visit.simulation
  if (request.clear) responseCache.delete(request.name)
  const kept = responseCache.get(request.name)
  if (kept === undefined) return null
  const ageS = Math.floor((visit.nowMs - kept.atMs) / 1000)
  if (ageS >= kept.ttlS) return null
  const now = Date.now()
  const answer = {
    ...unbilled(kept.answer),
    id: generationId(now),
    createdS: Math.floor(now / 1000),
  }
  return {
    answer,
    headers: {
      'x-openrouter-cache-status': 'HIT',
      'x-openrouter-cache-age': String(ageS),
      'x-openrouter-cache-ttl': String(kept.ttlS - ageS),
      'x-openrouter-cache-source-id': kept.answer.id,
    },
  }
}

export const missHeaders = (request: CacheDirective): Record<string, string> => ({
  'x-openrouter-cache-status': 'MISS',
  'x-openrouter-cache-ttl': String(request.ttlS),
})

/** Keeps a good answer after it has been sent in full. */
export function keepAnswer(visit: Visit, request: CacheDirective, answer: Answer): void {
  visit.simulation.responseCache.set(request.name, {
    answer,
    atMs: visit.nowMs,
    ttlS: request.ttlS,
  })
}

/**
 * The parameters that OpenRouter documents for its public lists. Only these are sent on: any other
 * would make another entry in the cache, and another fetch, of the same list.
 */
const PAGE = ['limit', 'offset'] as const
const RANGES = ['intelligence_index', 'coding_index', 'agentic_index', 'tool_success_rate'] as const

const MODELS: ReadonlySet<string> = new Set([
  ...PAGE,
  ...['category', 'supported_parameters', 'input_modalities', 'output_modalities', 'sort', 'q'],
  ...['use_rss', 'use_rss_chat_links', 'context', 'arch', 'model_authors', 'providers'],
  ...['distillable', 'zdr', 'region', 'min_price', 'max_price'],
  ...['min_output_price', 'max_output_price', 'min_age_days', 'max_age_days'],
  ...RANGES.flatMap((range) => [`min_${range}`, `max_${range}`]),
])

const PARAMETERS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['/models', MODELS],
  ['/models/count', new Set(['output_modalities'])],
  ['/embeddings/models', new Set(PAGE)],
])

/**
 * The query string to send for a list, with its question mark; '' if nothing of it is left. Queries
 * that mean the same give the same text.
 * @param path below `/api/v1`
 */
export function catalogueQuery(path: string, query: URLSearchParams): string {
  const known = PARAMETERS.get(path)
  const kept = [...query].filter(([name]) => known?.has(name) === true)
  const sorted = new URLSearchParams(kept)
  sorted.sort()
  return kept.length === 0 ? '' : `?${sorted}`
}

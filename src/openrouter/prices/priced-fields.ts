import { isJsonObject, type JsonObject, listOf, objectOf, textOf } from '../json-value.ts'
import { maxTokensOf } from '../requests/conversation.ts'
import { fieldNames } from '../requests/field-names.ts'
import { createWalkNotes, itemsOf, ObjectWalk } from '../requests/json-walk.ts'
import type { Span } from '../requests/span.ts'
import { parseSpan } from '../requests/walked-body.ts'
import { countMarks } from './priced-marks.ts'
import { type ServerTools, serverToolsOf } from './server-tools.ts'

/** What a request's body says that its price depends on. */
export interface PricedFields {
  /** The models of the caller's own `models[]` and `fallbacks[]`. OpenRouter may serve any of them. */
  readonly models: readonly string[]
  /** The most tokens of one answer, as the caller limits them. */
  readonly maxAnswerTokens: number | null
  /** How many answers one prompt or several get. */
  readonly answers: number
  readonly images: number
  readonly hasSound: boolean
  /** Files that somebody has to read for a model that cannot. */
  readonly hasFiles: boolean
  /** Parts of the prompt may be written to the provider's cache, for a price of its own. */
  readonly writesCache: boolean
  /** `unknown` is a tier whose price nobody lists. */
  readonly tier: 'usual' | 'fast' | 'unknown'
  /** A preset, stored at OpenRouter, may change everything. */
  readonly hasPreset: boolean
  /** Results of the search that the `web` plugin makes before the answer; 0 without it. */
  readonly searchResults: number
  readonly serverTools: ServerTools
  readonly hasTools: boolean
  /** In USD: per million tokens, per request, per image. As they came. */
  readonly maxPrice: Readonly<Record<'prompt' | 'completion' | 'request' | 'image', unknown>>
  /** False if a field that prices depend on is too long to be read. */
  readonly isReadable: boolean
}

const SMALL = [
  ...['model', 'models', 'fallbacks', 'preset', 'provider', 'plugins', 'service_tier', 'speed'],
  ...['max_tokens', 'max_completion_tokens', 'max_output_tokens', 'n', 'best_of'],
  ...['max_tool_calls', 'stop_server_tools_when', 'web_search_options', 'mcp_servers'],
] as const
const LARGE = ['tools', 'prompt', 'input'] as const
const NAMES = fieldNames([...SMALL, ...LARGE])

/** A longer field counts as unreadable, not as absent: it may hold what costs most. */
const MAX_SMALL_BYTES = 64 * 1024

/** No request upstream accepts has more answers. It keeps sums within what numbers can hold. */
const MAX_ANSWERS = 1_000_000

/** Tiers that cost no more than the usual one. Absent and `auto` are the usual one. */
const USUAL_TIERS: ReadonlySet<unknown> = new Set([
  ...[undefined, null, 'auto', 'default', 'standard', 'standard_only', 'flex'],
])
const FAST_TIERS: ReadonlySet<unknown> = new Set(['priority', 'fast'])

/**
 * Finds what a request's price depends on, without parsing the body. It walks over the body once
 * more, so only requests of somebody with a budget pay for it.
 * @param bytes a JSON object in UTF-8, as `walkBody` has found it to be
 * @param pause lets other requests go on. Only a large body needs it
 */
export async function readPricedFields(
  bytes: Uint8Array,
  pause: () => Promise<void>,
): Promise<PricedFields> {
  const walk = new ObjectWalk(bytes, { start: 0, end: bytes.length }, NAMES, createWalkNotes())
  while (walk.goOn()) await pause()
  const spans = walk.fields() ?? new Map<string, Span>()
  const marks = await countMarks(bytes, pause)
  const small: JsonObject = {}
  let isReadable = true
  for (const name of SMALL) {
    const span = spans.get(name)
    if (span === undefined) continue
    if (span.end - span.start > MAX_SMALL_BYTES) isReadable = false
    else small[name] = parseSpan(bytes, span)
  }
  const tools = spans.get('tools')
  const names = namesIn(small)
  return {
    models: names.slice(1),
    maxAnswerTokens: maxTokensOf(small),
    answers: answersOf(small, promptsIn(bytes, spans.get('prompt'))),
    images: marks.images,
    hasSound: marks.sounds > 0,
    hasFiles: marks.files > 0 && !readsFilesFree(small.plugins),
    writesCache: marks.caches > 0,
    tier: tierOf(small, names),
    hasPreset: (small.preset ?? null) !== null || names.some((name) => name.includes('@preset/')),
    searchResults: searchResultsOf(small, names),
    serverTools: serverToolsOf(bytes, tools, { ...small, isResponses: spans.has('input') }),
    hasTools: tools !== undefined,
    maxPrice: maxPriceOf(small.provider),
    isReadable,
  }
}

/** The body's own model first ('' without one), then its `models[]` and `fallbacks[]`. */
function namesIn({ model, models, fallbacks }: JsonObject): readonly string[] {
  const others = [...listOf(models), ...listOf(fallbacks).map((one) => objectOf(one).model ?? one)]
  return [textOf(model) ?? '', ...others.flatMap((name) => textOf(name) ?? [])]
}

function answersOf({ n, best_of: bestOf }: JsonObject, prompts: number): number {
  const wanted = [n, bestOf].filter((count) => typeof count === 'number' && count >= 1)
  return Math.min(MAX_ANSWERS, Math.ceil(Math.max(1, ...wanted.map(Number))) * prompts)
}

/** A list of texts, or of lists of token ids, is several prompts. A list of token ids is one. */
function promptsIn(bytes: Uint8Array, span: Span | undefined): number {
  if (span === undefined) return 1
  let prompts = 0
  for (const { start } of itemsOf(bytes, span, createWalkNotes())) {
    const isTokenId = bytes[start] !== 0x22 && bytes[start] !== 0x5b
    if (isTokenId && prompts === 0) return 1
    prompts += 1
  }
  return Math.max(1, prompts)
}

function tierOf(
  { service_tier: tier, speed }: JsonObject,
  names: readonly string[],
): PricedFields['tier'] {
  if (!(USUAL_TIERS.has(tier) || FAST_TIERS.has(tier))) return 'unknown'
  // `:nitro` lets the fast endpoints of a model compete with the others.
  const isNitro = names.some((name) => /:nitro\b/.test(name))
  return FAST_TIERS.has(tier) || speed === 'fast' || isNitro ? 'fast' : 'usual'
}

/** How many results a search brings if the request does not say. */
const SEARCH_RESULTS = 5

function searchResultsOf(small: JsonObject, names: readonly string[]): number {
  const isOnline = names.some((name) => /:online\b/.test(name))
  const options = isJsonObject(small.web_search_options)
  const results = listOf(small.plugins)
    .map(objectOf)
    .filter(({ id, enabled }) => id === 'web' && enabled !== false)
    .map(({ max_results: most }) => (isCount(most) ? most : SEARCH_RESULTS))
  return Math.ceil(Math.max(0, isOnline || options ? SEARCH_RESULTS : 0, ...results))
}

/** Engines that read files without a price of their own. */
const FREE_ENGINES: ReadonlySet<unknown> = new Set(['pdf-text', 'cloudflare-ai', 'native'])

function readsFilesFree(plugins: unknown): boolean {
  return listOf(plugins)
    .map(objectOf)
    .some(({ id, pdf }) => id === 'file-parser' && FREE_ENGINES.has(objectOf(pdf).engine))
}

function maxPriceOf(provider: unknown): PricedFields['maxPrice'] {
  const { prompt, completion, request, image } = objectOf(objectOf(provider).max_price)
  return { prompt, completion, request, image }
}

/** A number beyond this is refused upstream, or none at all: `1e999` is infinite. */
const MAX_RESULTS = 1_000_000

function isCount(value: unknown): value is number {
  return typeof value === 'number' && value >= 1 && value <= MAX_RESULTS
}

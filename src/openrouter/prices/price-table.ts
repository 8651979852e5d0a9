import { isJsonObject, type JsonObject, listOf, objectOf, textOf } from '../json-value.ts'
import { type Picos, picosOf } from './decimal-price.ts'

/** What OpenRouter may charge for, by its own names. */
export const PRICE_NAMES = [
  ...(['prompt', 'completion', 'request', 'image', 'web_search', 'internal_reasoning'] as const),
  ...(['input_cache_read', 'input_cache_write', 'input_cache_write_1h'] as const),
  ...(['image_token', 'image_output', 'audio', 'audio_output', 'input_audio_cache'] as const),
] as const

export type PriceName = (typeof PRICE_NAMES)[number]

/**
 * Prices by name. A name that is missing has no price of its own: it is not charged, or as another
 * one (reasoning as completion). Null is a price that is there and cannot be read. It never counts as 0.
 */
export type Prices = { readonly [Name in PriceName]?: Picos | null }

/** Prices that hold instead of the base's while all its conditions are met. */
export interface PriceOverride {
  readonly prices: Prices
  /** It holds for prompts of more tokens. */
  readonly overTokens?: number
  /** It holds within these minutes of a UTC day; the end is excluded, and may be before the start. */
  readonly window?: { readonly from: number; readonly to: number }
}

export interface Rates {
  readonly base: Prices
  readonly overrides: readonly PriceOverride[]
}

export interface ModelPrices {
  /** What the model costs without a dearer tier: by the list, or the dearest endpoint of it. */
  readonly rates: Rates
  /** Of the endpoints that serve faster for more money. Null: there are none. Missing: not known. */
  readonly fast?: Rates | null
  /** Null where the list does not say. */
  readonly contextLength: number | null
  /** The most tokens of one answer; null where the list does not say. */
  readonly maxAnswerTokens: number | null
  /** The model reads files (PDFs) itself, so that nobody is paid for reading them for it. */
  readonly readsFiles: boolean
  /** When its endpoints were read, in epoch milliseconds. */
  readonly endpointsAtMs?: number
}

/** What models cost. It is plain JSON, so that it can be stored as it is. */
export interface PriceTable {
  readonly version: 1
  /** When the list was read, in epoch milliseconds. */
  readonly madeAtMs: number
  readonly models: Readonly<Record<string, ModelPrices>>
  /** Dated names and what they may be: several models (a free one and a paid one) may share a name. */
  readonly names: Readonly<Record<string, readonly string[]>>
}

const UNKNOWN: Prices = { prompt: null, completion: null }

/**
 * The table of some lists of models (`GET /models`, `GET /embeddings/models`).
 * @param lists as they were parsed. What is no model in them is passed over.
 * @returns null if there is no model in any of them
 */
export function priceTableOf(lists: readonly unknown[], nowMs: number): PriceTable | null {
  const models = new Map<string, ModelPrices>()
  const names = new Map<string, string[]>()
  for (const item of lists.flatMap((list) => listOf(objectOf(list).data))) {
    if (!isJsonObject(item)) continue
    const id = textOf(item.id)
    if (id === null) continue
    models.set(id, modelPricesOf(item))
    const slug = textOf(item.canonical_slug)
    if (slug !== null && slug !== id) names.set(slug, [...(names.get(slug) ?? []), id])
  }
  if (models.size === 0) return null
  return {
    version: 1,
    madeAtMs: nowMs,
    models: Object.fromEntries(models),
    names: Object.fromEntries(names),
  }
}

function modelPricesOf(item: JsonObject): ModelPrices {
  const provider = objectOf(item.top_provider)
  const inputs = listOf(objectOf(item.architecture).input_modalities)
  return {
    rates: ratesOf(item.pricing),
    contextLength: lengthOf(item.context_length) ?? lengthOf(provider.context_length),
    maxAnswerTokens: lengthOf(provider.max_completion_tokens),
    readsFiles: inputs.includes('file'),
  }
}

function ratesOf(pricing: unknown): Rates {
  if (!isJsonObject(pricing)) return { base: UNKNOWN, overrides: [] }
  const { overrides } = pricing
  const list = overrides ?? []
  return {
    base: { ...UNKNOWN, ...pricesOf(pricing) },
    // What cannot be read may make anything dearer.
    overrides: Array.isArray(list) ? list.map(overrideOf) : [{ prices: UNKNOWN }],
  }
}

function pricesOf(pricing: JsonObject): Prices {
  const prices: { [Name in PriceName]?: Picos | null } = {}
  for (const name of PRICE_NAMES) {
    const value = pricing[name] ?? null
    if (value !== null) prices[name] = picosOf(value)
  }
  return prices
}

/** A condition that cannot be read, or is not known here, counts as met. */
function overrideOf(value: unknown): PriceOverride {
  if (!isJsonObject(value)) return { prices: UNKNOWN }
  const overTokens = countOf(value.min_prompt_tokens)
  const from = minuteOf(value.utc_start)
  const to = minuteOf(value.utc_end)
  return {
    prices: pricesOf(value),
    ...(overTokens === null ? {} : { overTokens }),
    ...(from === null || to === null ? {} : { window: { from, to } }),
  }
}

/** The minute of the day that a clock writes as HHMM: 1030 is 630. */
function minuteOf(clock: unknown): number | null {
  const value = countOf(clock)
  if (value === null) return null
  const minute = Math.floor(value / 100) * 60 + (value % 100)
  return value % 100 < 60 && minute <= 24 * 60 ? minute : null
}

function countOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}

/** Nothing has a length of 0: it is how some lists say that they do not know. */
function lengthOf(value: unknown): number | null {
  return countOf(value) || null
}

/** How a request may ask for endpoints in another order. No list names a model with them. */
const SORTS = /:(?:nitro|floor|exacto|online|batch)$/

/**
 * The models that a name may mean; empty if the table knows none. Names come from callers.
 */
export function modelsNamed(table: PriceTable, name: string): readonly string[] {
  if (Object.hasOwn(table.models, name)) return [name]
  if (Object.hasOwn(table.names, name)) return table.names[name] ?? []
  // A caller may repeat an ending ten thousand times.
  if (name.length > MAX_NAME_LENGTH || !SORTS.test(name)) return []
  return modelsNamed(table, name.replace(SORTS, ''))
}

/** No model has a longer name. */
const MAX_NAME_LENGTH = 256

/** The tiers of endpoints, by the end of their tag (`openai/flex`). Flex is cheaper and only by request. */
const TIERED = /\/(?<tier>flex|fast|priority)$/

/**
 * The table with one model's dearest endpoint merged in, as `GET /models/{id}/endpoints` lists them:
 * a request may be served by any of them.
 * @returns the same table if the answer lists no endpoint
 */
export function withEndpoints(
  table: PriceTable,
  id: string,
  answer: unknown,
  nowMs: number,
): PriceTable {
  const model = Object.hasOwn(table.models, id) ? table.models[id] : undefined
  const endpoints = listOf(objectOf(objectOf(answer).data).endpoints).filter(isJsonObject)
  if (model === undefined || endpoints.length === 0) return table
  const tierOf = ({ tag }: JsonObject) => TIERED.exec(textOf(tag) ?? '')?.groups?.tier ?? null
  const usual = endpoints.filter((endpoint) => tierOf(endpoint) === null)
  const fast = endpoints.filter((endpoint) => !['flex', null].includes(tierOf(endpoint)))
  const merged: ModelPrices = {
    rates: dearestRates([model.rates, ...usual.map(({ pricing }) => ratesOf(pricing))]),
    fast: fast.length === 0 ? null : dearestRates(fast.map(({ pricing }) => ratesOf(pricing))),
    contextLength: most([model.contextLength, ...usual.map((e) => lengthOf(e.context_length))]),
    // One that does not say may answer as long as its context allows.
    maxAnswerTokens: usual.every((e) => lengthOf(e.max_completion_tokens) !== null)
      ? most([model.maxAnswerTokens, ...usual.map((e) => lengthOf(e.max_completion_tokens))])
      : null,
    readsFiles: model.readsFiles,
    endpointsAtMs: nowMs,
  }
  return { ...table, models: { ...table.models, [id]: merged } }
}

/** By each name the dearest, and all overrides. One that is unknown stays unknown. */
function dearestRates(all: readonly Rates[]): Rates {
  const base: { [Name in PriceName]?: Picos | null } = {}
  for (const { base: prices } of all) {
    for (const name of PRICE_NAMES) {
      const price = dearerOf(base[name], prices[name])
      if (price !== undefined) base[name] = price
    }
  }
  const overrides = new Map(
    all.flatMap(({ overrides: list }) => list.map((one) => [JSON.stringify(one), one] as const)),
  )
  return { base, overrides: [...overrides.values()] }
}

/** The dearer of two prices of which each may be missing (undefined) or unknown (null). */
export function dearerOf(
  one: Picos | null | undefined,
  other: Picos | null | undefined,
): Picos | null | undefined {
  if (one === undefined) return other
  if (other === undefined) return one
  return one === null || other === null ? null : Math.max(one, other)
}

function most(counts: readonly (number | null)[]): number | null {
  const known = counts.filter((count) => count !== null)
  return known.length === 0 ? null : Math.max(...known)
}

/** A table that was stored; null if there is none. An entry that is no model's prices is left out. */
export function storedPriceTable(value: unknown): PriceTable | null {
  const { version, madeAtMs, models, names } = objectOf(value)
  if (version !== 1 || typeof madeAtMs !== 'number' || !isJsonObject(models)) return null
  const kept = Object.entries(models).filter((entry): entry is [string, ModelPrices] =>
    isModelPrices(entry[1]),
  )
  const known = Object.entries(objectOf(names)).map(
    ([name, ids]) => [name, listOf(ids).filter((id) => typeof id === 'string')] as const,
  )
  return kept.length === 0
    ? null
    : { version, madeAtMs, models: Object.fromEntries(kept), names: Object.fromEntries(known) }
}

const isPrice = (value: unknown) => value === null || countOf(value) !== null

function isPrices(value: unknown): value is Prices {
  return isJsonObject(value) && Object.values(value).every(isPrice)
}

function isRates(value: unknown): value is Rates {
  if (!isJsonObject(value)) return false
  const { base, overrides } = value
  if (!(isPrices(base) && Array.isArray(overrides))) return false
  return base.prompt !== undefined && base.completion !== undefined && overrides.every(isOverride)
}

function isOverride(value: unknown): value is PriceOverride {
  if (!isJsonObject(value)) return false
  const { prices, overTokens, window } = value
  const { from, to } = objectOf(window)
  const isWindow = window === undefined || (countOf(from) !== null && countOf(to) !== null)
  return isPrices(prices) && isWindow && (overTokens === undefined || countOf(overTokens) !== null)
}

function isModelPrices(value: unknown): value is ModelPrices {
  if (!isJsonObject(value)) return false
  const { rates, fast, contextLength, maxAnswerTokens, readsFiles, endpointsAtMs } = value
  return (
    isRates(rates) &&
    (fast === undefined || fast === null || isRates(fast)) &&
    isPrice(contextLength) &&
    isPrice(maxAnswerTokens) &&
    typeof readsFiles === 'boolean' &&
    (endpointsAtMs === undefined || typeof endpointsAtMs === 'number')
  )
}

import { dearestPrice, type PossibleRates, possibleRates } from './dearest-price.ts'
import { PICOS_PER_NANO, type Picos } from './decimal-price.ts'
import {
  dearerOf,
  type ModelPrices,
  modelsNamed,
  type PriceName,
  type PriceTable,
} from './price-table.ts'
import type { PricedFields } from './priced-fields.ts'

/** A request, as far as its price goes. */
export interface PricedRequest {
  /** Every model that the gateway may send: the alias' target and the route's fallbacks. */
  readonly models: readonly string[]
  /** Estimated, by language and structure. */
  readonly promptTokens: number
  /** What the body says; null for a form, of whose parts no list gives the price. */
  readonly fields: PricedFields | null
  /** The longest that the request may run, waiting included, in milliseconds. */
  readonly maxRunMs: number
  /** The tokens of an answer that neither the caller nor the model's entry limits. */
  readonly assumedAnswerTokens: number
}

/**
 * Why there is no bound.
 * - `unknown_model`, `unknown_price`, `unknown_tier`: the table does not say
 * - `preset`: what is asked is stored at OpenRouter, and not in the request
 * - `server_tools`: steps without a limit, or of any price
 * - `file`: somebody may be paid by the page for reading it
 * - `form`, `unreadable`: the body does not tell
 * - `too_dear`: more than can be counted
 */
export type Unpriceable =
  | 'unknown_model'
  | 'unknown_price'
  | 'unknown_tier'
  | 'preset'
  | 'server_tools'
  | 'file'
  | 'form'
  | 'unreadable'
  | 'too_dear'

export type UpperBound =
  | { readonly kind: 'bounded'; readonly nanos: number }
  | { readonly kind: 'unpriceable'; readonly why: Unpriceable }

/** Tokenizers differ from the estimate, and from each other, by a third and more. */
const PROMPT_SAFETY = 1.5

/** What models and providers put around a prompt, and around the descriptions of tools, in tokens. */
const FRAME_TOKENS = 64
const TOOL_FRAME_TOKENS = 500

/** Some providers do not stop before. */
const LEAST_ANSWER_TOKENS = 16

/** Where the provider does not search itself, searches are paid by the result. */
const SEARCH_RESULT_PICOS = 4_000_000_000n

/** `:online` is a search with so many results. */
const ONLINE_RESULTS = 5

/** A picture's price is higher. A lower one is for each token of a picture. */
const MAX_TOKEN_PICOS = 100_000_000

const MAX_NANOS = BigInt(Number.MAX_SAFE_INTEGER)

/**
 * The most that a request can cost, in whole nano-dollars, rounded up: the dearest of all models that
 * may serve it, at the dearest prices that may hold while it runs. It is for one attempt: an answer
 * that was cut off and tried again is paid twice.
 * @param nowMs in epoch milliseconds
 */
export function upperBoundNanos(
  request: PricedRequest,
  table: PriceTable,
  nowMs: number,
): UpperBound {
  const { fields } = request
  if (fields === null) return unpriceable('form')
  const names = [...request.models, ...fields.models]
  const why = unpriceableBy(fields, names)
  if (why !== null) return unpriceable(why)
  const picos = dearestBound(names, table, callOf(request, fields, names, nowMs))
  if (typeof picos === 'string') return unpriceable(picos)
  const nanos = (picos + PICOS_PER_NANO - 1n) / PICOS_PER_NANO
  return nanos > MAX_NANOS ? unpriceable('too_dear') : { kind: 'bounded', nanos: Number(nanos) }
}

/** Of all models that may serve, in pico-dollars. */
function dearestBound(
  names: readonly string[],
  table: PriceTable,
  call: PricedCall,
): bigint | Unpriceable {
  let dearest = 0n
  for (const name of names) {
    const ids = modelsNamed(table, name)
    if (ids.length === 0) return 'unknown_model'
    for (const id of ids) {
      const model = table.models[id]
      const picos = model === undefined ? 'unknown_model' : modelBound(model, call)
      if (typeof picos === 'string') return picos
      if (picos > dearest) dearest = picos
    }
  }
  return dearest
}

function unpriceable(why: Unpriceable): UpperBound {
  return { kind: 'unpriceable', why }
}

/** What no table could price. */
function unpriceableBy(fields: PricedFields, names: readonly string[]): Unpriceable | null {
  if (!fields.isReadable) return 'unreadable'
  if (fields.hasPreset || names.some((name) => name.includes('@preset/'))) return 'preset'
  if (fields.tier === 'unknown') return 'unknown_tier'
  return fields.serverTools.kind === 'unbounded' ? 'server_tools' : null
}

/** What is the same for all models that may serve the request. */
interface PricedCall extends PricedRequest {
  readonly fields: PricedFields
  readonly isFast: boolean
  /** Results of a search before the answer, or of each step. */
  readonly searchResults: number
  readonly searches: number
  /** How often the model reads the prompt: once more than it takes steps, and once to end a loop. */
  readonly calls: number
  readonly nowMs: number
}

function callOf(
  request: PricedRequest,
  fields: PricedFields,
  names: readonly string[],
  nowMs: number,
): PricedCall {
  // Names that the gateway puts in may ask for these as well.
  const isFast = fields.tier === 'fast' || names.some((name) => /:nitro\b/.test(name))
  const isOnline = names.some((name) => /:online\b/.test(name))
  const steps = fields.serverTools.kind === 'bounded' ? fields.serverTools.steps : 0
  const before = fields.searchResults > 0 || isOnline ? 1 : 0
  const searches = steps + before
  return {
    ...{ ...request, fields, isFast, searches, nowMs },
    searchResults: Math.max(fields.searchResults, searches > 0 ? ONLINE_RESULTS : 0),
    calls: steps === 0 ? 1 : steps + 2,
  }
}

/** In pico-dollars. */
function modelBound(model: ModelPrices, call: PricedCall): bigint | Unpriceable {
  const { fields, isFast, searches, calls, nowMs } = call
  if (isFast && model.fast === undefined) return 'unknown_tier'
  if (fields.hasFiles && !model.readsFiles) return 'file'
  const promptTokens = promptTokensOf(model, call)
  if (promptTokens === null) return 'unknown_price'
  const fast = isFast ? (model.fast ?? null) : null
  const rates = possibleRates(
    fast === null ? [model.rates] : [model.rates, fast],
    fields.maxPrice,
    { promptTokens, startsAtMs: nowMs, endsAtMs: nowMs + call.maxRunMs },
  )
  const prices = {
    prompt: promptPrice(rates, fields),
    answer: dearestOf(rates, ['completion', 'internal_reasoning', 'image_output', 'audio_output']),
    request: dearestOf(rates, ['request']),
    image: fields.images === 0 ? 0 : dearestOf(rates, ['image']),
    search: searches === 0 ? 0 : dearestOf(rates, ['web_search']),
  }
  const { prompt, answer, request, image, search } = prices
  if (prompt === null || answer === null || request === null) return 'unknown_price'
  if (image === null || search === null) return 'unknown_price'
  const perCall =
    promptTokens * BigInt(prompt) +
    BigInt(answerTokensOf(model, call)) * BigInt(fields.answers) * BigInt(answer) +
    BigInt(fields.images) * BigInt(image) +
    BigInt(request)
  return BigInt(calls) * perCall + BigInt(searches) * searchPrice(search, call)
}

/** The dearest of several prices of which each may be paid. One that is missing is none. */
function dearestOf(rates: PossibleRates, names: readonly PriceName[]): Picos | null {
  const price = names.map((name) => dearestPrice(rates, name)).reduce(dearerOf, undefined)
  return price === undefined ? 0 : price
}

/** The dearest that a token of the prompt may cost. */
function promptPrice(rates: PossibleRates, fields: PricedFields): Picos | null {
  const names: PriceName[] = ['prompt', 'input_cache_read']
  if (fields.writesCache) names.push('input_cache_write', 'input_cache_write_1h')
  if (fields.hasSound) names.push('audio', 'input_audio_cache')
  if (fields.images > 0) names.push('image_token')
  const price = dearestOf(rates, names)
  const image = fields.images === 0 ? 0 : (dearestOf(rates, ['image']) ?? 0)
  return price === null || image > MAX_TOKEN_PICOS ? price : Math.max(price, image)
}

function searchPrice(listed: Picos, { searchResults }: PricedCall): bigint {
  const byResult = BigInt(searchResults) * SEARCH_RESULT_PICOS
  return BigInt(listed) > byResult ? BigInt(listed) : byResult
}

/**
 * The most tokens that a call of the model reads. What searches put into the prompt nobody says, but no
 * prompt is longer than the context.
 * @returns null if that is not known
 */
function promptTokensOf(model: ModelPrices, { promptTokens, fields, searches }: PricedCall) {
  if (searches > 0) return model.contextLength === null ? null : BigInt(model.contextLength)
  const frame = FRAME_TOKENS + (fields.hasTools ? TOOL_FRAME_TOKENS : 0)
  return BigInt(Math.ceil(promptTokens * PROMPT_SAFETY) + frame)
}

/** The most tokens of one answer. No answer is longer than the context. */
function answerTokensOf(
  { contextLength, maxAnswerTokens }: ModelPrices,
  { fields, assumedAnswerTokens }: PricedCall,
): number {
  if (fields.maxAnswerTokens === null) {
    return maxAnswerTokens ?? contextLength ?? assumedAnswerTokens
  }
  const asked = Math.max(LEAST_ANSWER_TOKENS, fields.maxAnswerTokens)
  return Math.min(asked, contextLength ?? asked)
}

import { priceTableOf } from '../../../src/openrouter/prices/price-table.ts'
import {
  type PricedFields,
  readPricedFields,
} from '../../../src/openrouter/prices/priced-fields.ts'
import { upperBoundNanos } from '../../../src/openrouter/prices/upper-bound.ts'
import type { Draw } from '../draw.ts'

// Prices are decimals of twelve places. The smallest power of two among them makes sums exact.
const UNIT_USD = 2 ** -12

/** What a model costs, in units for each token. */
interface Rates {
  readonly prompt: number
  readonly completion: number
  readonly cacheWrite?: number
}

interface Priced extends Rates {
  /** For prompts that are longer than so many tokens. */
  readonly long?: Rates & { readonly overTokens: number }
  /** From noon to midnight, UTC. */
  readonly afternoon?: Rates
}

const MODELS: Readonly<Record<string, Priced>> = {
  'vendor/a': {
    ...{ prompt: 1, completion: 1, cacheWrite: 2 },
    long: { overTokens: 20, prompt: 4, completion: 2, cacheWrite: 5 },
  },
  'vendor/b': { prompt: 1, completion: 2, afternoon: { prompt: 2, completion: 3 } },
  'vendor/c': { prompt: 2, completion: 1, cacheWrite: 12 },
  'vendor/a:free': { prompt: 1, completion: 1 },
}

/** What a request is priced by. */
export interface PricedPlan {
  /** As the gateway estimates it. The model's own count differs by two fifths at most. */
  readonly promptTokens: number
  readonly maxTokens: number
  readonly isCached: boolean
}

const MOST_TOKENS = 4

export function drawPrice(draw: Draw): PricedPlan {
  return {
    promptTokens: draw.int(1, 30),
    maxTokens: draw.int(1, MOST_TOKENS),
    isCached: draw.chance(0.5),
  }
}

const decimal = (units: number) => (units * UNIT_USD).toFixed(12)

function listed({ prompt, completion, cacheWrite }: Rates) {
  const write = cacheWrite === undefined ? {} : { input_cache_write: decimal(cacheWrite) }
  return { prompt: decimal(prompt), completion: decimal(completion), ...write }
}

/** The list of models, as OpenRouter gives it out. */
const LIST = Object.entries(MODELS).map(([id, { long, afternoon, ...rates }]) => ({
  ...{ id, context_length: 8_192, top_provider: { max_completion_tokens: 64 } },
  pricing: {
    ...listed(rates),
    overrides: [
      ...(long === undefined ? [] : [{ ...listed(long), min_prompt_tokens: long.overTokens }]),
      ...(afternoon === undefined
        ? []
        : [{ ...listed(afternoon), utc_start: 1200, utc_end: 2400 }]),
    ],
  },
}))

const TABLE = priceTableOf([{ data: LIST }], 0)

/** Reading a body takes turns, and there are so few of them that they are read once. */
async function fieldsOf(maxTokens: number, isCached: boolean): Promise<PricedFields> {
  const cache = isCached ? { cache_control: { type: 'ephemeral' } } : {}
  const messages = [{ role: 'user', content: [{ type: 'text', text: 'Hi', ...cache }] }]
  const body = JSON.stringify({ model: 'vendor/a', messages, max_tokens: maxTokens })
  return await readPricedFields(new TextEncoder().encode(body), async () => undefined)
}

const FIELDS = new Map<string, PricedFields>()
for (let maxTokens = 1; maxTokens <= MOST_TOKENS; maxTokens++) {
  for (const isCached of [false, true]) {
    FIELDS.set(`${maxTokens} ${isCached}`, await fieldsOf(maxTokens, isCached))
  }
}

/** The shipped bound of a request; null if there is none. */
export function boundNanos(
  { promptTokens, maxTokens, isCached }: PricedPlan,
  models: readonly string[],
  maxRunMs: number,
  nowMs: number,
): number | null {
  const fields = FIELDS.get(`${maxTokens} ${isCached}`)
  if (TABLE === null || fields === undefined) throw new Error('No prices')
  const request = { models, promptTokens, fields, maxRunMs, assumedAnswerTokens: 64 }
  const bound = upperBoundNanos(request, TABLE, nowMs)
  return bound.kind === 'bounded' ? bound.nanos : null
}

/** What OpenRouter charges for an answer, in USD; null for a model without a price. */
export function chargeUsd(
  model: string,
  { isCached }: PricedPlan,
  tokens: { readonly prompt: number; readonly completion: number },
  nowMs: number,
): number | null {
  const priced = MODELS[model]
  if (priced === undefined) return null
  const { long, afternoon } = priced
  const isLong = long !== undefined && tokens.prompt > long.overTokens
  const isAfternoon = new Date(nowMs).getUTCHours() >= 12
  const rates = isLong ? long : ((isAfternoon ? afternoon : undefined) ?? priced)
  const prompt = isCached ? (rates.cacheWrite ?? rates.prompt) : rates.prompt
  return UNIT_USD * (tokens.prompt * prompt + tokens.completion * rates.completion)
}

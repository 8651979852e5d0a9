import type { Pricing } from './prices.ts'

/** A model of the simulated OpenRouter. Prices are in USD per token. */
export interface Model {
  readonly id: string
  readonly name: string
  readonly provider: string
  readonly promptUsd: number
  readonly completionUsd: number
  /** The price of one search, or of one second of sound. */
  readonly unitUsd: number
  /** Its further prices, and those that it does not have at all times. */
  readonly pricing?: Pricing
  readonly contextLength: number
  /** The largest output, in tokens. It is the bound of a request without `max_tokens`. */
  readonly maxOutputTokens: number
  readonly reasons: boolean
}

const perMillion = (usd: number) => usd / 1_000_000

const model = (
  id: string,
  name: string,
  provider: string,
  pricePerMillion: readonly [number, number],
  lengths: readonly [number, number],
  unitUsd = 0,
): Model => ({
  id,
  name,
  provider,
  promptUsd: perMillion(pricePerMillion[0]),
  completionUsd: perMillion(pricePerMillion[1]),
  unitUsd,
  contextLength: lengths[0],
  maxOutputTokens: lengths[1],
  reasons: id === 'deepseek/deepseek-r1',
})

const LLAMA = 'meta-llama/llama-3.3-70b-instruct'

export const MODELS: readonly Model[] = [
  model('openai/gpt-4o-mini', 'OpenAI: GPT-4o-mini', 'Azure', [0.15, 0.6], [128000, 16384]),
  model('openai/gpt-4o', 'OpenAI: GPT-4o', 'OpenAI', [2.5, 10], [128000, 16384]),
  {
    ...model(
      'anthropic/claude-sonnet-4.5',
      'Anthropic: Claude Sonnet 4.5',
      'Amazon Bedrock',
      [3, 15],
      [1000000, 64000],
    ),
    pricing: {
      input_cache_write: '0.00000375',
      web_search: '0.01',
      overrides: [
        {
          min_prompt_tokens: 200_000,
          prompt: '0.000006',
          completion: '0.0000225',
          input_cache_read: '0.0000006',
          input_cache_write: '0.0000075',
        },
      ],
    },
  },
  model(LLAMA, 'Meta: Llama 3.3 70B Instruct', 'DeepInfra', [0.13, 0.39], [131072, 16384]),
  model(`${LLAMA}:free`, 'Meta: Llama 3.3 70B Instruct (free)', 'Venice', [0, 0], [65536, 8192]),
  model('deepseek/deepseek-r1', 'DeepSeek: R1', 'DeepInfra', [0.7, 2.4], [163840, 32768]),
]

/** Models for vectors. They have their own list. */
export const EMBEDDING_MODELS: readonly Model[] = [
  model(
    'openai/text-embedding-3-small',
    'OpenAI: Text Embedding 3 Small',
    'OpenAI',
    [0.02, 0],
    [8192, 0],
  ),
]

/** Models that serve only one API each. The simulator's lists do not name them. */
const SPECIAL_MODELS: readonly Model[] = [
  model('cohere/rerank-v3.5', 'Cohere: Rerank v3.5', 'Cohere', [0, 0], [4096, 0], 0.001),
  model(
    'google/gemini-2.5-flash-image',
    'Google: Gemini 2.5 Flash Image',
    'Google AI Studio',
    [0.3, 30],
    [32768, 8192],
  ),
  model('openai/gpt-4o-mini-tts', 'OpenAI: GPT-4o mini TTS', 'OpenAI', [0.6, 0], [2000, 0]),
  model('openai/whisper-1', 'OpenAI: Whisper', 'OpenAI', [0, 0], [0, 0], 0.0001),
]

/** Sorting variants. OpenRouter accepts them for any model and does not list them. */
const SORTS = /:(nitro|floor|exacto)$/

/** The model of this name, or undefined. `sim/…` and `script/…` have the default price. */
export function findModel(id: string): Model | undefined {
  const all = [...MODELS, ...EMBEDDING_MODELS, ...SPECIAL_MODELS]
  const known = all.find((candidate) => candidate.id === id.replace(SORTS, ''))
  if (known !== undefined) return known
  if (!/^(sim|script)\/./.test(id)) return undefined
  const price = isFree(id) ? 0 : 1
  return model(id, id, 'FakeProvider', [price, price], [128000, 16384])
}

/** Whether the name asks for the free tier. */
export function isFree(id: string): boolean {
  return id.endsWith(':free')
}

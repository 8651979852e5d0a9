import { describe, expect, it } from 'vitest'
import { priceTableOf, withEndpoints } from '../../../src/openrouter/prices/price-table.ts'
import { readPricedFields } from '../../../src/openrouter/prices/priced-fields.ts'
import {
  type PricedRequest,
  type UpperBound,
  upperBoundNanos,
} from '../../../src/openrouter/prices/upper-bound.ts'

/** A Monday, 12:00 UTC. */
const NOON = Date.UTC(2026, 5, 1, 12)
const HOUR_MS = 3_600_000

/** One dollar per million tokens is a thousand nano-dollars per token. */
const perMillion = (usd: number) => (usd / 1e6).toFixed(12)

function item(id: string, pricing: Record<string, unknown>, more: object = {}) {
  const [prompt, completion] = [perMillion(1), perMillion(10)]
  return {
    id,
    context_length: 100_000,
    top_provider: { max_completion_tokens: 1_000 },
    pricing: { prompt, completion, ...pricing },
    ...more,
  }
}

const TABLE = priceTableOf(
  [
    {
      data: [
        item('a/plain', {}),
        item('a/dear', { prompt: perMillion(2), completion: perMillion(5) }),
        item('a/fees', { request: '0.001', image: '0.002', web_search: '0.05' }),
        item('a/caches', {
          input_cache_write: perMillion(1.25),
          input_cache_write_1h: perMillion(2),
        }),
        item('a/thinks', { internal_reasoning: perMillion(20) }),
        item('a/draws', { image_output: perMillion(30) }),
        item('a/hears', { audio: perMillion(40) }),
        item('a/long', {
          overrides: [
            { min_prompt_tokens: 1_000, prompt: perMillion(3), completion: perMillion(12) },
            { min_prompt_tokens: 50_000, prompt: perMillion(0.5) },
          ],
        }),
        item('a/nights', {
          overrides: [
            { utc_start: 2200, utc_end: 400, prompt: perMillion(4) },
            { utc_start: 1100, utc_end: 1300, completion: perMillion(1) },
          ],
        }),
        item('a/broken', { request: 'much' }),
        item('a/silent', {}, { context_length: null, top_provider: null }),
        item('a/reads', {}, { architecture: { input_modalities: ['file'] } }),
        item('openrouter/auto', { prompt: '-1', completion: '-1' }),
        item('a/huge', { prompt: '9000' }),
        item('a/free', { prompt: '0', completion: '0' }),
      ],
    },
  ],
  NOON,
)

const TIERED = {
  data: {
    endpoints: [
      { tag: 'x', pricing: { prompt: perMillion(1), completion: perMillion(10) } },
      { tag: 'x/fast', pricing: { prompt: perMillion(3), completion: perMillion(30) } },
    ],
  },
}

interface Asked {
  readonly model?: string
  readonly models?: readonly string[]
  readonly promptTokens?: number
  readonly nowMs?: number
  readonly maxRunMs?: number
  readonly table?: typeof TABLE
}

async function boundOf(body: object, asked: Asked = {}): Promise<UpperBound> {
  const { model = 'a/plain', models = [model], promptTokens = 1_000, maxRunMs = 0 } = asked
  const bytes = new TextEncoder().encode(JSON.stringify({ model, messages: [], ...body }))
  const fields = await readPricedFields(bytes, async () => undefined)
  const request: PricedRequest = {
    ...{ models, promptTokens, fields, maxRunMs, assumedAnswerTokens: 4_000 },
  }
  const table = asked.table ?? TABLE
  if (table === null) throw new Error('no table')
  return upperBoundNanos(request, table, asked.nowMs ?? NOON)
}

const nanosOf = (bound: UpperBound) => (bound.kind === 'bounded' ? bound.nanos : bound.why)

/** A thousand tokens estimated count as this many. */
const PROMPT = 1_564
const TOOLS = 500
const LIMITED = { max_tokens: 100 }

describe('the most that a request can cost', () => {
  it.each<[string, object, Asked, number]>([
    ['prompt and answer', LIMITED, {}, PROMPT * 1_000 + 100 * 10_000],
    ['what the model may answer', {}, {}, PROMPT * 1_000 + 1_000 * 10_000],
    ['what is assumed, if nobody says', {}, { model: 'a/silent' }, PROMPT * 1_000 + 4_000 * 10_000],
    ['no more than a context', { max_tokens: 1e9 }, {}, PROMPT * 1_000 + 100_000 * 10_000],
    ['no less than a least answer', { max_tokens: 1 }, {}, PROMPT * 1_000 + 16 * 10_000],
    ['n answers', { max_tokens: 100, n: 3 }, {}, PROMPT * 1_000 + 300 * 10_000],
    ['tools', { ...LIMITED, tools: [{ name: 'x' }] }, {}, (PROMPT + TOOLS) * 1_000 + 1_000_000],
    ['nothing', LIMITED, { model: 'a/free' }, 0],
    [
      'the dearest of its fallbacks',
      LIMITED,
      { models: ['a/plain', 'a/dear'], promptTokens: 10_000 },
      15_064 * 2_000 + 100 * 5_000,
    ],
    [
      'the dearest of the caller’s own models',
      { max_tokens: 1_000, models: ['a/dear', 'a/plain'] },
      { model: 'a/dear' },
      PROMPT * 1_000 + 1_000 * 10_000,
    ],
    ['a fee', LIMITED, { model: 'a/fees' }, PROMPT * 1_000 + 1_000_000 + 1_000_000],
    [
      'pictures',
      { ...LIMITED, messages: [{ content: [{ type: 'image_url' }, { type: 'image_url' }] }] },
      { model: 'a/fees' },
      PROMPT * 1_000 + 1_000_000 + 1_000_000 + 2 * 2_000_000,
    ],
    ['no cache write that nobody asked for', LIMITED, { model: 'a/caches' }, 2_564_000],
    [
      'cache writes, of the dearer kind',
      { ...LIMITED, cache_control: { type: 'ephemeral' } },
      { model: 'a/caches' },
      PROMPT * 2_000 + 1_000_000,
    ],
    ['thoughts', LIMITED, { model: 'a/thinks' }, PROMPT * 1_000 + 100 * 20_000],
    ['drawn pictures', LIMITED, { model: 'a/draws' }, PROMPT * 1_000 + 100 * 30_000],
    [
      'sound',
      { ...LIMITED, messages: [{ content: [{ type: 'input_audio' }] }] },
      { model: 'a/hears' },
      PROMPT * 40_000 + 1_000_000,
    ],
    ['no sound', LIMITED, { model: 'a/hears' }, 2_564_000],
    [
      'a short prompt, in the base tier',
      LIMITED,
      { model: 'a/long', promptTokens: 600 },
      964 * 1_000 + 1_000_000,
    ],
    [
      // 900 tokens are 1,414 with the safety factor.
      'a prompt that may be over the threshold',
      LIMITED,
      { model: 'a/long', promptTokens: 900 },
      1_414 * 3_000 + 100 * 12_000,
    ],
    [
      'a cheaper tier does not lower it',
      LIMITED,
      { model: 'a/long', promptTokens: 90_000 },
      135_064 * 3_000 + 100 * 12_000,
    ],
    ['a cheaper hour does not lower it', LIMITED, { model: 'a/nights' }, 2_564_000],
    [
      'a dear hour',
      LIMITED,
      { model: 'a/nights', nowMs: NOON + 14 * HOUR_MS },
      PROMPT * 4_000 + 1_000_000,
    ],
    [
      'a dear hour that begins while it runs',
      LIMITED,
      { model: 'a/nights', nowMs: NOON + 9 * HOUR_MS, maxRunMs: HOUR_MS },
      PROMPT * 4_000 + 1_000_000,
    ],
    [
      'an hour that has ended',
      LIMITED,
      { model: 'a/nights', nowMs: NOON + 17 * HOUR_MS, maxRunMs: HOUR_MS },
      2_564_000,
    ],
    [
      'no more than max_price',
      { ...LIMITED, provider: { max_price: { prompt: 0.5, completion: '2' } } },
      {},
      PROMPT * 500 + 100 * 2_000,
    ],
    [
      'no more than max_price, but for what an override adds',
      { ...LIMITED, provider: { max_price: { prompt: 0.5 } } },
      { model: 'a/long' },
      PROMPT * 3_000 + 100 * 12_000,
    ],
    [
      'max_price that is none',
      { ...LIMITED, provider: { max_price: { prompt: 'cheap', completion: -1 } } },
      {},
      2_564_000,
    ],
    [
      // A whole context, since results join the prompt, and five results at four tenths of a cent.
      'a search',
      { ...LIMITED, plugins: [{ id: 'web' }] },
      {},
      100_000 * 1_000 + 1_000_000 + 20_000_000,
    ],
    [
      'a search at the model’s own price',
      { ...LIMITED, plugins: [{ id: 'web' }] },
      { model: 'a/fees' },
      100_000 * 1_000 + 1_000_000 + 1_000_000 + 50_000_000,
    ],
    [
      'a search that an alias asks for',
      LIMITED,
      { models: ['a/plain:online'] },
      100_000 * 1_000 + 1_000_000 + 20_000_000,
    ],
    [
      'steps with a limit',
      { ...LIMITED, input: 'x', tools: [{ type: 'openrouter:web_search' }], max_tool_calls: 2 },
      {},
      4 * (100_000 * 1_000 + 1_000_000) + 2 * 20_000_000,
    ],
    [
      'a file that the model reads itself',
      { ...LIMITED, messages: [{ content: [{ type: 'file' }] }] },
      { model: 'a/reads' },
      2_564_000,
    ],
  ])('%s', async (_, body, asked, nanos) => {
    expect(nanosOf(await boundOf(body, asked))).toBe(nanos)
  })

  it('is that of the dearer tier if it is asked for', async () => {
    const table = TABLE && withEndpoints(TABLE, 'a/plain', TIERED, NOON)
    const fast = PROMPT * 3_000 + 100 * 30_000
    expect(nanosOf(await boundOf(LIMITED, { table }))).toBe(2_564_000)
    expect(nanosOf(await boundOf({ ...LIMITED, service_tier: 'priority' }, { table }))).toBe(fast)
    expect(nanosOf(await boundOf(LIMITED, { table, model: 'a/plain:nitro' }))).toBe(fast)
    // An alias or a fallback may name it too.
    expect(nanosOf(await boundOf(LIMITED, { table, models: ['a/plain:nitro'] }))).toBe(fast)
  })

  it('is rounded up to a whole nano-dollar', async () => {
    const table = priceTableOf([{ data: [item('a/fine', { prompt: '0.000000000001' })] }], NOON)
    const asked = { model: 'a/fine', promptTokens: 1, table }
    // 66 tokens for a pico-dollar each are a fifteenth of a nano-dollar.
    expect(nanosOf(await boundOf(LIMITED, asked))).toBe(1 + 1_000_000)
  })
})

describe('what has no bound', () => {
  it.each<[string, object, Asked, string]>([
    ['a model that nobody lists', {}, { model: 'a/new' }, 'unknown_model'],
    ['a fallback that nobody lists', {}, { models: ['a/plain', 'a/new'] }, 'unknown_model'],
    ['one of the caller’s models', { models: ['a/new'] }, {}, 'unknown_model'],
    ['a router', {}, { model: 'openrouter/auto' }, 'unknown_price'],
    [
      'a router, even with max_price',
      { provider: { max_price: { prompt: 1, completion: 1 } } },
      { model: 'openrouter/auto' },
      'unknown_price',
    ],
    ['a price that makes no sense', {}, { model: 'a/broken' }, 'unknown_price'],
    [
      'a search into a context that nobody knows',
      { plugins: [{ id: 'web' }] },
      { model: 'a/silent' },
      'unknown_price',
    ],
    ['a tier before the endpoints are known', { service_tier: 'fast' }, {}, 'unknown_tier'],
    ['a tier that nobody knows', { service_tier: 'scale' }, {}, 'unknown_tier'],
    ['a preset', { preset: 'x' }, {}, 'preset'],
    ['a preset behind an alias', {}, { models: ['@preset/x'] }, 'preset'],
    ['a loop', { tools: [{ type: 'openrouter:web_search' }] }, {}, 'server_tools'],
    ['a file', { messages: [{ content: [{ type: 'file' }] }] }, {}, 'file'],
    ['a field too long to read', { provider: { only: ['x'.repeat(70_000)] } }, {}, 'unreadable'],
    ['too much money', { max_tokens: 100 }, { model: 'a/huge', promptTokens: 1e9 }, 'too_dear'],
  ])('%s', async (_, body, asked, why) => {
    expect(await boundOf(body, asked)).toEqual({ kind: 'unpriceable', why })
  })

  it('a form', () => {
    const request = { models: ['a/plain'], promptTokens: 1, fields: null, maxRunMs: 0 }
    const bound = TABLE && upperBoundNanos({ ...request, assumedAnswerTokens: 1 }, TABLE, NOON)
    expect(bound).toEqual({ kind: 'unpriceable', why: 'form' })
  })
})

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { nanosOf } from '../../../src/balancing/clients/budget.ts'
import { priceTableOf, withEndpoints } from '../../../src/openrouter/prices/price-table.ts'
import { readPricedFields } from '../../../src/openrouter/prices/priced-fields.ts'
import { upperBoundNanos } from '../../../src/openrouter/prices/upper-bound.ts'
import { promptTokens } from '../../../src/openrouter/requests/body-tokens.ts'
import { walkBody } from '../../../src/openrouter/requests/walked-body.ts'
import { readUsage } from '../../../src/openrouter/usage.ts'
import { simulatorInProcess } from '../../simulator/in-process-simulator.ts'

/**
 * The bound is held against a simulated OpenRouter that charges by the same lists: whatever it
 * charges for a request, the bound of the request was not lower.
 */

const MODELS = ['openai/gpt-4o-mini', 'openai/gpt-4o', 'anthropic/claude-sonnet-4.5'] as const
const KEY = { authorization: 'Bearer sk-or-v1-simulated-alpha' }

const usd = (max: number) => fc.integer({ min: 0, max }).map((nano) => (nano / 1e9).toFixed(9))
const rarely = <T>(value: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value })

const prices = {
  prompt: usd(100_000),
  completion: usd(100_000),
  request: usd(1_000_000),
  image: usd(1_000_000),
  web_search: usd(50_000_000),
  internal_reasoning: usd(200_000),
  input_cache_read: usd(10_000),
  input_cache_write: usd(200_000),
}

const override = fc.record(
  {
    ...prices,
    min_prompt_tokens: fc.constantFrom(0, 10, 100, 400),
    utc_start: fc.constantFrom(0, 630, 1200, 2330),
    utc_end: fc.constantFrom(0, 100, 1159, 1201, 2400),
  },
  { requiredKeys: [] },
)

const pricing = fc.record(
  { ...prices, overrides: fc.array(override, { maxLength: 3 }) },
  { requiredKeys: ['prompt', 'completion'] },
)

const endpoint = fc.record({
  tag: fc.constantFrom('openai', 'azure', 'openai/fast', 'openai/flex'),
  pricing,
  maxCompletionTokens: fc.option(fc.integer({ min: 100, max: 9_000 })),
})

/** The first endpoint is of no tier: a model is never served by tiers alone. */
const endpoints = fc
  .tuple(endpoint, fc.array(endpoint, { maxLength: 3 }))
  .map(([one, others]) => [{ ...one, tag: 'groq' }, ...others])

const words = fc
  .array(fc.constantFrom('tell', 'me', 'Straße', '東京の天気', '🙂', 'const x = 1;', '1234567'), {
    minLength: 100,
    maxLength: 400,
  })
  .map((all) => all.join(' '))

const part = fc.oneof(
  { weight: 8, arbitrary: words.map((text) => ({ type: 'text', text })) },
  {
    weight: 1,
    arbitrary: words.map((text) => ({ type: 'text', text, cache_control: { type: 'ephemeral' } })),
  },
  { weight: 1, arbitrary: fc.constant({ type: 'image_url', image_url: { url: 'https://x/y' } }) },
)

const body = fc.record(
  {
    model: fc
      .tuple(fc.constantFrom(...MODELS), fc.constantFrom('', ':nitro'))
      .map((all) => all.join('')),
    messages: fc.array(
      fc.record({
        role: fc.constantFrom('system', 'user'),
        content: fc.array(part, { minLength: 1, maxLength: 3 }),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    max_tokens: fc.constantFrom(1, 100, 300),
    service_tier: fc.constantFrom('flex', 'priority', 'auto'),
    // A search is so dear that nothing else could be seen beside it.
    plugins: rarely(fc.constant([{ id: 'web' }])),
    provider: fc.record(
      {
        order: fc.constantFrom(['azure'], ['groq'], ['openai']),
        max_price: fc.record({ prompt: fc.integer({ max: 100, min: 1 }) }),
      },
      { requiredKeys: [] },
    ),
    stream: fc.boolean(),
  },
  { requiredKeys: ['model', 'messages'] },
)

const world = fc.record({
  prices: fc.dictionary(fc.constantFrom(...MODELS), pricing),
  endpoints: fc.dictionary(fc.constantFrom(...MODELS), endpoints),
  nowMs: fc.integer({ min: 0, max: 86_399_999 }).map((ms) => Date.UTC(2026, 5, 1) + ms),
  // More than a request may have: it gets all that it pays for.
  answerTokens: fc.constantFrom(null, 300),
})

it('is never below what is charged, whatever the prices, the hour and the request', async () => {
  const { control, send, ask } = simulatorInProcess()
  let charged = 0
  await fc.assert(
    fc.asyncProperty(world, body, async (settings, request) => {
      await control.reset()
      await control.patchAccount('acme', { balanceUsd: 1e6 })
      await control.patchSettings({ ...settings, ttftMs: 0, tokensPerSecond: null })
      const { nowMs } = settings
      const read = async (path: string) => (await send(`/api/v1${path}`)).json()
      let table = priceTableOf([await read('/models')], nowMs)
      if (table === null) throw new Error('no table')
      for (const id of MODELS) {
        table = withEndpoints(table, id, await read(`/models/${id}/endpoints`), nowMs)
      }
      const bytes = new TextEncoder().encode(JSON.stringify(request))
      const pause = async () => undefined
      const walked = await walkBody(bytes, pause)
      if (walked === null) throw new Error('no JSON')
      const bound = upperBoundNanos(
        {
          models: [request.model],
          promptTokens: promptTokens(walked, () => 0.5),
          fields: await readPricedFields(bytes, pause),
          maxRunMs: 60_000,
          assumedAnswerTokens: 4_000,
        },
        table,
        nowMs,
      )
      const response = await ask('/chat/completions', request, KEY)
      const text = await response.text()
      const { totalNanos } = await control.charges()
      if (response.status !== 200) expect(totalNanos).toBe(0)
      expect(bound).toEqual({ kind: 'bounded', nanos: expect.any(Number) })
      expect(bound.kind === 'bounded' ? bound.nanos : -1).toBeGreaterThanOrEqual(totalNanos)
      charged += totalNanos
      if (response.status !== 200 || request.stream === true) return
      // And what the answer says is what was charged, to the nano-dollar.
      const usage = readUsage(JSON.parse(text).usage)
      expect(usage === null ? null : nanosOf(usage.costUsd)).toBe(totalNanos)
    }),
    // Shrinking a failure takes longer than a test may.
    { numRuns: 100, interruptAfterTimeLimit: 20_000 },
  )
  expect(charged).toBeGreaterThan(0)
})

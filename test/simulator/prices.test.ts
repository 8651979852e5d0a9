import { beforeEach, describe, expect, it } from 'vitest'
import { simulatorInProcess } from './in-process-simulator.ts'
import { ALPHA, BETA, bodyOf, errorOf, eventsOf, GAMMA } from './served-simulator.ts'
import { REQUESTS } from './shape-requests.ts'

const { ask, control, send } = simulatorInProcess()
beforeEach(() => control.reset())

const get = (path: string, headers = {}) => send(path, { headers })
const chat = (body: object = {}, headers: Record<string, string> = ALPHA) =>
  ask('/chat/completions', { model: MODEL, messages: MESSAGES, ...body }, headers)

const MESSAGES = [{ role: 'user', content: 'Wie geht’s?' }]
const MODEL = 'openai/gpt-4o-mini'
const usageOf = async (response: Promise<Response>) => (await bodyOf(await response)).usage

/** A world where each token costs a micro-dollar, but for what the test sets. */
const price = (pricing: object, more: object = {}) =>
  control.patchSettings({
    prices: { [MODEL]: { prompt: '0.000001', completion: '0.000001', ...pricing } },
    ...more,
  })

describe('prices', () => {
  it('are shown as they are charged', async () => {
    await price({ completion: '0.00001', request: '0.5' })
    const { data } = await bodyOf(await get('/api/v1/models'))
    const listed = data.find(({ id }: { id: string }) => id === MODEL)
    expect(listed.pricing).toMatchObject({ completion: '0.00001', request: '0.5' })
    const one = await bodyOf(await get(`/api/v1/models/${MODEL}/endpoints`))
    expect(one.data.endpoints[0].pricing).toEqual(listed.pricing)
    const usage = await usageOf(chat())
    const { prompt_tokens: prompt, completion_tokens: completion } = usage
    expect(usage.cost).toBeCloseTo(0.5 + prompt * 0.000_001 + completion * 0.000_01, 12)
  })

  it('follow the length of the prompt and the hour; of several the later one wins', async () => {
    const overrides = [
      { min_prompt_tokens: 100, prompt: '0.1' },
      { utc_start: 2200, utc_end: 200, completion: '0.01' },
      { utc_start: 2300, utc_end: 2400, completion: '0.02' },
    ]
    const at = (hour: number) => ({ nowMs: Date.UTC(2026, 5, 1, hour) })
    const costOf = async (content: string) => {
      const body = { messages: [{ role: 'user', content }], max_tokens: 1 }
      return (await usageOf(chat(body, GAMMA))).cost
    }
    await control.patchAccount('globex', { balanceUsd: 1000 })
    await price({ overrides }, at(12))
    expect(await costOf('x'.repeat(400))).toBeCloseTo(0.000_101, 9)
    expect(await costOf('x'.repeat(404))).toBeCloseTo(10.1 + 0.000_001, 9)
    for (const [hour, completion] of [
      [22, 0.01],
      [23, 0.02],
      [1, 0.01],
      [2, 0.000_001],
    ] as const) {
      await price({ overrides }, at(hour))
      expect(await costOf('x'.repeat(4))).toBeCloseTo(0.000_001 + completion, 9)
    }
  })

  it('of cache writes are paid where the body marks something', async () => {
    await price({ input_cache_write: '0.001' })
    const asked = (mark: object) => ({
      messages: [{ role: 'user', content: [{ type: 'text', text: 'x'.repeat(40), ...mark }] }],
      max_tokens: 1,
    })
    expect((await usageOf(chat(asked({})))).cost).toBeCloseTo(0.000_011, 9)
    const marked = asked({ cache_control: { type: 'ephemeral' } })
    expect((await usageOf(chat(marked))).cost).toBeCloseTo(0.010_001, 9)
  })

  it('of pictures, searches and requests are paid beside the tokens', async () => {
    await price({ image: '0.01', web_search: '0.2', request: '0.003' })
    const image = { type: 'image_url', image_url: { url: 'data:,' } }
    const messages = [{ role: 'user', content: [image, image, { type: 'text', text: 'xxxx' }] }]
    const usage = await usageOf(chat({ messages, max_tokens: 1, plugins: [{ id: 'web' }] }))
    expect(usage.cost).toBeCloseTo(0.02 + 0.2 + 0.003 + 0.000_002, 9)
  })

  it('are those of the endpoint that serves', async () => {
    const endpoint = (tag: string, usd: string) => ({
      tag,
      pricing: { prompt: usd, completion: usd },
    })
    const endpoints = [
      endpoint('openai/flex', '0.0001'),
      endpoint('openai', '0.001'),
      endpoint('azure', '0.002'),
      endpoint('openai/fast', '0.003'),
    ]
    await control.patchSettings({
      endpoints: { [MODEL]: endpoints.map((one) => ({ ...one, maxCompletionTokens: 9 })) },
    })
    const listed = await bodyOf(await get(`/api/v1/models/${MODEL}/endpoints`))
    expect(listed.data.endpoints).toMatchObject(endpoints)
    const ofToken = async (body: object) => {
      const { cost, total_tokens } = await usageOf(chat({ max_tokens: 1, ...body }))
      return cost / total_tokens
    }
    expect(await ofToken({})).toBeCloseTo(0.001, 9)
    expect(await ofToken({ provider: { order: ['azure'] } })).toBeCloseTo(0.002, 9)
    expect(await ofToken({ service_tier: 'flex' })).toBeCloseTo(0.0001, 9)
    expect(await ofToken({ service_tier: 'priority' })).toBeCloseTo(0.003, 9)
    expect(await ofToken({ model: `${MODEL}:nitro` })).toBeCloseTo(0.003, 9)
    expect(await ofToken({ provider: { max_price: { prompt: 1500 } } })).toBeCloseTo(0.001, 9)
    const none = await chat({ provider: { max_price: { completion: '1' } } })
    expect((await errorOf(none)).code).toBe(404)
  })

  it('with a provider’s own key are a share, with the whole beside it', async () => {
    await price({}, { byokFee: 0.05 })
    const usage = await usageOf(chat())
    expect(usage.is_byok).toBe(true)
    expect(usage.cost_details.upstream_inference_cost).toBeCloseTo(usage.cost * 20, 9)
    expect((await control.charges()).totalNanos).toBe(Math.round(usage.cost * 1e9))
  })
})

describe('what was charged', () => {
  it('can be read by key, account, model and generation, aborted streams included', async () => {
    await control.patchSettings({ tokensPerSecond: 20 })
    const first = await chat()
    const id = first.headers.get('x-generation-id') ?? ''
    const { usage } = await bodyOf(first)
    await (await chat({ model: 'openai/gpt-4o' }, BETA)).text()
    const stream = await chat({ stream: true }, GAMMA)
    const reader = stream.body?.getReader()
    await control.waitFor(({ stats }) => stats.perKey.gamma?.openNow === 1)
    await reader?.read()
    await reader?.read()
    await reader?.cancel()
    await control.waitFor(({ stats }) => stats.perKey.gamma?.aborted === 1)
    const charged = await control.charges()
    const { byKey, byAccount, byModel, byGeneration, totalNanos } = charged
    expect(charged.charges).toHaveLength(3)
    expect(byGeneration[id]).toBe(Math.round(usage.cost * 1e9))
    expect(byKey.alpha).toBe(byGeneration[id])
    expect(byAccount.acme).toBe((byKey.alpha ?? 0) + (byKey.beta ?? 0))
    expect(byModel['openai/gpt-4o']).toBe(byKey.beta)
    expect(totalNanos).toBe((byAccount.acme ?? 0) + (byKey.gamma ?? 0))
    expect((await control.stats()).perKey.alpha?.costUsd).toBe(usage.cost)
  })
})

describe('an answer without usage', () => {
  it.each(['/chat/completions', '/completions', '/responses', '/messages'] as const)(
    'is charged all the same, and can be looked up: %s',
    async (path) => {
      await control.rule({ fault: 'no-usage' })
      for (const stream of [false, true]) {
        const response = await ask(path, { ...REQUESTS[path], stream }, ALPHA)
        const id = response.headers.get('x-generation-id') ?? ''
        const told = stream ? await eventsOf(response) : await bodyOf(response)
        expect(JSON.stringify(told)).not.toContain('"usage"')
        const { data } = await bodyOf(await get(`/api/v1/generation?id=${id}`, ALPHA))
        expect(data.total_cost).toBeGreaterThan(0)
        const { byGeneration } = await control.charges()
        expect(byGeneration[id]).toBe(Math.round(data.total_cost * 1e9))
      }
    },
  )
})

// The simulator as a Worker, tested only through HTTP, as a gateway in front of it uses it.

import { describe, expect, it } from 'vitest'
import {
  ALPHA,
  BETA,
  bodyOf,
  DELTA,
  errorOf,
  eventsOf,
  GAMMA,
  serveSimulator,
} from './served-simulator.ts'

const { chat, control, get } = serveSimulator()

const FREE = 'meta-llama/llama-3.3-70b-instruct:free'

async function balanceOf(id: string) {
  const { accounts } = await control.world()
  return accounts.find((account) => account.id === id)?.balanceUsd
}

describe('credentials', () => {
  it('takes a bearer, and an x-api-key before it', async () => {
    expect((await chat()).status).toBe(200)
    const both = await chat({}, { ...ALPHA, 'x-api-key': 'sk-or-v1-simulated-gamma' })
    expect(both.status).toBe(200)
    const [first, second] = await control.log()
    expect([first?.key, second?.key]).toEqual(['alpha', 'gamma'])
    expect((await chat({}, { ...ALPHA, 'x-api-key': 'sk-or-v1-unknown' })).status).toBe(401)
  })

  it('has OpenRouter’s words for a missing, unknown, disabled and expired key', async () => {
    expect((await errorOf(await chat({}, {}))).message).toBe('No auth credentials found')
    await control.patchKey('beta', { disabled: true })
    await control.patchKey('gamma', { expiresAt: '2020-01-01T00:00:00Z' })
    for (const key of ['unknown', 'simulated-beta', 'simulated-gamma']) {
      const response = await chat({}, { authorization: `Bearer sk-or-v1-${key}` })
      expect(response.status).toBe(401)
      expect(await errorOf(response)).toEqual({ message: 'User not found.', code: 401 })
    }
  })

  it('needs none for the public lists', async () => {
    for (const path of [
      'models',
      'models/count',
      'providers',
      'embeddings/models',
      'endpoints/zdr',
    ]) {
      const response = await get(`/api/v1/${path}`)
      expect(response.status, path).toBe(200)
      expect(response.headers.get('cache-control')).toContain('max-age=300')
      expect((await bodyOf(response)).data).toBeDefined()
    }
  })
})

describe('places that do not exist', () => {
  it('are JSON under /api and a page of HTML elsewhere', async () => {
    const api = await get('/api/v1/activity', ALPHA)
    expect(api.status).toBe(404)
    expect((await errorOf(api)).code).toBe(404)
    const website = await get('/pricing')
    expect(website.status).toBe(404)
    expect(website.headers.get('content-type')).toContain('text/html')
  })

  it('include models that nobody has heard of', async () => {
    const response = await chat({ model: 'acme/nonesuch' })
    expect(response.status).toBe(400)
    expect((await errorOf(response)).message).toBe('acme/nonesuch is not a valid model ID')
    expect((await chat({ model: 'sim/nonesuch' })).status).toBe(400)
    expect((await chat({ model: 'script/nonesuch' })).status).toBe(400)
  })
})

describe('a chat completion', () => {
  it('echoes the user and reports usage, whole or streamed, under one generation id', async () => {
    const whole = await chat()
    const body = await bodyOf(whole)
    expect(whole.headers.get('x-generation-id')).toBe(body.id)
    expect(body.id).toMatch(/^gen-\d+-[A-Za-z0-9]{20}$/)
    const content = body.choices[0].message.content
    expect(content).toContain('Wie geht’s?')

    const streamed = await chat({ stream: true })
    expect(streamed.headers.get('content-type')).toBe('text/event-stream')
    const events = await eventsOf(streamed)
    expect(new Set(events.map((event) => event.id)).size).toBe(1)
    const parts = events.map((event) => event.choices[0].delta.content)
    expect(parts.join('')).toBe(content)
    expect(events.at(-1).usage).toEqual(body.usage)
    expect(body.usage.cost).toBeGreaterThan(0)
  })

  it('begins with a comment and ends with [DONE]', async () => {
    const text = await (await chat({ stream: true })).text()
    expect(text.startsWith(': OPENROUTER PROCESSING\n\n')).toBe(true)
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  it('repeats the finish reason beside usage, or has no choice there in the older form', async () => {
    const newer = (await eventsOf(await chat({ stream: true }))).at(-1)
    expect(newer.choices[0].finish_reason).toBe('stop')
    await control.patchSettings({ usageForm: 'older' })
    const older = (await eventsOf(await chat({ stream: true }))).at(-1)
    expect(older.choices).toEqual([])
    expect(older.usage).toEqual(newer.usage)
  })

  it('stops at max_tokens', async () => {
    const body = await bodyOf(await chat({ max_tokens: 4 }))
    expect(body.choices[0].finish_reason).toBe('length')
    expect(body.usage.completion_tokens).toBe(4)
  })

  it('calls the first tool with arguments of its schema, until the tool has answered', async () => {
    const parameters = {
      type: 'object',
      properties: {
        city: { type: 'string' },
        unit: { enum: ['celsius'] },
        days: { type: 'integer' },
      },
    }
    const tools = [{ type: 'function', function: { name: 'weather', parameters } }]
    const whole = await bodyOf(await chat({ tools }))
    const [call] = whole.choices[0].message.tool_calls
    expect(call.function.name).toBe('weather')
    expect(JSON.parse(call.function.arguments)).toEqual({
      city: 'sample',
      unit: 'celsius',
      days: 1,
    })
    expect(whole.choices[0].finish_reason).toBe('tool_calls')

    const events = await eventsOf(await chat({ tools, stream: true }))
    const deltas = events.flatMap((event) => event.choices[0].delta.tool_calls ?? [])
    expect(deltas.length).toBeGreaterThan(2)
    const written = deltas.map((delta) => delta.function.arguments).join('')
    expect(written).toBe(call.function.arguments)

    const messages = [
      { role: 'user', content: 'Weather?' },
      { role: 'tool', tool_call_id: call.id, content: 'rain' },
    ]
    const after = await bodyOf(await chat({ tools, messages }))
    expect(after.choices[0].message.tool_calls).toBeUndefined()
    expect(
      (await bodyOf(await chat({ tools, tool_choice: 'none' }))).choices[0].finish_reason,
    ).toBe('stop')
  })

  it('reasons first where the model does', async () => {
    const events = await eventsOf(await chat({ model: 'deepseek/deepseek-r1', stream: true }))
    const first = events[0].choices[0].delta
    expect(first.reasoning_details).toEqual([
      { type: 'reasoning.text', text: first.reasoning, index: 0, format: null },
    ])
    expect(events.at(-1).usage.completion_tokens_details.reasoning_tokens).toBeGreaterThan(0)
  })

  it('answers in JSON when asked to', async () => {
    const schema = { type: 'object', properties: { ok: { type: 'boolean' } } }
    const format = { type: 'json_schema', json_schema: { name: 'verdict', schema } }
    const body = await bodyOf(await chat({ response_format: format }))
    expect(JSON.parse(body.choices[0].message.content)).toEqual({ ok: true })
  })

  it('can be cut inside characters and lines, and is the same bytes', async () => {
    await control.patchSettings({ answerTokens: 30 })
    const parts = async () =>
      (await eventsOf(await chat({ stream: true }))).map((event) => event.choices[0].delta.content)
    const plain = await parts()
    await control.patchSettings({ splitUtf8: true })
    expect(await parts()).toEqual(plain)
    expect(plain.join('')).toMatch(/東京/)
  })
})

describe('money', () => {
  it('goes from the account and onto the key by what usage says, when the request ends', async () => {
    const { usage } = await bodyOf(await chat({ model: 'openai/gpt-4o' }))
    expect(await balanceOf('acme')).toBeCloseTo(50 - usage.cost, 9)
    const { data } = await bodyOf(await get('/api/v1/key', ALPHA))
    expect([data.usage, data.usage_daily, data.limit]).toEqual([usage.cost, usage.cost, null])
    expect((await control.stats()).perKey.alpha?.costUsd).toBe(usage.cost)
  })

  it('is not asked for on the free tier', async () => {
    expect((await bodyOf(await chat({ model: FREE }))).usage.cost).toBe(0)
    expect(await balanceOf('acme')).toBe(50)
  })

  it('refuses an empty account, and one that never bought credits in its own words', async () => {
    await control.patchAccount('acme', { balanceUsd: 0 })
    const empty = await chat()
    expect(empty.status).toBe(402)
    const error = await errorOf(empty)
    expect(error.message).toMatch(/^Insufficient credits\. Add more/)
    expect(error.metadata.limit_source).toBe('openrouter_credits')
    expect((await chat({ model: FREE })).status).toBe(200)
    await control.patchAccount('acme', { purchasedUsd: 0 })
    expect((await errorOf(await chat())).message).toContain('never purchased')
  })

  it('says how many tokens a balance can afford', async () => {
    await control.patchAccount('acme', { balanceUsd: 0.001 })
    const dear = await chat({ model: 'openai/gpt-4o' })
    expect(dear.status).toBe(402)
    expect((await errorOf(dear)).message).toMatch(/up to 16384 tokens, but can only afford 99\./)
    expect((await chat({ model: 'openai/gpt-4o', max_tokens: 10 })).status).toBe(200)
  })

  it('ends at a key’s cap, until the window does', async () => {
    const nowMs = Date.UTC(2026, 9, 15, 12)
    await control.patchSettings({ nowMs })
    const usage = { totalUsd: 2.01, dailyUsd: 2.01, weeklyUsd: 2.01, monthlyUsd: 2.01, atMs: nowMs }
    await control.patchKey('delta', { usage })
    const spent = await chat({}, DELTA)
    expect(spent.status).toBe(403)
    const error = await errorOf(spent)
    expect(error.message).toMatch(/^Key limit exceeded \(monthly limit\)\. Manage it using https:/)
    expect(error.message).toMatch(/keys\/[0-9a-f]{64} \$2\.01 of \$2\.00 used; resets 2026-11-01T/)
    expect(error.metadata.limit_source).toBe('openrouter_key_limit')
    await control.patchSettings({ errorForm: 'older' })
    expect(await errorOf(await chat({}, DELTA))).toEqual({
      code: 403,
      message:
        'Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys',
    })
    await control.patchSettings({ nowMs: Date.UTC(2026, 10, 1, 0, 0, 1) })
    expect((await bodyOf(await chat({}, DELTA))).usage.cost).toBeGreaterThan(0)
    const { data } = await bodyOf(await get('/api/v1/auth/key', DELTA))
    expect(data.limit_remaining).toBeGreaterThan(1.99)
    expect(data.usage).toBeGreaterThan(2.01)
  })

  it('holds an account to what it may have in flight, for a while', async () => {
    await control.patchAccount('acme', { inFlightBudgetUsd: 0.01 })
    const alone = await errorOf(await chat({ model: 'openai/gpt-4o', max_tokens: 2000 }))
    expect(alone.metadata.reason).toBe('weight_exceeds_budget')
    await control.patchSettings({ ttftMs: 400 })
    const first = chat({ model: 'openai/gpt-4o', max_tokens: 600 })
    await control.waitFor(({ stats }) => stats.openNow === 1)
    const second = await chat({ model: 'openai/gpt-4o', max_tokens: 600 })
    expect(second.status).toBe(402)
    expect(second.headers.get('retry-after')).toBe('2')
    expect((await errorOf(second)).metadata.limit_source).toBe('openrouter_in_flight_budget')
    await (await first).text()
    expect((await chat({ model: 'openai/gpt-4o', max_tokens: 600 })).status).toBe(200)
  })
})

describe('rate limits', () => {
  const nowMs = Date.UTC(2026, 9, 15, 12, 0, 10)

  it('count free requests per minute, over all keys of the account', async () => {
    await control.patchSettings({ nowMs })
    await control.patchAccount('acme', { freePerMinute: 1 })
    expect((await chat({ model: FREE })).status).toBe(200)
    const refused = await chat({ model: FREE }, BETA)
    expect(refused.status).toBe(429)
    const error = await errorOf(refused)
    expect(error.message).toBe('Rate limit exceeded: free-models-per-min. ')
    expect(error.metadata.headers).toEqual({
      'X-RateLimit-Limit': '1',
      'X-RateLimit-Remaining': '0',
      'X-RateLimit-Reset': String(Date.UTC(2026, 9, 15, 12, 1)),
    })
    expect(refused.headers.get('x-ratelimit-reset')).toBeNull()
    expect((await chat({}, BETA)).status).toBe(200)
    await control.patchSettings({ nowMs: nowMs + 60_000 })
    expect((await chat({ model: FREE })).status).toBe(200)
  })

  it('count free requests per day, refused ones too, and /key shows it', async () => {
    await control.patchSettings({ nowMs, rateLimitHeaders: 'http' })
    await control.patchAccount('acme', { freePerDay: 1 })
    await chat({ model: FREE })
    await chat({ model: FREE })
    const refused = await chat({ model: FREE })
    expect(refused.headers.get('x-ratelimit-reset')).toBe(String(Date.UTC(2026, 9, 16)))
    expect((await errorOf(refused)).metadata).toEqual({
      provider_name: null,
      limit_source: 'openrouter_free_tier_daily',
      remedy_hint: expect.any(String),
    })
    const { data } = await bodyOf(await get('/api/v1/key', ALPHA))
    expect(data.free_model_daily_requests).toEqual({ used: 3, limit: 1, remaining: 0 })
  })

  it('give a new account 20 requests a minute for each model', async () => {
    await control.patchSettings({ nowMs })
    await control.patchAccount('globex', { isNew: true })
    const statuses = await Promise.all(
      Array.from({ length: 21 }, async () => (await chat({ max_tokens: 1 }, GAMMA)).status),
    )
    expect(statuses.filter((status) => status === 429)).toHaveLength(1)
    expect((await chat({ model: 'openai/gpt-4o', max_tokens: 1 }, GAMMA)).status).toBe(200)
  })
})

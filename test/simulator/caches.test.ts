// What OpenRouter keeps between requests: answers per key, and prompts per account.

import { describe, expect, it } from 'vitest'
import { ALPHA, BETA, bodyOf, eventsOf, GAMMA, serveSimulator } from './served-simulator.ts'

const { chat, control, send } = serveSimulator()

const nowMs = Date.UTC(2026, 9, 15, 12)
const USER = { role: 'user', content: 'Tell me about the number seven, at some length please.' }
const ANSWER = { role: 'assistant', content: 'It is prime.' }
const MORE = { role: 'user', content: 'And eight?' }
const SYSTEM = { role: 'system', content: 'You are a mathematician. '.repeat(40) }

async function balance(id: string) {
  const { accounts } = await control.world()
  return accounts.find((account) => account.id === id)?.balanceUsd
}

describe('the response cache', () => {
  const cached = (headers: Record<string, string> = {}, body = {}) =>
    chat({ messages: [USER], ...body }, { ...ALPHA, 'x-openrouter-cache': 'true', ...headers })
  const statusOf = (response: Response) => response.headers.get('x-openrouter-cache-status')

  it('answers the same body again, for nothing and under an id of its own', async () => {
    const miss = await cached()
    expect([statusOf(miss), miss.headers.get('x-openrouter-cache-ttl')]).toEqual(['MISS', '300'])
    const first = await bodyOf(miss)
    const left = await balance('acme')
    const hit = await cached()
    const second = await bodyOf(hit)
    expect(statusOf(hit)).toBe('HIT')
    expect(hit.headers.get('x-openrouter-cache-source-id')).toBe(first.id)
    expect(hit.headers.get('x-generation-id')).toBe(second.id)
    expect(second.id).not.toBe(first.id)
    expect(second.choices).toEqual(first.choices)
    expect(second.usage).toMatchObject({ cost: 0, prompt_tokens: 0, completion_tokens: 0 })
    expect(await balance('acme')).toBe(left)
    expect((await control.stats()).perKey.alpha).toMatchObject({ cacheHits: 1, completed: 2 })
  })

  it('replays streams', async () => {
    const contentOf = async (response: Response) =>
      (await eventsOf(response)).map((event) => event.choices[0].delta.content).join('')
    const first = await contentOf(await cached({}, { stream: true }))
    const again = await cached({}, { stream: true })
    expect(statusOf(again)).toBe('HIT')
    expect(await contentOf(again)).toBe(first)
  })

  it('is each key’s own, and only for the very same bytes', async () => {
    await (await cached()).text()
    expect(statusOf(await cached({ ...BETA }))).toBe('MISS')
    expect(statusOf(await cached({}, { max_tokens: 5 }))).toBe('MISS')
    const body = JSON.stringify({ messages: [USER], model: 'openai/gpt-4o-mini' })
    const headers = { ...ALPHA, 'x-openrouter-cache': 'true' }
    const reordered = await send('/api/v1/chat/completions', { method: 'POST', headers, body })
    expect(statusOf(reordered)).toBe('MISS')
    expect(statusOf(await chat({ messages: [USER] }))).toBeNull()
  })

  it('ends with its time, or when it is told to', async () => {
    await control.patchSettings({ nowMs })
    await (await cached({ 'x-openrouter-cache-ttl': '60' })).text()
    await control.patchSettings({ nowMs: nowMs + 45_000 })
    const hit = await cached()
    expect(hit.headers.get('x-openrouter-cache-age')).toBe('45')
    expect(hit.headers.get('x-openrouter-cache-ttl')).toBe('15')
    const cleared = await cached({ 'x-openrouter-cache-clear': 'true' })
    expect(statusOf(cleared)).toBe('MISS')
    await cleared.text()
    expect(statusOf(await cached())).toBe('HIT')
    await control.patchSettings({ nowMs: nowMs + 400_000 })
    expect(statusOf(await cached())).toBe('MISS')
  })

  it('keeps no errors', async () => {
    const id = await control.rule({ fault: 'error-in-200' })
    await (await cached()).text()
    await control.deleteRule(id)
    expect(statusOf(await cached())).toBe('MISS')
  })

  it('answers a key that has nothing left to spend', async () => {
    await (await cached()).text()
    await control.patchAccount('acme', { balanceUsd: 0 })
    expect((await cached()).status).toBe(200)
    expect((await chat({ messages: [USER] })).status).toBe(402)
  })
})

describe('the prompt cache', () => {
  type Ask = { headers?: Record<string, string>; body?: object }

  async function turn(messages: object[], { headers = {}, body = {} }: Ask = {}) {
    const response = await chat({ messages, max_tokens: 1, ...body }, { ...ALPHA, ...headers })
    const { usage } = await bodyOf(response)
    return { ...usage.prompt_tokens_details, prompt: usage.prompt_tokens, cost: usage.cost }
  }

  it('holds what was served before of a conversation, for a tenth of the price', async () => {
    const first = await turn([SYSTEM, USER])
    expect(first).toMatchObject({ cached_tokens: 0, cache_write_tokens: first.prompt })
    const second = await turn([SYSTEM, USER, ANSWER, MORE])
    expect(second.cached_tokens).toBe(first.prompt)
    expect(second.cache_write_tokens).toBe(second.prompt - first.prompt)
    const dollars = 0.15e-6 * (0.1 * first.prompt + second.prompt - first.prompt) + 0.6e-6
    expect(second.cost).toBeCloseTo(dollars, 9)
    const { acme, ...stats } = { acme: await balance('acme'), ...(await control.stats()) }
    expect(acme).toBeCloseTo(50 - first.cost - second.cost, 9)
    expect(stats).toMatchObject({
      cachedTokens: second.cached_tokens,
      promptTokens: first.prompt + second.prompt,
    })
  })

  it('is shared by the keys of an account, and by nobody else', async () => {
    const { prompt } = await turn([SYSTEM, USER])
    const next = [SYSTEM, USER, ANSWER, MORE]
    expect((await turn(next, { headers: BETA })).cached_tokens).toBe(prompt)
    expect((await turn(next, { headers: GAMMA })).cached_tokens).toBe(0)
    expect((await turn(next, { body: { model: 'openai/gpt-4o' } })).cached_tokens).toBe(0)
  })

  it('goes cold after ten minutes without a request', async () => {
    await control.patchSettings({ nowMs })
    const { prompt } = await turn([SYSTEM, USER])
    const next = [SYSTEM, USER, ANSWER, MORE]
    await control.patchSettings({ nowMs: nowMs + 599_000 })
    expect((await turn(next)).cached_tokens).toBe(prompt)
    await control.patchSettings({ nowMs: nowMs + 2 * 599_000 })
    expect((await turn(next)).cached_tokens).toBeGreaterThan(prompt)
    await control.patchSettings({ nowMs: nowMs + 2 * 599_000 + 600_000 })
    expect((await turn(next)).cached_tokens).toBe(0)
  })

  it('counts the same prefix only, and never what was said last', async () => {
    await turn([SYSTEM, USER])
    const changed = { ...USER, content: `${USER.content}!` }
    expect((await turn([SYSTEM, changed, ANSWER, MORE])).cached_tokens).toBe(0)
    const named = { body: { session_id: 's' } }
    await turn([SYSTEM, USER], named)
    const system = (await turn([SYSTEM, changed, ANSWER, MORE], named)).cached_tokens
    expect(system).toBe(SYSTEM.content.length / 4)
    await turn([USER])
    expect((await turn([USER])).cached_tokens).toBe(0)
  })

  const BY_NAME: readonly [string, Ask, Ask, boolean][] = [
    ['session_id', { body: { session_id: 'a' } }, { body: { session_id: 'a' } }, true],
    ['session_id', { body: { session_id: 'a' } }, { body: { session_id: 'b' } }, false],
    [
      'x-session-id',
      { headers: { 'x-session-id': 'a' } },
      { headers: { 'x-session-id': 'a' }, body: { prompt_cache_key: 'b' } },
      true,
    ],
    [
      'session_id before x-session-id',
      { body: { session_id: 'a' }, headers: { 'x-session-id': 'x' } },
      { body: { session_id: 'b' }, headers: { 'x-session-id': 'x' } },
      false,
    ],
    [
      'prompt_cache_key',
      { body: { prompt_cache_key: 'a' } },
      { body: { prompt_cache_key: 'b' } },
      false,
    ],
  ]
  it.each(BY_NAME)('knows a conversation by %s', async (_name, first, then, same) => {
    await turn([SYSTEM, USER], first)
    const { cached_tokens: count } = await turn([SYSTEM, USER, ANSWER, MORE], then)
    expect(count > 0).toBe(same)
  })

  it('keeps nothing of an answer that ended in an error', async () => {
    const id = await control.rule({ fault: 'error-first-event' })
    await (await chat({ messages: [SYSTEM, USER], stream: true })).text()
    await control.deleteRule(id)
    expect((await turn([SYSTEM, USER, ANSWER, MORE])).cached_tokens).toBe(0)
  })
})

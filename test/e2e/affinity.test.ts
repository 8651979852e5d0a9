import { expect, test } from 'vitest'
import { type Gateway, sendMany, startGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()

const KEYS = ['alpha', 'gamma'] as const
const CONVERSATIONS = 40
const TURNS = 5
const SYSTEM = 'You are an assistant that knows the whole of this long manual. '.repeat(200)

interface Turn {
  readonly conversation: number
  readonly messages: readonly { readonly role: string; readonly content: string }[]
}

/** The turns of one conversation. Each turn contains all earlier messages. */
function turnsOf(conversation: number): Turn[] {
  const messages = [{ role: 'system', content: `Conversation ${conversation}. ${SYSTEM}` }]
  return Array.from({ length: TURNS }, (_, turn) => {
    messages.push({ role: 'user', content: `Question ${turn} of ${conversation}` })
    const said = [...messages]
    messages.push({ role: 'assistant', content: `Answer ${turn}` })
    return { conversation, messages: said }
  })
}

/** Runs forty conversations of five turns, some at a time. A turn waits for the turn before. */
async function converse(
  gateway: Gateway,
  send: (turn: Turn) => Promise<Response>,
  concurrency = 8,
) {
  await upstream.control.patchSettings({ tokensPerSecond: null })
  await sendMany(CONVERSATIONS, concurrency, async (conversation) => {
    let last = new Response()
    for (const turn of turnsOf(conversation)) {
      last = await send(turn)
      expect(last.status).toBe(200)
      if (turn.messages.length < 2 * TURNS) await last.arrayBuffer()
    }
    return last
  })
  await gateway.settledPool()
  const stats = await upstream.control.stats()
  const requests = KEYS.map((name) => stats.perKey[name]?.requests ?? 0)
  return { cachedShare: stats.cachedTokens / stats.promptTokens, busiest: Math.max(...requests) }
}

const SHARE = (CONVERSATIONS * TURNS) / KEYS.length

/** An account may have 1.25 times its share. A lease ahead is up to two seconds old when it is used. */
const MOST = 1.35 * SHARE

test('conversations that name themselves stay with one account, and accounts with their share', async () => {
  const gateway = await startGateway(upstream, { keys: KEYS, policy: { strategy: 'least-busy' } })
  const { cachedShare, busiest } = await converse(gateway, ({ conversation, messages }) =>
    gateway.chat({ messages, session_id: `conversation-${conversation}` }),
  )
  expect(cachedShare).toBeGreaterThanOrEqual(0.75)
  expect(busiest).toBeLessThanOrEqual(MOST)
})

test('conversations that do not are known by how they began, where that is asked for', async () => {
  const gateway = await startGateway(upstream, {
    keys: KEYS,
    policy: { strategy: 'least-busy', affinity: 'conversation' },
  })
  const { cachedShare, busiest } = await converse(gateway, ({ messages }) =>
    gateway.chat({ messages }),
  )
  expect(cachedShare).toBeGreaterThanOrEqual(0.75)
  expect(busiest).toBeLessThanOrEqual(MOST)
})

test('without affinity far less of the prompts is found in a cache', async () => {
  const gateway = await startGateway(upstream, {
    keys: KEYS,
    policy: { strategy: 'round-robin', affinity: 'none' },
  })
  // One conversation at a time, so the result does not depend on chance: each account gets every
  // other turn, and the first two turns of five find no cached prompt.
  const { cachedShare } = await converse(
    gateway,
    ({ conversation, messages }) =>
      gateway.chat({ messages, session_id: `conversation-${conversation}` }),
    1,
  )
  expect(cachedShare).toBeLessThan(0.65)
})

test('requests that use OpenRouter’s response cache go to the key that has the answer', async () => {
  const gateway = await startGateway(upstream, { policy: { strategy: 'round-robin' } })
  const headers = { 'x-openrouter-cache': 'true' }
  const ask = (i: number) =>
    gateway.chat({ messages: [{ role: 'user', content: `Question ${i % 5}` }] }, headers)
  const responses = await sendMany(30, 1, ask)
  const hits = responses.filter((r) => r.headers.get('x-openrouter-cache-status') === 'HIT')
  expect(hits).toHaveLength(25)
  const keys = new Set(responses.map((response) => response.headers.get('x-switchyard-key')))
  expect(keys.size).toBeGreaterThan(1)
})

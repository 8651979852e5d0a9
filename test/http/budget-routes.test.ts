import { beforeAll, expect, it } from 'vitest'
import { API_SHAPES } from '../../src/openrouter/shapes/shape-registry.ts'
import { ANSWER, gatewayInFrontOf } from './gateway-driver.ts'

const ADMIN = 'an-admin-token-of-thirty-two-chars'
const BINDINGS = { ADMIN_TOKEN: ADMIN, POLICY: { extra_paths: ['videos'] } }
const SOUND = { headers: { 'content-type': 'audio/mpeg' } }

/** An answer that each API takes for its own. */
const ANY_ANSWER = {
  ...JSON.parse(ANSWER),
  ...{ type: 'message', role: 'assistant', content: [{ type: 'text', text: 'Hi' }] },
  ...{ stop_reason: 'end_turn', object: 'response', status: 'completed', input_tokens: 1 },
  output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Hi' }] }],
  data: [{ index: 0, embedding: [1], b64_json: 'AAAA' }],
  results: [{ index: 0, relevance_score: 1 }],
  text: 'Hi',
}

const gateway = gatewayInFrontOf(({ url }) =>
  url.endsWith('audio/speech')
    ? new Response(new Uint8Array(2_000), SOUND)
    : Response.json(ANY_ANSWER),
)

/** The part of an admin answer that these tests read. */
interface Client {
  readonly token: string
  readonly budgets: readonly Readonly<Record<string, unknown>>[]
}

async function admin(method: string, path: string, body: object | null = null): Promise<Client> {
  const init = { method, headers: { authorization: `Bearer ${ADMIN}` } }
  const sent = body === null ? init : { ...init, body: JSON.stringify(body) }
  return (await gateway.send(`/admin/api/${path}`, sent, BINDINGS)).json()
}

/** Makes a client with a budget of so much a day. @returns its token */
async function tokenWith(id: string, usd: number): Promise<string> {
  return (await admin('POST', 'clients', { id, budget: { usd, period: 'day' } })).token
}

const tokens = { poor: '', rich: '' }

beforeAll(async () => {
  tokens.poor = await tokenWith('poor', 0)
  tokens.rich = await tokenWith('rich', 100)
})

async function budgetOfRich() {
  const [budget] = (await admin('GET', 'clients/rich')).budgets
  return {
    spent: Number(budget?.spent_usd),
    reserved: budget?.reserved_usd,
    lost: budget?.lost_usd,
  }
}

const PATHS = [...API_SHAPES.map(({ path }) => path), 'videos']

/** Of an answer that does not say its cost, what was reserved for it is the estimate. */
const COSTS_USD: Readonly<Record<string, number>> = {
  'audio/speech': 0.5,
  'messages/count_tokens': 0,
}

/** A request that each route takes, whatever its shape. */
function requestFor(path: string, token: string): RequestInit {
  const authorization = `Bearer ${token}`
  if (path === 'audio/transcriptions') {
    const body = new FormData()
    body.append('model', 'vendor/model')
    body.append('file', new File([new Uint8Array(100)], 'sound.mp3'))
    return { method: 'POST', headers: { authorization }, body }
  }
  const question = { messages: [{ role: 'user', content: 'Hi' }], input: 'Hi', prompt: 'Hi' }
  return {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'vendor/model',
      max_tokens: 9,
      query: 'Hi',
      documents: ['Hi'],
      ...question,
    }),
  }
}

it.each(PATHS)('%s asks the budget', async (path) => {
  const asked = gateway.received.length
  const refused = await gateway.send(`/api/v1/${path}`, requestFor(path, tokens.poor), BINDINGS)
  const message = await refused.text()
  expect([refused.status, message]).toEqual([402, expect.stringContaining('budget_exceeded')])
  const calls = gateway.received.slice(asked).filter(({ url }) => url.endsWith(path))
  expect(calls).toEqual([])
})

it.each(PATHS)('%s gives back what it reserved, and is charged what it cost', async (path) => {
  const before = await budgetOfRich()
  const served = await gateway.send(`/api/v1/${path}`, requestFor(path, tokens.rich), BINDINGS)
  expect(served.status).toBe(200)
  const after = await budgetOfRich()
  expect(after).toMatchObject({ reserved: 0, lost: 0 })
  expect(after.spent - before.spent).toBeCloseTo(COSTS_USD[path] ?? 0.001, 9)
})

import { describe, expect, test } from 'vitest'
import { type Gateway, MESSAGES, MODEL, sendMany, startGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()

const ADMIN = 'admin-token-of-the-e2e-tests-000001'
const APP = 'sy-app-token-0000001'
const OTHER = 'sy-other-token-00001'

/** A gateway with the client `app`, that has these limits, and `other`, that has none. */
async function gatewayWith(
  app: object,
  { groups = [], keys }: { groups?: object[]; keys?: Parameters<typeof startGateway>[1] } = {},
) {
  const clients = [
    { id: 'app', token: APP, ...app },
    { id: 'other', token: OTHER },
  ]
  const gateway = await startGateway(upstream, {
    ...keys,
    secrets: { CLIENT_KEYS: JSON.stringify({ groups, clients }), ADMIN_TOKEN: ADMIN },
  })
  return { gateway, ...callsOf(gateway) }
}

function callsOf(gateway: Gateway) {
  const as = (token: string, body: object = {}) =>
    gateway.send('/api/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, messages: MESSAGES, max_tokens: 20, ...body }),
    })
  const admin = async (method: string, path: string, body?: object) => {
    const response = await gateway.send(`/admin/api/${path}`, {
      method,
      headers: { authorization: `Bearer ${ADMIN}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) }
  }
  return { as, admin }
}

describe('a client with limits', () => {
  test('gets no more requests in a minute, is told so, and holds up nobody', async () => {
    const { as } = await gatewayWith({ rpm: 3 })
    const answers = await sendMany(5, 5, () => as(APP))
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 200, 200, 429, 429])
    const refused = answers.find(({ status }) => status === 429)
    expect(await (await as(APP)).json()).toMatchObject({
      error: { code: 429, metadata: { reason: 'client_rate_limited', limit: 'rpm', max: 3 } },
    })
    expect(refused?.headers.get('x-ratelimit-limit')).toBe('3')
    expect(refused?.headers.get('x-ratelimit-remaining')).toBe('0')
    expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(50)
    expect((await as(OTHER)).status).toBe(200)
  })

  test('may use the models and the keys that it is given, and no others', async () => {
    const { as, gateway } = await gatewayWith({ models: ['openai/*'], keys: ['gamma'] })
    const answer = await as(APP)
    expect([answer.status, answer.headers.get('x-switchyard-key')]).toEqual([200, 'gamma'])
    const refused = await as(APP, { model: 'anthropic/claude-sonnet-4.5' })
    expect([refused.status, await refused.json()]).toMatchObject([
      403,
      { error: { metadata: { reason: 'model_not_allowed' } } },
    ])
    const list = await gateway.send('/api/v1/models', {
      headers: { authorization: `Bearer ${APP}` },
    })
    const { data } = (await list.json()) as { data: { id: string }[] }
    expect(data.length).toBeGreaterThan(0)
    expect(data.filter(({ id }) => !id.startsWith('openai/'))).toEqual([])
  })
})

describe('a client with a budget', () => {
  test('spends all of it but a tenth, never more than what runs above it, and is told 402', async () => {
    await upstream.control.patchSettings({ answerTokens: 200, tokensPerSecond: null })
    const costly = { model: 'anthropic/claude-sonnet-4.5', max_tokens: 200 }
    const { as, admin } = await gatewayWith({ budget: { usd: 0.05, period: 'day' } })
    const answers = await sendMany(40, 4, () => as(APP, costly))
    const refused = answers.filter(({ status }) => status === 402)
    expect(refused.length).toBeGreaterThan(10)
    expect(await (await as(APP, costly)).json()).toMatchObject({
      error: { metadata: { reason: 'budget_exceeded', limit: 0.05, period: 'day' } },
    })
    const { body } = await admin('GET', 'clients/app')
    expect(body.budgets[0].reserved_usd).toBe(0)
    expect(body.budgets[0].spent_usd).toBeGreaterThan(0.045)
  })
})

test('a client is made, changed, rotated and revoked while the gateway runs', async () => {
  const { as, admin } = await gatewayWith({})
  const made = await admin('POST', 'clients', {
    id: 'new',
    rpm: 100,
    budget: { usd: 1, period: 'day' },
  })
  expect(made.status).toBe(201)
  expect((await as(made.body.token)).status).toBe(200)
  const rotated = await admin('POST', 'clients/new/rotate', { grace_s: 0 })
  expect((await as(rotated.body.token)).status).toBe(200)
  expect((await as(made.body.token)).status).toBe(401)
  expect((await admin('PATCH', 'clients/new', { rpm: 1, budget: null })).body).toMatchObject({
    rpm: 1,
    budgets: [],
  })
  expect((await as(rotated.body.token)).status).toBe(429)
  expect((await admin('DELETE', 'clients/new')).status).toBe(204)
  expect((await as(rotated.body.token)).status).toBe(401)
  expect((await admin('GET', 'audit')).body.entries).toHaveLength(4)
  expect((await admin('PATCH', 'clients/app', { rpm: 1 })).status).toBe(409)
})

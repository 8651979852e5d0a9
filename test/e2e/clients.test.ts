import { beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Gateway,
  MESSAGES,
  MODEL,
  sendMany,
  startGateway,
  until,
  useGateway,
  useSimulator,
} from './harness.ts'

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

/** Each call of this test's upstream costs 0.02 USD, and a little for its prompt. */
const CALL = { prompt: '0.00001', completion: '0.001', answerTokens: 20 }
const CALL_USD = 0.02

/** The same question in each shape, streamed or not. */
function question(i: number, isBounded: boolean) {
  const path = ['chat/completions', 'messages', 'responses'][i % 3]
  const stream = i % 2 === 0
  const { answerTokens: limit } = CALL
  const own =
    path === 'responses'
      ? { input: 'Hi', ...(isBounded ? { max_output_tokens: limit } : {}) }
      : { messages: MESSAGES, ...(isBounded ? { max_tokens: limit } : {}) }
  return { path, body: { model: MODEL, stream, ...own } }
}

const BUDGET = { usd: 0.5, period: 'day' } as const
const APPS = {
  exact: { budget: { ...BUDGET, mode: 'exact' } },
  strict: { budget: { ...BUDGET, mode: 'exact', strict: true } },
  capped: { budget: { ...BUDGET, mode: 'capped' } },
  // Its requests may cost 16 USD each, as far as they say.
  wide: { budget: { ...BUDGET, mode: 'capped' } },
  after: { budget: { ...BUDGET, mode: 'after' } },
  warn: { budget: { ...BUDGET, mode: 'exact', on_exceeded: 'warn' } },
  none: {},
} as const
type App = keyof typeof APPS

const tokenOf = (app: string) => `sy-token-of-app-${app}-1`

describe('a hundred requests at once, with 0.50 USD left and 0.02 USD each', () => {
  const gateway = useGateway(upstream, {
    keys: ['alpha', 'beta'],
    policy: { strategy: 'least-busy', queue: { max_wait_ms: 60_000 } },
    secrets: {
      ADMIN_TOKEN: ADMIN,
      CLIENT_KEYS: JSON.stringify({
        clients: Object.entries(APPS).map(([id, terms]) => ({ id, token: tokenOf(id), ...terms })),
      }),
    },
  })
  beforeEach(async () => {
    const { prompt, completion, answerTokens } = CALL
    await upstream.control.patchAccount('acme', { balanceUsd: 1_000 })
    await upstream.control.patchSettings({
      ...{ answerTokens, tokensPerSecond: null, ttftMs: 100 },
      prices: { [MODEL]: { prompt, completion } },
    })
  })

  /** Sends a hundred at once, of all shapes. @returns how many had each status */
  async function burst(app: App) {
    const statuses = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const { path, body } = question(i, app !== 'wide')
        const response = await gateway().send(`/api/v1/${path}`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${tokenOf(app)}`,
            'content-type': 'application/json',
          },
          body: JSON.stringify(body),
        })
        await response.arrayBuffer()
        return response.status
      }),
    )
    return (status: number) => statuses.filter((one) => one === status).length
  }

  // The first is nobody that the isolate has seen, and it has no prices yet.
  test.each<[App, number, number]>([
    ['exact', 0.45, 0.5],
    ['strict', 0.45, 0.5],
    ['capped', 0.45, 0.5],
    ['wide', 0.45, 0.5 + 10 * CALL_USD],
    ['after', 0.5, 100 * (CALL_USD + 0.001)],
    ['warn', 100 * CALL_USD, 100 * (CALL_USD + 0.001)],
    ['none', 100 * CALL_USD, 100 * (CALL_USD + 0.001)],
  ])(
    '%s: between %d and %d USD are spent, and none is reserved at the end',
    async (app, least, most) => {
      const count = await burst(app)
      const { totalNanos, charges } = await upstream.control.charges()
      expect(count(200)).toBe(charges.length)
      expect(count(200) + count(402)).toBe(100)
      expect(totalNanos / 1e9).toBeGreaterThanOrEqual(least)
      expect(totalNanos / 1e9).toBeLessThanOrEqual(most)
      const { admin } = callsOf(gateway())
      const budgets = async () => (await admin('GET', `clients/${app}`)).body.budgets
      // Settlements come within a quarter of a second of their answers.
      await until(budgets, (all) =>
        all.every(
          (one: { reserved_usd: number; spent_usd: number }) =>
            one.reserved_usd === 0 && one.spent_usd >= totalNanos / 1e9,
        ),
      )
      for (const budget of await budgets()) {
        expect([budget.spent_usd, budget.lost_usd]).toEqual([totalNanos / 1e9, 0])
      }
    },
  )
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

test('a key that is paused under traffic gets no request until it is resumed', async () => {
  const { as, admin, gateway } = await gatewayWith({})
  const { body: pool } = await admin('GET', 'pool')
  const ids: string[] = pool.keys.map(({ id }: { id: string }) => id)
  const [first = ''] = ids
  const served = async (count: number) => {
    const answers = await sendMany(count, 8, () => as(APP))
    return new Set(answers.map(({ headers }) => headers.get('x-switchyard-key')))
  }
  expect([...(await served(24))]).toContain(first)
  expect((await admin('POST', `keys/${first}/pause`)).body).toMatchObject({ reason: 'paused' })
  // What a busy isolate holds ahead of the key comes back within half a second.
  await vi.waitFor(async () => expect([...(await served(8))]).not.toContain(first), 2_000)
  const paused = await served(24)
  expect(paused.has(first)).toBe(false)
  expect(paused.has(null)).toBe(false)
  const { body } = await admin('GET', 'explain?model=openai/gpt-4o-mini&client=app')
  expect(body).toMatchObject({ would: 'serve', client: 'app' })
  expect(body.keys.find(({ id }: { id: string }) => id === first).reasons).toEqual(['paused'])
  const health = await (await gateway.send('/healthz')).json()
  expect(health).toMatchObject({ keys_total: ids.length })
  expect((await admin('POST', `keys/${first}/resume`)).body.reason).toBeNull()
  // What the isolate holds ahead of the other keys goes first.
  await vi.waitFor(async () => expect([...(await served(24))]).toContain(first), 3_000)
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

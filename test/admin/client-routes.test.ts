import { runInDurableObject } from 'cloudflare:test'
import { describe, expect, it, vi } from 'vitest'
import {
  auditAnswer,
  budgetsAnswer,
  clientAnswer,
  clientsAnswer,
  groupAnswer,
  groupsAnswer,
  tokenAnswer,
} from '../../src/admin/answer-schemas.ts'
import { deployment, messageOf } from './admin-driver.ts'

const ALL_FIELDS = {
  rpm: 60,
  tpm: 100_000,
  rpd: 1_000,
  max_concurrent: 5,
  models: ['vendor/*', 'openai/gpt-4o-mini'],
  keys: ['alpha', 'account:acme'],
  expires_at: '2099-01-31T00:00:00Z',
  budget: [
    { usd: 5, period: 'day', mode: 'exact', strict: true },
    { usd: 50, period: 'month', on_exceeded: 'warn', include_byok: true },
  ],
}

describe('the routes answer as their schemas say', () => {
  it('for clients with all fields, and with none', async () => {
    const { admin, call } = deployment().isolate()
    const groups = await admin('POST', 'groups', { id: 'team', ...ALL_FIELDS })
    expect(groups.status).toBe(201)
    expect(groupAnswer.parse(groups.body)).toEqual(groups.body)
    const made = await admin('POST', 'clients', { id: 'app', group: 'team', ...ALL_FIELDS })
    expect(made.status).toBe(201)
    expect(tokenAnswer.parse(made.body)).toEqual(made.body)
    expect(made.body.client).toMatchObject({
      ...{ id: 'app', source: 'made', group: 'team', rpm: 60, tpm: 100_000, rpd: 1_000 },
      ...{ max_concurrent: 5, models: ALL_FIELDS.models, keys: ALL_FIELDS.keys },
      expires_at: '2099-01-31T00:00:00.000Z',
      tokens: [{ expires_at: null }],
      budgets: [
        { usd: 5, period: 'day', mode: 'exact', strict: true, on_exceeded: 'reject', left_usd: 5 },
        { usd: 50, period: 'month', mode: 'capped', on_exceeded: 'warn', include_byok: true },
      ],
    })
    const plain = await admin('POST', 'clients', { id: 'plain' })
    expect(tokenAnswer.parse(plain.body)).toEqual(plain.body)
    expect((await call(plain.body.token)).status).toBe(200)
    const increase = { usd: 2, until: '2099-01-01T00:00:00Z' }
    const more = await admin('POST', 'clients/app/budgets/day/increase', increase)
    expect(budgetsAnswer.parse(more.body)).toEqual(more.body)
    expect(more.body.budgets[0]).toMatchObject({
      limit_usd: 7,
      increase: { usd: 2, until: '2099-01-01T00:00:00.000Z' },
    })
    const reset = await admin('POST', 'groups/team/budgets/month/reset')
    expect(budgetsAnswer.parse(reset.body)).toEqual(reset.body)
    const rotated = await admin('POST', 'clients/app/rotate', { grace_s: 60 })
    expect(rotated.status).toBe(200)
    expect(tokenAnswer.parse(rotated.body)).toEqual(rotated.body)
    expect(rotated.body.client.tokens).toHaveLength(2)
    for (const [path, schema] of [
      ['clients', clientsAnswer],
      ['clients/app', clientAnswer],
      ['clients/tester', clientAnswer],
      ['groups', groupsAnswer],
      ['groups/team', groupAnswer],
      ['audit', auditAnswer],
    ] as const) {
      const { status, body } = await admin('GET', path)
      expect(status, path).toBe(200)
      expect(schema.parse(body), path).toEqual(body)
    }
    const { body } = await admin('GET', 'clients')
    const sources = body.clients.map(({ id, source }: { id: string; source: string }) => [
      id,
      source,
    ])
    expect(sources).toEqual([
      ['app', 'made'],
      ['plain', 'made'],
      ['tester', 'configured'],
    ])
  })

  it('in parts where a list is long, and nobody is left out for one who was removed meanwhile', async () => {
    const { admin } = deployment().isolate()
    for (const id of ['e', 'c', 'a', 'd', 'b']) await admin('POST', 'clients', { id })
    const part = async (query: string) => {
      const { status, body } = await admin('GET', `clients?${query}`)
      return [status, body.clients.map(({ id }: { id: string }) => id).join(' '), body.after]
    }
    expect(await part('limit=2')).toEqual([200, 'a b', 'b'])
    await admin('DELETE', 'clients/b')
    expect(await part('limit=2&after=b')).toEqual([200, 'c d', 'd'])
    expect(await part('limit=2&after=d')).toEqual([200, 'e tester', null])
    expect(await part('after=c')).toEqual([200, 'd e tester', null])
    expect((await admin('GET', 'groups?limit=1')).body).toEqual({ groups: [], after: null })
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'after=', 'page=2']) {
      const { status, body } = await admin('GET', `clients?${query}`)
      expect([status, messageOf(body)], query).toEqual([400, expect.stringContaining('query')])
    }
  })

  it('to a change: what is given changes, null takes a limit away, the rest stays', async () => {
    const { admin } = deployment().isolate()
    await admin('POST', 'groups', { id: 'team', rpm: 5 })
    await admin('POST', 'clients', { id: 'app', group: 'team', ...ALL_FIELDS })
    const nothing = Object.fromEntries(
      [...Object.keys(ALL_FIELDS), 'group'].map((name) => [name, null]),
    )
    const { body } = await admin('PATCH', 'clients/app', { rpm: 7, models: ['a/b'] })
    expect(body).toMatchObject({ rpm: 7, models: ['a/b'], tpm: 100_000, group: 'team' })
    expect(body.budgets).toHaveLength(2)
    const emptied = await admin('PATCH', 'clients/app', nothing)
    expect(clientAnswer.parse(emptied.body)).toEqual(emptied.body)
    expect(emptied.body).toMatchObject({
      ...{ rpm: null, tpm: null, rpd: null, max_concurrent: null, models: null, keys: null },
      ...{ expires_at: null, group: null, budgets: [] },
    })
    expect((await admin('PATCH', 'groups/team', { rpm: null, rpd: 9 })).body).toMatchObject({
      rpm: null,
      rpd: 9,
    })
    expect((await admin('DELETE', 'clients/app')).status).toBe(204)
    expect((await admin('DELETE', 'groups/team')).status).toBe(204)
    expect((await admin('GET', 'groups')).body).toEqual({ groups: [], after: null })
  })
})

describe('a body', () => {
  it.each([
    ['that is no JSON', '{"id":', /The body is not valid JSON: it ends too early, at line 1/],
    ['that is no object', '[]', /^body: must be a JSON object$/],
    ['that is null', 'null', /^body: must be a JSON object$/],
    ['that is empty', '', /^body\.id: must be a string$/],
    [
      'with a misspelt field',
      { id: 'a', modles: [] },
      /^body\.modles: unknown field; did you mean "models"\?$/,
    ],
    ['with a token of its own', { id: 'a', token: 'x' }, /^body\.token: unknown field/],
    ['with a wrong type', { id: 'a', rpm: '5' }, /^body\.rpm: must be a whole number from 1 to/],
    ['out of bounds', { id: 'a', rpm: 0 }, /given 0$/],
    ['with a broken number', { id: 'a', rpm: 1.5 }, /given 1\.5$/],
    ['with a bad id', { id: 'a b' }, /^body\.id: must be 1 to 64 letters/],
    ['with a key of the pool as an id', { id: 'sk-or-v1-x' }, /must not be a key/],
    ['with null for a new client', { id: 'a', rpm: null }, /^body\.rpm: /],
    [
      'with two faults',
      { id: 'a', rpm: 0, budget: { usd: -1, period: 'year' } },
      /body\.rpm: .*; body\.budget\[0\]\.usd: .*; body\.budget\[0\]\.period: must be one of "day"/,
    ],
    [
      'with two budgets of a period',
      { id: 'a', budget: [1, 2].map((usd) => ({ usd, period: 'day' })) },
      /the only budget of its period/,
    ],
    ['with a date that is none', { id: 'a', expires_at: 'tomorrow' }, /must be a date, such as/],
    ['with a key that is not in the pool', { id: 'a', keys: ['alfa'] }, /^body\.keys\[0\]: .*alfa/],
    ['with a tag that no key has', { id: 'a', keys: ['tag:x'] }, /^body\.keys\[0\]: /],
    ['with an unknown group', { id: 'a', group: 'nope' }, /^body\.group: there is no group/],
  ])('%s is a 400 that says so, and nothing is made', async (_, body, message) => {
    const { admin } = deployment().isolate()
    const answer = await admin('POST', 'clients', body)
    expect(answer.status).toBe(400)
    expect(answer.body.error.metadata).toMatchObject({ reason: 'invalid_request' })
    expect(messageOf(answer.body)).toMatch(message)
    expect((await admin('GET', 'clients')).body.clients).toHaveLength(1)
    expect((await admin('GET', 'audit')).body).toEqual({ entries: [] })
  })

  it.each([
    ['PATCH', 'clients/app', '{}', /^body: must have at least one field to change$/],
    ['PATCH', 'clients/app', '', /^body: must have at least one field to change$/],
    ['PATCH', 'clients/app', { id: 'b' }, /^body\.id: unknown field/],
    ['PATCH', 'clients/app', { group: 'nope' }, /^body\.group: there is no group/],
    ['PATCH', 'clients/app', { keys: ['nope'] }, /^body\.keys\[0\]/],
    ['PATCH', 'clients/app', { models: [] }, /^body\.models: must be a list of 1 to 100/],
    ['PATCH', 'groups/team', { group: 'team' }, /^body\.group: unknown field/],
    [
      'POST',
      'clients/app/rotate',
      { grace_s: -1 },
      /^body\.grace_s: .*from 0 to 2592000, given -1$/,
    ],
    ['POST', 'clients/app/rotate', { grace: 1 }, /did you mean "grace_s"/],
    ['POST', 'clients/app/budgets/day/increase', { usd: 1 }, /^body\.until: must be a date/],
    [
      'POST',
      'clients/app/budgets/day/increase',
      { usd: 1, until: '2020-01-01T00:00:00Z' },
      /^body\.until: must be in the future$/,
    ],
  ])('%s %s with %j is a 400 that says so', async (method, path, body, message) => {
    const { admin } = deployment().isolate()
    await admin('POST', 'groups', { id: 'team' })
    await admin('POST', 'clients', { id: 'app', budget: { usd: 1, period: 'day' } })
    const answer = await admin(method, path, body)
    expect([answer.status, messageOf(answer.body)]).toEqual([400, expect.stringMatching(message)])
    expect((await admin('GET', 'audit')).body.entries).toHaveLength(2)
  })

  it('that is huge is a 413, with and without a length', async () => {
    const { admin, send } = deployment().isolate()
    const huge = JSON.stringify({ id: 'a', models: ['x'.repeat(100_000)] })
    const answer = await admin('POST', 'clients', huge)
    expect([answer.status, answer.body.error.metadata.reason]).toEqual([413, 'body_too_large'])
    let pulls = 0
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulls += 1
        controller.enqueue(new Uint8Array(16 * 1024))
      },
    })
    const headers = { authorization: 'Bearer admin-token-of-the-tests-0000001' }
    const init = { method: 'PATCH', headers, body: endless }
    expect((await send('/admin/api/clients/app', init)).status).toBe(413)
    expect(pulls).toBeLessThan(20)
  })
})

describe('what cannot be done', () => {
  it.each([
    ['GET', 'clients/nobody', undefined, 404, 'unknown_client'],
    ['PATCH', 'clients/nobody', { rpm: 1 }, 404, 'unknown_client'],
    ['DELETE', 'clients/nobody', undefined, 404, 'unknown_client'],
    ['POST', 'clients/nobody/rotate', {}, 404, 'unknown_client'],
    ['GET', 'groups/nobody', undefined, 404, 'unknown_group'],
    ['GET', 'groups/app', undefined, 404, 'unknown_group'],
    ['PATCH', 'groups/nobody', { rpm: 1 }, 404, 'unknown_group'],
    ['DELETE', 'groups/nobody', undefined, 404, 'unknown_group'],
    ['POST', 'clients/nobody/budgets/day/reset', undefined, 404, 'unknown_client'],
    ['POST', 'clients/app/budgets/week/reset', undefined, 404, 'unknown_budget'],
    ['POST', 'clients/app/budgets/year/reset', undefined, 404, 'unknown_budget'],
    ['POST', 'groups/nobody/budgets/day/reset', undefined, 404, 'unknown_group'],
    ['POST', 'clients', { id: 'app' }, 409, 'exists'],
    ['POST', 'clients', { id: 'tester' }, 409, 'exists'],
    ['POST', 'groups', { id: 'team' }, 409, 'exists'],
    ['DELETE', 'groups/team', undefined, 409, 'has_clients'],
    ['PATCH', 'clients/tester', { rpm: 1 }, 409, 'configured'],
    ['DELETE', 'clients/tester', undefined, 409, 'configured'],
    ['POST', 'clients/tester/rotate', {}, 409, 'configured'],
  ])('%s %s is answered with what is wrong, and is not in the audit', async (...of) => {
    const [method, path, body, status, fault] = of
    const { admin } = deployment().isolate()
    await admin('POST', 'groups', { id: 'team' })
    await admin('POST', 'clients', { id: 'app', group: 'team', budget: { usd: 1, period: 'day' } })
    const answer = await admin(method, path, body)
    expect([answer.status, answer.body.error.metadata.fault]).toEqual([status, fault])
    if (fault === 'configured') expect(messageOf(answer.body)).toContain('CLIENT_KEYS')
    expect((await admin('GET', 'audit')).body.entries).toHaveLength(2)
  })

  it('is answered with 503 while the object does not answer, and says if it may be done', async () => {
    const { isolate, object } = deployment()
    const { admin } = isolate()
    object.isDown = true
    for (const [method, path, body, told] of [
      ['GET', 'clients', undefined, 'does not answer now'],
      ['POST', 'clients', { id: 'app' }, 'may be done all the same'],
      ['GET', 'audit', undefined, 'does not answer now'],
    ] as const) {
      const answer = await admin(method, path, body)
      expect([answer.status, answer.body.error.metadata.reason]).toEqual([503, 'pool_unavailable'])
      expect(answer.response.headers.has('retry-after')).toBe(true)
      expect(messageOf(answer.body)).toContain(told)
    }
  })
})

it('the audit has every change, by whom, and nothing that was only read', async () => {
  const { admin } = deployment().isolate()
  const budget = { usd: 1, period: 'day' }
  const orders: [string, string, object?][] = [
    ['POST', 'groups', { id: 'team', budget }],
    ['POST', 'clients', { id: 'app', budget }],
    ['GET', 'clients'],
    ['PATCH', 'clients/app', { group: 'team' }],
    ['PATCH', 'groups/team', { rpm: 5 }],
    ['POST', 'clients/app/rotate'],
    ['POST', 'clients/app/budgets/day/increase', { usd: 1, until: '2099-01-01T00:00:00Z' }],
    ['POST', 'groups/team/budgets/day/reset'],
    ['GET', 'groups/team'],
    ['GET', 'audit'],
    ['DELETE', 'clients/app'],
    ['DELETE', 'groups/team'],
  ]
  for (const [method, path, body] of orders) await admin(method, path, body)
  const { entries } = (await admin('GET', 'audit')).body
  const told = entries.map(({ by, what, target }: Record<string, string>) => [by, what, target])
  expect(told).toEqual(
    [
      ['make_group', 'group:team'],
      ['make_client', 'client:app'],
      ['change_client', 'client:app'],
      ['change_group', 'group:team'],
      ['rotate', 'client:app'],
      ['increase_budget', 'client:app day'],
      ['reset_budget', 'group:team day'],
      ['remove_client', 'client:app'],
      ['remove_group', 'group:team'],
    ]
      .toReversed()
      .map((entry) => ['ADMIN_TOKEN', ...entry]),
  )
})

it('a token is shown once, and is in no other answer, log line or row', async () => {
  const lines = vi.spyOn(console, 'log')
  const { isolate, stub } = deployment()
  const { admin, call } = isolate()
  const { token } = (await admin('POST', 'clients', { id: 'app' })).body
  expect(token).toMatch(/^sy-[0-9a-f]{64}$/)
  const next = (await admin('POST', 'clients/app/rotate')).body.token
  expect(next).not.toBe(token)
  await call(token)
  const answers = await Promise.all([
    admin('GET', 'clients'),
    admin('GET', 'clients/app'),
    admin('GET', 'audit'),
    admin('PATCH', 'clients/app', { rpm: 5 }),
    // Somebody takes the token for the name.
    admin('DELETE', `clients/${token}`),
  ])
  const rows = await runInDurableObject(stub(), (_, { storage }) => [
    ...storage.sql.exec('SELECT * FROM records'),
  ])
  expect(JSON.stringify(rows)).toContain('make_client')
  const texts = [...answers.map(({ body }) => body), rows, lines.mock.calls].map((one) =>
    JSON.stringify(one),
  )
  for (const text of texts) {
    expect(text).not.toContain(token.slice(3, 20))
    expect(text).not.toContain(next.slice(3, 20))
  }
  lines.mockRestore()
})

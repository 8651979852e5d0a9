import { env } from 'cloudflare:workers'
import { expect, it, vi } from 'vitest'
import * as z from 'zod/mini'
import { exportAnswer } from '../../../src/admin/answer-schemas.ts'
import { explainAnswer } from '../../../src/admin/pool/explain-answer-schema.ts'
import {
  keyAnswer,
  poolAnswer,
  refreshAnswer,
} from '../../../src/admin/pool/pool-answer-schemas.ts'
import { type ConfigResult, readConfig } from '../../../src/config/config.ts'
import { TOKEN } from '../../http/gateway-driver.ts'
import { deployment, READER } from '../admin-driver.ts'

/** The keys of a pool's answer by id, each with its reason. */
const reasonsOf = (body: { keys: { id: string; reason: string | null }[] }) =>
  Object.fromEntries(body.keys.map(({ id, reason }) => [id, reason]))

const KEYS = ['alpha', 'beta', 'gamma']

it('GET pool shows all of it, in the words of its schema, to a reader too', async () => {
  const { stub, isolate } = deployment({ READ_TOKEN: READER })
  const { admin, call } = isolate()
  await admin('POST', 'groups', { id: 'team', budget: { usd: 9, period: 'day' } })
  const made = await admin('POST', 'clients', { id: 'app', group: 'team', rpm: 60 })
  expect((await call(made.body.token)).status).toBe(200)
  const expiresAtMs = Date.UTC(2040, 0, 1)
  const lines = { total: 9, completed: 4, failed: 1, claimed: 3 }
  const batch = { id: 'batch_1', clientId: 'app', status: 'in_progress', ...lines, expiresAtMs }
  await stub().noteBatch(batch, false)
  const { status, body } = await admin('GET', 'pool', undefined, READER)
  expect(status).toBe(200)
  expect(poolAnswer.parse(body)).toEqual(body)
  expect(body).toMatchObject({
    ...{ keys_total: 3, keys_usable: 3, panic: false, clients_total: 2, groups_total: 1 },
    queue: { waiting: 0, lanes: [] },
    batches: [
      {
        ...{ id: 'batch_1', client: 'app', status: 'in_progress', lines: { ...lines, waiting: 1 } },
        expires_at: '2040-01-01T00:00:00.000Z',
      },
    ],
    routes: expect.arrayContaining([expect.objectContaining({ models: ['*'], key_count: 3 })]),
    total: { attempts: 1, successes: 1, cost_usd: 0.001 },
    today: { attempts: 1 },
  })
  expect(body.clients[0]).toMatchObject({ id: 'app', rpm: 60, total: { attempts: 1 } })
  expect(body.groups[0]).toMatchObject({
    id: 'team',
    budgets: [{ usd: 9 }],
    today: { attempts: 1 },
  })
  const attempts = (list: { total: { attempts: number } }[]) =>
    list.reduce((sum, { total }) => sum + total.attempts, 0)
  expect(attempts(body.keys)).toBe(1)
  const served = body.keys.find((key: { total: { attempts: number } }) => key.total.attempts === 1)
  const { p50, p90, p99 } = served.answer_ms
  expect(served.answer_ms.count).toBe(1)
  expect([0, p50, p90, p99].toSorted((a, b) => a - b)).toEqual([0, p50, p90, p99])
  expect(p50).toBeGreaterThan(0)
  expect(served.first_output_ms.count).toBe(1)
  const unused = body.keys.find((key: { total: { attempts: number } }) => key.total.attempts === 0)
  expect(unused.answer_ms).toEqual({ count: 0, p50: null, p90: null, p99: null })
  const accounts = body.accounts.filter(({ kind }: { kind: string }) => kind === 'account')
  expect(attempts(accounts)).toBe(1)
  expect(accounts.flatMap(({ keys }: { keys: string[] }) => keys).toSorted()).toEqual(KEYS)
  expect(JSON.stringify(body)).not.toMatch(/sk-or-|sha256/)
})

it('a key is paused, drained, reset and resumed, and who did it is in the audit', async () => {
  const { admin, call } = deployment({ READ_TOKEN: READER }).isolate()
  for (const id of ['alpha', 'beta']) {
    const paused = await admin('POST', `keys/${id}/pause`)
    expect(paused.status).toBe(200)
    expect(keyAnswer.parse(paused.body)).toEqual(paused.body)
    expect(paused.body).toMatchObject({ id, reason: 'paused', halt: { kind: 'paused' } })
  }
  for (let i = 0; i < 4; i++) {
    const answer = await call(TOKEN)
    expect(answer.headers.get('x-switchyard-key')).toBe('gamma')
  }
  const drained = await admin('POST', 'keys/gamma/drain')
  // Its last request has ended, or is about to be settled.
  expect(['draining', 'paused']).toContain(drained.body.reason)
  const none = await call(TOKEN)
  expect(none.status).toBe(503)
  expect(await none.json()).toMatchObject({
    error: { metadata: { reason: 'no_key_available' } },
  })
  expect((await admin('POST', 'keys/gamma/reset')).body.halt).toMatchObject({ kind: 'draining' })
  await vi.waitFor(async () => {
    const { body } = await admin('GET', 'pool')
    expect(body.keys_usable).toBe(0)
    expect(reasonsOf(body)).toEqual({ alpha: 'paused', beta: 'paused', gamma: 'paused' })
  })
  expect((await admin('POST', 'keys/beta/resume')).body).toMatchObject({ reason: null, halt: null })
  expect((await call(TOKEN)).headers.get('x-switchyard-key')).toBe('beta')
  const { body } = await admin('GET', 'audit')
  expect(
    body.entries.map(({ what, target, by }: Record<string, string>) => [what, target, by]),
  ).toEqual([
    ['resume', 'key:beta', 'ADMIN_TOKEN'],
    ['reset', 'key:gamma', 'ADMIN_TOKEN'],
    ['drain', 'key:gamma', 'ADMIN_TOKEN'],
    ['pause', 'key:beta', 'ADMIN_TOKEN'],
    ['pause', 'key:alpha', 'ADMIN_TOKEN'],
  ])
  expect((await admin('POST', 'keys/alpha/resume', undefined, READER)).status).toBe(403)
})

it('what is not there is refused in the shape of all errors, and HEAD answers where GET does', async () => {
  const { admin, send } = deployment().isolate()
  const unknown = await admin('POST', 'keys/nobody/pause')
  expect(unknown.status).toBe(404)
  expect(unknown.body.error.metadata).toMatchObject({ reason: 'not_found', fault: 'unknown_key' })
  for (const [method, path] of [
    ['GET', 'keys/alpha/pause'],
    ['PUT', 'pool'],
    ['POST', 'pool'],
    ['POST', 'keys/alpha/disable'],
    ['GET', 'nothing'],
    ['DELETE', 'explain'],
  ] as const) {
    const { status, body } = await admin(method, path)
    expect([method, path, status, body.error.metadata.reason]).toEqual([
      ...[method, path, 404, 'not_found'],
    ])
  }
  const headers = { authorization: 'Bearer admin-token-of-the-tests-0000001' }
  for (const path of ['pool', 'client-keys', 'explain?model=vendor/model']) {
    const head = await send(`/admin/api/${path}`, { method: 'HEAD', headers })
    expect([path, head.status, await head.text()]).toEqual([path, 200, ''])
  }
})

it('the credit of all keys, or of one, is looked up now, and not twice at once', async () => {
  const { admin } = deployment().isolate()
  const all = await admin('POST', 'credit/refresh')
  expect(all.status).toBe(200)
  expect(refreshAnswer.parse(all.body)).toEqual(all.body)
  const states = Object.fromEntries(
    all.body.keys.map(({ id, state }: Record<string, string>) => [id, state]),
  )
  expect(states).toEqual({ alpha: 'found', beta: 'found', gamma: 'found' })
  const { body } = await admin('GET', 'pool')
  expect(body.keys[0].credit).toMatchObject({ limit_usd: null, stale: false })
  // A moment ago is now.
  const again = await admin('POST', 'credit/refresh', { key: 'beta' })
  expect(again.body.keys).toEqual([{ id: 'beta', state: 'under_way', credit: null }])
  expect((await admin('POST', 'credit/refresh', { key: 'nobody' })).status).toBe(404)
  expect((await admin('POST', 'credit/refresh', { keys: [] })).status).toBe(400)
  const audit = await admin('GET', 'audit')
  expect(audit.body.entries.map(({ target }: Record<string, string>) => target)).toEqual([
    ...['key:beta', 'pool'],
  ])
})

it('explain says which key, or why none, by client, alias, conversation and limit', async () => {
  const { admin, call } = deployment().isolate()
  const explain = async (query: string) => {
    const { status, body } = await admin('GET', `explain?${query}`)
    if (status === 200) expect(explainAnswer.parse(body)).toEqual(body)
    return { status, body }
  }
  const open = await explain('model=vendor/model&conversation=talk&tokens=100')
  expect(open.body).toMatchObject({ would: 'serve', because: null, limit: null, client: null })
  expect(KEYS).toContain(open.body.chosen.key)
  // The same conversation goes the same way, and nothing was taken for the question.
  expect((await explain('model=vendor/model&conversation=talk')).body.chosen).toEqual(
    open.body.chosen,
  )
  expect((await admin('GET', 'pool')).body.total.attempts).toBe(0)
  await admin('POST', 'clients', { id: 'part', keys: ['beta'], models: ['vendor/*'] })
  const part = await explain('model=vendor/model&client=part')
  expect(part.body.chosen.key).toBe('beta')
  const alpha = part.body.keys.find(({ id }: { id: string }) => id === 'alpha')
  expect(alpha).toMatchObject({ eligible: false, reasons: ['not_for_client'] })
  expect((await explain('model=other/model&client=part')).body).toMatchObject({
    ...{ would: 'refuse', because: 'model_not_allowed' },
  })
  const made = await admin('POST', 'clients', { id: 'few', rpd: 1 })
  expect((await explain('model=vendor/model&client=few')).body.would).toBe('serve')
  expect((await call(made.body.token)).status).toBe(200)
  expect((await explain('model=vendor/model&client=few')).body).toMatchObject({
    ...{ would: 'refuse', because: 'client_limit' },
    limit: { owner: 'client:few', kind: 'rate', limit: 'rpd', period: null },
  })
  for (const id of KEYS) await admin('POST', `keys/${id}/pause`)
  expect((await explain('model=vendor/model')).body).toMatchObject({
    ...{ would: 'refuse', because: 'no_key', chosen: null, reasons: { paused: 3 }, retry_at: null },
  })
  for (const [query, status] of [
    ['model=vendor/model&client=nobody', 404],
    ['client=part', 400],
    ['model=vendor/model&tokens=many', 400],
    ['model=vendor/model&limit=1', 400],
  ] as const) {
    expect([query, (await explain(query)).status]).toEqual([query, status])
  }
})

it('clients made at run time are given as CLIENT_KEYS takes them, and call with the same tokens', async () => {
  const { admin } = deployment().isolate()
  await admin('POST', 'groups', { id: 'team', budget: { usd: 9, period: 'day', mode: 'exact' } })
  const fields = { group: 'team', rpm: 60, models: ['vendor/*'], keys: ['alpha', 'account:acme'] }
  const expires_at = '2099-01-31T00:00:00Z'
  await admin('POST', 'clients', { id: 'app', ...fields, expires_at })
  const { body: rotated } = await admin('POST', 'clients/app/rotate', {})
  const { status, body } = await admin('GET', 'client-keys')
  expect(status).toBe(200)
  expect(z.parse(exportAnswer, body)).toEqual(body)
  const config: ConfigResult = readConfig({ ...env, CLIENT_KEYS: JSON.stringify(body) })
  if (!config.ok) throw new Error(config.faults.join('\n'))
  expect(config.config.clients.map(({ id }) => id)).toEqual(['app'])
  const [app] = (await admin('GET', 'clients')).body.clients.filter(
    ({ id }: { id: string }) => id === 'app',
  )
  expect(body.clients[0]).toMatchObject({ ...fields, id: 'app', expires_at: app.expires_at })
  // With the configuration made of it, the youngest token opens the gateway.
  const { call } = deployment({ CLIENT_KEYS: JSON.stringify(body) }).isolate()
  expect((await call(rotated.token)).status).toBe(200)
  expect(JSON.stringify(body)).not.toContain(rotated.token)
})

it('while the pool’s object does not answer, every route says so', async () => {
  const { isolate, object } = deployment()
  const { admin } = isolate()
  object.isDown = true
  for (const [method, path] of [
    ['GET', 'pool'],
    ['GET', 'explain?model=vendor/model'],
    ['GET', 'client-keys'],
    ['POST', 'keys/alpha/pause'],
    ['POST', 'credit/refresh'],
  ] as const) {
    const { status, response } = await admin(method, path)
    expect([path, status, response.headers.has('retry-after')]).toEqual([path, 503, true])
  }
})

import { expect, test } from 'vitest'
import { nanosOf } from '../simulator/charge-book.ts'
import {
  type Gateway,
  journeyOf,
  MESSAGES,
  startGateway,
  startGatewayWithClock,
  TOKEN,
  until,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()

/** Fires the cron trigger, as the platform does once a minute. */
async function minute(gateway: Gateway): Promise<void> {
  const { outcome } = await gateway.worker.scheduled({ cron: '* * * * *' })
  expect(outcome).toBe('ok')
}

const health = async (gateway: Gateway) => JSON.parse(await (await gateway.send('/healthz')).text())

const lookups = async () =>
  (await upstream.control.log()).filter(({ path }) => path.endsWith('/key')).length

test('before the first request neither the cron trigger nor a monitor calls the object', async () => {
  const gateway = await startGateway(upstream)
  await minute(gateway)
  expect(await health(gateway)).toEqual({ status: 'ok', keys_usable: 3, keys_total: 3 })
  expect(await gateway.worker.listDurableObjectIds('KEY_POOL')).toEqual([])
  expect(await upstream.control.log()).toEqual([])
})

test('a key that was revoked and is repaired comes back without traffic', async () => {
  const { gateway, pass } = await startGatewayWithClock(upstream, {
    policy: { strategy: 'priority', credit: { refresh_s: 30 } },
  })
  await upstream.control.patchKey('alpha', { disabled: true })
  expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
  await until(gateway.pool, ({ keys }) => keys[0]?.clearsAtMs === null && keys[0].reason !== null)
  expect(await health(gateway)).toMatchObject({ status: 'ok', keys_usable: 2 })
  await upstream.control.patchKey('alpha', { disabled: false })
  const before = await lookups()
  // No request from here on: only the cron trigger, and a monitor.
  await minute(gateway)
  expect(await health(gateway)).toMatchObject({ keys_usable: 2 })
  await until(
    async () => {
      await pass(5_000)
      await minute(gateway)
      return await health(gateway)
    },
    ({ keys_usable: usable }) => usable === 3,
  )
  // Only the key that was out was asked about: the others can wait for the next request.
  expect((await lookups()) - before).toBe(1)
  expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'alpha', attempts: 1 })
})

test('what an answer did not tell is booked as OpenRouter charged it', {
  timeout: 120_000,
}, async () => {
  const ADMIN = 'admin-token-of-the-e2e-tests-000001'
  const budget = { usd: 50, period: 'day' }
  const clients = [{ id: 'app', token: TOKEN, group: 'team', budget }]
  const gateway = await startGateway(upstream, {
    secrets: {
      CLIENT_KEYS: JSON.stringify({ groups: [{ id: 'team', budget }], clients }),
      ADMIN_TOKEN: ADMIN,
    },
  })
  const { control } = upstream
  await control.patchSettings({ answerTokens: 300, tokensPerSecond: 100, generationAfterMs: 1_000 })
  const asked = { model: 'anthropic/claude-sonnet-4.5', max_tokens: 300 }
  /** Leaves after so many chunks; null reads the answer to its end. */
  const call = async (path: string, body: object, chunks: number | null) => {
    const client = new AbortController()
    const response = await gateway.send(`/api/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...asked, ...body }),
      signal: client.signal,
    })
    expect(response.status).toBe(200)
    if (chunks === null) await response.arrayBuffer()
    const reader = chunks === null ? null : response.body?.getReader()
    for (let read = 0; read < (chunks ?? 0); read++) await reader?.read()
    client.abort()
  }
  const streamed = { stream: true }
  await Promise.all(
    [1, 5, 40].flatMap((chunks) => [
      call('chat/completions', { ...streamed, messages: MESSAGES }, chunks),
      call('messages', { ...streamed, messages: MESSAGES }, chunks),
      call('responses', { ...streamed, input: 'Wie geht’s?' }, chunks),
      call('completions', { ...streamed, prompt: 'Wie geht’s?' }, chunks),
    ]),
  )
  await control.patchSettings({ tokensPerSecond: null })
  await control.rule({ fault: 'no-usage' })
  await call('chat/completions', { messages: MESSAGES }, null)
  await call('messages', { ...streamed, messages: MESSAGES }, null)
  const spentBy = async (owner: string) => {
    const headers = { authorization: `Bearer ${ADMIN}` }
    const response = await gateway.send(`/admin/api/${owner}`, { headers })
    const { budgets } = JSON.parse(await response.text())
    return [nanosOf(budgets[0].spent_usd), nanosOf(budgets[0].reserved_usd)]
  }
  const { keys: first } = await gateway.settledPool()
  expect(first.reduce((sum, { total }) => sum + total.estimated, 0)).toBe(14)
  const { keys } = await until(
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      await minute(gateway)
      return await gateway.pool()
    },
    (pool) => pool.keys.every(({ total }) => total.estimated === 0),
    60_000,
  )
  const { totalNanos, byKey } = await control.charges()
  const booked = keys.filter(({ total }) => total.attempts > 0)
  expect(Object.fromEntries(booked.map(({ id, total }) => [id, nanosOf(total.costUsd)]))).toEqual(
    byKey,
  )
  expect(await spentBy('clients/app')).toEqual([totalNanos, 0])
  expect(await spentBy('groups/team')).toEqual([totalNanos, 0])
})

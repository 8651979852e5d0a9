import { afterEach, expect, it, vi } from 'vitest'
import type { Question } from '../../src/balancing/explanation.ts'
import { keyId, modelId } from '../../src/balancing/ids.ts'
import { createPoolClient } from '../../src/key-pool/pool-client.ts'
import {
  ask,
  benching,
  deployed,
  failing,
  give,
  grantOf,
  keyOf,
  keyReportOf,
  leaseRequestOf,
  NOTHING,
  newPool,
} from './object-driver.ts'

afterEach(() => void vi.useRealTimers())

function questionOf(changes: Partial<Question> = {}): Question {
  const model = modelId('vendor/model')
  return { asked: model, models: [model], affinity: null, tokens: 0, ...changes }
}

it('names the key that would be chosen, each one’s score, and what is against the others', async () => {
  const pool = newPool()
  for (let i = 0; i < 3; i++) await give(pool, await grantOf(pool, 'alpha'), failing())
  const untilMs = Date.now() + 60_000
  const order = { scope: 'account', reason: 'account_rate_limited' } as const
  const bench = benching({ ...order, term: { kind: 'until', untilMs } })
  await give(pool, await grantOf(pool, 'gamma'), bench)
  await ask(pool)
  const explanation = await pool.explain(questionOf())
  expect(explanation).toMatchObject({
    route: ['*'],
    strategy: 'least-busy',
    affinity: 'session',
    best: 'lowest',
    chosen: { key: 'beta', account: 'acme', model: 'vendor/model' },
    refusal: null,
    panic: false,
    waiting: 0,
    keys: [
      { key: 'alpha', eligible: false, reasons: ['breaker_open'] },
      { key: 'beta', eligible: true, score: 1 },
      { key: 'gamma', eligible: false, reasons: ['account_rate_limited'], clearsAtMs: untilMs },
    ],
  })
})

it('says why none would be, and when one may be free', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const pool = newPool()
  const untilMs = Date.now() + 60_000
  for (const key of ['alpha', 'gamma']) {
    const order = { scope: 'account', reason: 'account_rate_limited' } as const
    const term = { kind: 'until', untilMs } as const
    await give(pool, await grantOf(pool, key), benching({ ...order, term }))
  }
  expect(await pool.explain(questionOf())).toMatchObject({
    chosen: null,
    refusal: { cause: 'no_key', reasons: { account_rate_limited: 3 }, retryAtMs: untilMs },
  })
})

it('goes by the route, the models and the conversation that are asked about', async () => {
  const keys = [
    { ...keyOf('alpha'), account: 'acme' },
    { ...keyOf('beta'), account: 'globex' },
    { ...keyOf('gamma'), account: 'globex' },
  ]
  const policy = {
    strategy: 'priority',
    routes: [
      { models: ['even/*'], strategy: 'round-robin' },
      { models: ['rare/*'], keys: ['gamma'], strategy: 'round-robin', affinity: 'none' },
    ],
  }
  const about = (changes: Partial<Question>) =>
    deployed(newPool(), { keys, policy }, (object) => object.explain(questionOf(changes)))
  expect(await about({})).toMatchObject({ chosen: { key: 'alpha' }, strategy: 'priority' })
  expect(await about({ models: [modelId('rare/model')] })).toMatchObject({
    route: ['rare/*'],
    strategy: 'round-robin',
    affinity: 'none',
    chosen: { key: 'gamma', model: 'rare/model' },
    keys: [{ reasons: ['not_in_route'] }, { reasons: ['not_in_route'] }, { eligible: true }],
  })
  const accounts = new Set<string | undefined>()
  // Under a strategy without an order of its own hashing places a conversation.
  const models = [modelId('even/model')] as const
  for (const id of ['first', 'second', 'third', 'fourth', 'fifth', 'sixth']) {
    const explanation = await about({ models, affinity: { kind: 'conversation', id } })
    const again = await about({ models, affinity: { kind: 'conversation', id } })
    expect(again.chosen?.account).toBe(explanation.chosen?.account)
    accounts.add(explanation.chosen?.account)
  }
  expect(accounts).toEqual(new Set(['acme', 'globex']))
})

it('takes no lease, no turn and no part of a limit, however often it is asked', async () => {
  const keys = ['alpha', 'beta', 'gamma'].map((id) => ({ ...keyOf(id), rpm: 2, tpm: 5_000 }))
  const policy = { strategy: 'round-robin' }
  const served = await deployed(newPool(), { keys, policy }, (object) => {
    const turns = Array.from({ length: 6 }, () => {
      const before = object.snapshot()
      const explanations = Array.from({ length: 20 }, () =>
        object.explain(questionOf({ tokens: 1_000 })),
      )
      expect(object.snapshot()).toEqual(before)
      const [decision] = object.exchange({
        ...NOTHING,
        wants: [leaseRequestOf({ tokens: 1_000 })],
      }).decisions
      const key = decision?.kind === 'grant' ? decision.keyId : null
      return { key, explained: explanations.map(({ chosen }) => chosen?.key) }
    })
    expect(object.explain(questionOf())).toMatchObject({ refusal: { reasons: { at_rpm: 3 } } })
    return turns
  })
  expect(new Set(served.map(({ key }) => key))).toEqual(new Set(['alpha', 'beta', 'gamma']))
  // The first keys are random. From then on the explanation names the key whose turn it is.
  for (const { key, explained } of served.slice(2))
    expect(new Set(explained)).toEqual(new Set([key]))
})

it('counts those who wait, and shows no secret', async () => {
  const pool = newPool()
  const triedKeys = ['alpha', 'beta'].map(keyId)
  const wants = Array.from({ length: 53 }, () => leaseRequestOf({ triedKeys, waitMs: 10_000 }))
  await pool.exchange({ ...NOTHING, wants, lookups: [keyReportOf('gamma', { owner: null })] })
  const explanation = await pool.explain(questionOf())
  expect(explanation.waiting).toBe(3)
  expect(JSON.stringify(explanation)).not.toMatch(/sk-or-|sy-test-token-0001/)
})

it('reaches the Worker through the pool’s client', async () => {
  const { env } = await import('cloudflare:workers')
  expect(await createPoolClient(env.KEY_POOL).explain(questionOf())).toMatchObject({
    kind: 'answer',
    value: { model: 'vendor/model', keys: [{}, {}, {}] },
  })
})

import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import {
  journeyOf,
  keyOf,
  MESSAGES,
  secretOf,
  startGateway,
  useGateway,
  useSimulator,
} from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream)

/** Faults of the caller or the model, and policies that another account must not get round. */
const FAULTS: readonly (readonly [fault: string, status: number])[] = [
  ['400', 400],
  ['model-404', 404],
  ['parameters-404', 404],
  ['data-policy-404', 404],
  ['guardrail-404', 404],
  ['405', 405],
  ['409', 409],
  ['410', 410],
  ['412', 412],
  ['413', 413],
  ['415', 415],
  ['422', 422],
  ['moderation-403', 403],
  ['patterns-403', 403],
  ['content-policy-403', 403],
  ['refusal-403', 403],
  ['harness-403', 403],
  ['attestation-403', 403],
  ['region-403', 403],
  ['management-403', 403],
]

/** The simulator's own answer to the first key. */
async function directly(body: object): Promise<Response> {
  return await fetch(`${upstream.url()}/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${secretOf('alpha')}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ messages: MESSAGES, ...body }),
  })
}

describe('an error that is nobody’s key’s fault comes back as it was, after one attempt:', () => {
  test.each(FAULTS)('%s', async (fault, status) => {
    const body = { model: `sim/${fault}`, stream: true }
    const original = await directly(body)
    const response = await gateway().chat(body)
    expect(response.status).toBe(status)
    expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
    expect(response.headers.get('content-type')).toBe(original.headers.get('content-type'))
    expect(await response.text()).toBe(await original.text())
  })

  test('the simulator’s own refusals too: a model that does not exist, a body without messages', async () => {
    for (const body of [
      { model: 'no/such-model' },
      { model: 'openai/gpt-4o-mini', messages: [] },
    ]) {
      const original = await directly(body)
      const response = await gateway().chat(body)
      expect(response.status).toBe(400)
      expect(await response.text()).toBe(await original.text())
      expect(journeyOf(response)).toEqual({ key: 'alpha', attempts: 1 })
    }
  })
})

test('a hundred such errors mark no key', async () => {
  const pestered = await startGateway(upstream)
  const send = async (i: number) => {
    const [fault, status] = FAULTS[i % FAULTS.length] ?? ['400', 400]
    const response = await pestered.chat({ model: `sim/${fault}`, stream: i % 3 === 0 })
    expect(response.status).toBe(status)
    await response.arrayBuffer()
  }
  for (let i = 0; i < 100; i += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, j) => send(i + j)))
  }
  const pool = await pestered.settledPool()
  expect(keyOf(pool, 'alpha')).toMatchObject({ reason: null, breaker: 'closed' })
  expect(keyOf(pool, 'alpha').total).toMatchObject({ attempts: 100, failures: 0, ignored: 100 })
  expect(pool.keys.map(({ total }) => total.attempts)).toEqual([100, 0, 0])
  const { stats } = await upstream.control.waitFor(({ stats }) => stats.openNow === 0)
  expect(stats.requests).toBe(100)
})

test('a provider’s 400 is tried at most once more, comes back as it was, and marks no key', async () => {
  const original = await directly({ model: 'sim/provider-400' })
  const before = await gateway().settledPool()
  const response = await gateway().chat({ model: 'sim/provider-400' })
  expect(response.status).toBe(400)
  expect(journeyOf(response).attempts).toBeLessThanOrEqual(2)
  // Only the account in the answer may differ, so the errors are compared.
  const { error } = JSON.parse(await response.text())
  expect(error).toEqual(JSON.parse(await original.text()).error)
  const after = await gateway().settledPool()
  for (const [i, key] of after.keys.entries()) {
    expect(key).toMatchObject({ reason: null, breaker: 'closed' })
    expect(key.total.failures).toBe(before.keys[i]?.total.failures)
  }
})

test('OpenAI’s client sees the error’s own class, not one of ours', async () => {
  const create = (fault: string) =>
    gateway()
      .client()
      .chat.completions.create({ model: `sim/${fault}`, messages: MESSAGES })
  await expect(create('400')).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  await expect(create('moderation-403')).rejects.toBeInstanceOf(OpenAI.PermissionDeniedError)
  await expect(create('model-404')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  await expect(create('422')).rejects.toBeInstanceOf(OpenAI.UnprocessableEntityError)
})

import { describe, expect, test } from 'vitest'
import {
  type Gateway,
  type GatewayOptions,
  journeyOf,
  keyOf,
  sendMany,
  servedBy,
  startGateway,
  useSimulator,
  warmUp,
} from './harness.ts'

const upstream = useSimulator()

/** A model whose answers cost enough to spend a limit within a test. */
const COSTLY = 'anthropic/claude-sonnet-4.5'

/** A gateway that has looked up all of its keys. */
async function warmed(options: GatewayOptions): Promise<Gateway> {
  const gateway = await startGateway(upstream, options)
  await warmUp(gateway)
  return gateway
}

describe('a request that is too large for the money', () => {
  const large = { model: COSTLY, max_tokens: 50_000 }
  const small = { model: COSTLY, max_tokens: 100 }

  test('of a key goes to its sister at once the next time, and a smaller one to the key', async () => {
    await upstream.control.patchKey('alpha', { limitUsd: 0.5 })
    await upstream.control.patchSettings({ answerTokens: 5 })
    const gateway = await warmed({ keys: ['alpha', 'beta', 'gamma'] })
    expect(journeyOf(await gateway.chat(large))).toEqual({ key: 'beta', attempts: 2 })
    await gateway.settledPool()
    expect(journeyOf(await gateway.chat(large))).toEqual({ key: 'beta', attempts: 1 })
    // Without a limit of its own, the model's largest answer counts.
    expect(journeyOf(await gateway.chat({ model: COSTLY }))).toEqual({ key: 'beta', attempts: 1 })
    expect(journeyOf(await gateway.chat(small))).toEqual({ key: 'alpha', attempts: 1 })
  })

  test('of an account goes to another account at once the next time', async () => {
    await upstream.control.patchAccount('acme', { balanceUsd: 0.5 })
    await upstream.control.patchSettings({ answerTokens: 5 })
    const gateway = await warmed({ keys: ['beta', 'alpha', 'gamma'] })
    expect(journeyOf(await gateway.chat(large))).toEqual({ key: 'gamma', attempts: 2 })
    await gateway.settledPool()
    expect(journeyOf(await gateway.chat(large))).toEqual({ key: 'gamma', attempts: 1 })
    expect(journeyOf(await gateway.chat(small))).toEqual({ key: 'beta', attempts: 1 })
  })
})

test('a key serves until its max_spend pays for no more, and OpenRouter is asked for no more', async () => {
  await upstream.control.patchSettings({ answerTokens: 200, tokensPerSecond: null })
  const gateway = await warmed({
    keys: [{ name: 'alpha', max_spend: { usd: 0.03, period: 'day' } }, 'gamma'],
  })
  const chat = () => gateway.chat({ model: COSTLY, max_tokens: 200 })
  const served = servedBy(await sendMany(40, 2, chat))
  expect(served.alpha).toBeGreaterThan(5)
  expect(served.gamma).toBeGreaterThan(20)
  const alpha = keyOf(await gateway.settledPool(), 'alpha')
  expect(alpha.total.costUsd).toBeGreaterThan(0.9 * 0.03)
  expect(alpha.total.costUsd).toBeLessThan(0.04)
  expect(alpha.maxSpend).toMatchObject({
    spentUsd: expect.closeTo(alpha.total.costUsd, 9),
    reservedUsd: 0,
    lostUsd: 0,
  })
})

describe('a budget of OpenRouter’s that is spent', () => {
  const spent = { limitUsd: 1, spendUsd: 1, resetInterval: 'daily' } as const

  test('of a member puts aside all keys of that member, and no other', async () => {
    const gateway = await warmed({ keys: ['alpha', 'beta', 'gamma'] })
    for (const name of ['alpha', 'beta']) {
      await upstream.control.patchKey(name, { budgets: [{ ...spent, scope: 'member' }] })
    }
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 2 })
    const { keys } = await gateway.settledPool()
    expect(keys.map(({ reason }) => reason)).toEqual([
      ...['budget_layer_spent', 'budget_layer_spent', null],
    ])
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'gamma', attempts: 1 })
  })

  test('of a key itself leaves its sister', async () => {
    const gateway = await warmed({ keys: ['alpha', 'beta', 'gamma'] })
    await upstream.control.patchKey('alpha', { budgets: [{ ...spent, scope: 'api_key' }] })
    expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'beta', attempts: 2 })
    expect(keyOf(await gateway.settledPool(), 'alpha').reason).toBe('key_spent')
  })

  test('is known from the lookup, before OpenRouter refuses a request', async () => {
    await upstream.control.patchSettings({ budgetsField: 'budget_layers' })
    const budgets = [{ ...spent, scope: 'workspace' } as const]
    const gateway = await warmed({ keys: ['gamma', 'alpha'] })
    await upstream.control.patchKey('alpha', { budgets })
    const fresh = await warmed({ keys: ['gamma', 'alpha'] })
    expect(keyOf(await fresh.pool(), 'alpha').reason).toBe('budget_layer_spent')
    expect(keyOf(await gateway.pool(), 'alpha').reason).toBe(null)
  })
})

test('an account without free requests is passed over before its first 429', async () => {
  await upstream.control.patchAccount('acme', { freePerDay: 0 })
  const gateway = await warmed({ keys: ['alpha', 'gamma'] })
  const response = await gateway.chat({ model: 'meta-llama/llama-3.3-70b-instruct:free' })
  expect(journeyOf(response)).toEqual({ key: 'gamma', attempts: 1 })
  expect(journeyOf(await gateway.chat({}))).toEqual({ key: 'alpha', attempts: 1 })
})

// What a pool can learn about its keys without an inference: caps, balances and accounts.

import { describe, expect, it } from 'vitest'
import { ALPHA, bodyOf, DELTA, errorOf, GAMMA, serveSimulator } from './served-simulator.ts'
import type { WorldInput } from './world.ts'

const { chat, control, get } = serveSimulator()

const keyOf = async (headers: Record<string, string>, path = 'key') =>
  (await bodyOf(await get(`/api/v1/${path}`, headers))).data

describe('GET /key', () => {
  it('tells organisations, persons, and capped from uncapped keys', async () => {
    const world: WorldInput = {
      accounts: [
        { id: 'acme', organizationId: 'org_acme', creatorUserId: 'user_ada' },
        { id: 'globex', organizationId: 'org_globex', creatorUserId: 'user_ada' },
        { id: 'solo', creatorUserId: 'user_milton' },
      ],
      keys: [
        { key: 'sk-or-v1-simulated-alpha', name: 'alpha', accountId: 'acme' },
        {
          key: 'sk-or-v1-simulated-gamma',
          name: 'gamma',
          accountId: 'globex',
          limitUsd: 3,
          limitReset: 'weekly',
        },
        { key: 'sk-or-v1-simulated-delta', name: 'delta', accountId: 'solo', limitUsd: 2 },
      ],
    }
    await control.reset(world)
    expect(await keyOf(ALPHA)).toMatchObject({
      organization_id: 'org_acme',
      creator_user_id: 'user_ada',
      limit: null,
      limit_remaining: null,
      limit_reset: null,
    })
    expect(await keyOf(GAMMA)).toMatchObject({
      organization_id: 'org_globex',
      limit: 3,
      limit_remaining: 3,
      limit_reset: 'weekly',
    })
    expect(await keyOf(DELTA)).toMatchObject({
      organization_id: null,
      creator_user_id: 'user_milton',
      limit: 2,
      limit_reset: null,
    })
  })

  it('is counted for each key, under either name', async () => {
    await keyOf(ALPHA)
    await keyOf(ALPHA, 'auth/key')
    await keyOf(GAMMA)
    const { perKey, paths, requests } = await control.stats()
    expect([perKey.alpha?.lookups, perKey.gamma?.lookups, perKey.beta?.lookups]).toEqual([2, 1, 0])
    expect(paths).toEqual({ '/key': 2, '/auth/key': 1 })
    expect(requests).toBe(0)
    const log = await control.log()
    expect(log.map(({ key, path }) => [key, path])).toEqual([
      ['alpha', '/key'],
      ['alpha', '/auth/key'],
      ['gamma', '/key'],
    ])
  })

  it('can be there under its older name alone, or its newer', async () => {
    const statuses = async () =>
      Promise.all(
        ['key', 'auth/key'].map(async (path) => (await get(`/api/v1/${path}`, ALPHA)).status),
      )
    expect(await statuses()).toEqual([200, 200])
    await control.patchSettings({ keyPaths: 'older' })
    expect(await statuses()).toEqual([404, 200])
    await control.patchSettings({ keyPaths: 'newer' })
    expect(await statuses()).toEqual([200, 404])
  })

  it('can fail alone, while models answer', async () => {
    const id = await control.rule({ fault: 'plain-503', match: { path: '/key' } })
    expect((await get('/api/v1/key', ALPHA)).status).toBe(503)
    expect((await get('/api/v1/auth/key', ALPHA)).status).toBe(200)
    expect((await chat()).status).toBe(200)
    await control.deleteRule(id)
    expect((await get('/api/v1/key', ALPHA)).status).toBe(200)
  })
})

describe('budgets that cover a key', () => {
  const budget = { limitUsd: 2, spendUsd: 2, resetInterval: 'daily' } as const

  it('are listed by /key, the tightest by its own name', async () => {
    expect(await keyOf(ALPHA)).not.toHaveProperty('budgets')
    const wide = { ...budget, scope: 'workspace', limitUsd: 50 } as const
    await control.patchKey('alpha', { budgets: [wide, { ...budget, scope: 'member' }] })
    const { budgets, effective_budget } = await keyOf(ALPHA)
    expect(budgets).toMatchObject([
      { scope: 'workspace', remaining_usd: 48 },
      { scope: 'member', limit_usd: 2, spend_usd: 2, remaining_usd: 0, reset_interval: 'daily' },
    ])
    expect(effective_budget).toMatchObject({ scope: 'member' })
    await control.patchSettings({ budgetsField: 'budget_layers' })
    expect((await keyOf(ALPHA)).budget_layers).toEqual(budgets)
  })

  it.each([
    ['member', 'guardrail_budget'],
    ['workspace', 'workspace_budget'],
  ] as const)(
    'answer 403 while that of a %s is spent, and say until when',
    async (scope, source) => {
      await control.patchKey('alpha', { budgets: [{ ...budget, scope }] })
      const response = await chat()
      expect([response.status, response.headers.get('retry-after')]).toEqual([403, null])
      const { metadata } = (await bodyOf(response)).error
      const resets_at = expect.stringMatching(/T00:00:00\.000Z$/)
      const limit_source = `openrouter_${source}`
      expect(metadata).toMatchObject({ limit_source, scope, limit_usd: 2, spend_usd: 2, resets_at })
      await control.patchKey('alpha', { budgets: [{ ...budget, scope, spendUsd: 1.999999999 }] })
      expect((await chat()).status).toBe(200)
      // What that answer cost was the rest of it. It is booked when the answer has been sent.
      await expect.poll(async () => (await chat()).status).toBe(403)
    },
  )
})

describe('topping up', () => {
  it('lets a spent key answer again', async () => {
    await control.patchKey('delta', { limitUsd: 0 })
    expect((await chat({}, DELTA)).status).toBe(403)
    expect((await keyOf(DELTA)).limit_remaining).toBe(0)
    await control.patchKey('delta', { limitUsd: 1 })
    expect((await keyOf(DELTA)).limit_remaining).toBe(1)
    expect((await chat({}, DELTA)).status).toBe(200)
  })

  it('lets an empty account answer again', async () => {
    await control.patchAccount('globex', { balanceUsd: 0 })
    expect((await chat({}, GAMMA)).status).toBe(402)
    await control.patchAccount('globex', { balanceUsd: 1 })
    expect((await chat({}, GAMMA)).status).toBe(200)
  })
})

describe('GET /credits', () => {
  it('is for management keys alone, unless the settings allow it', async () => {
    const refused = await get('/api/v1/credits', ALPHA)
    expect(refused.status).toBe(403)
    expect(await errorOf(refused)).toEqual({
      code: 403,
      message: 'Only management keys can perform this operation',
    })
    await control.patchSettings({ creditsForOrdinaryKeys: true })
    const { usage } = await bodyOf(await chat({ model: 'openai/gpt-4o' }))
    const { data } = await bodyOf(await get('/api/v1/credits', ALPHA))
    expect(data.total_credits).toBe(100)
    expect(data.total_credits - data.total_usage).toBeCloseTo(50 - usage.cost, 9)
    await control.patchAccount('acme', { balanceUsd: 250 })
    const topped = await bodyOf(await get('/api/v1/credits', ALPHA))
    expect(topped.data).toEqual({ total_credits: 250, total_usage: 0 })
    expect((await get('/api/v1/credits')).status).toBe(401)
  })
})

describe('one model’s provider', () => {
  it('can fail and recover while the other models answer', async () => {
    const match = { model: 'openai/gpt-4o' }
    const id = await control.rule({ fault: 'provider-502', match })
    const failed = await chat(match)
    expect(failed.status).toBe(502)
    expect((await errorOf(failed)).metadata.provider_name).toEqual(expect.any(String))
    expect((await chat()).status).toBe(200)
    await control.deleteRule(id)
    expect((await chat(match)).status).toBe(200)
  })
})

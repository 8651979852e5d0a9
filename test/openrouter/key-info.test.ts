import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readBalance, readKeyInfo } from '../../src/openrouter/key-info.ts'

/** A Saturday. */
const NOW = Date.parse('2026-11-21T10:20:30.500Z')

const answer = {
  data: {
    label: 'sk-or-v1-abc...123',
    limit: 20,
    limit_remaining: 7.31,
    limit_reset: 'monthly',
    usage: 12.69,
    is_free_tier: false,
    creator_user_id: 'user_1',
    organization_id: 'org_1',
    expires_at: '2027-01-31T12:00:00.000Z',
    rate_limit: { requests: -1, interval: '10s', note: 'deprecated' },
  },
}
const withData = (data: Record<string, unknown>) => ({ data: { ...answer.data, ...data } })
const read = (data: Record<string, unknown>) => readKeyInfo(200, withData(data), NOW)

describe('readKeyLookup', () => {
  it('reads the cap, what is left of it, its reset, the key’s end and who pays', () => {
    expect(readKeyInfo(200, answer, NOW)).toEqual({
      kind: 'valid',
      limitUsd: 20,
      remainingUsd: 7.31,
      resetsAtMs: Date.parse('2026-12-01T00:00:00Z'),
      expiresAtMs: Date.parse('2027-01-31T12:00:00Z'),
      owner: 'org_1',
      ...{ layer: null, creator: 'user_1', workspace: null, freeRemaining: null },
      usageDailyUsd: null,
    })
  })

  it('takes no cap for unlimited, not for empty', () => {
    const uncapped = { kind: 'valid', limitUsd: null, remainingUsd: null, resetsAtMs: null }
    expect(read({ limit: null, limit_remaining: null, limit_reset: null })).toMatchObject(uncapped)
    expect(readKeyInfo(200, { data: {} }, NOW)).toEqual({
      ...uncapped,
      expiresAtMs: null,
      owner: null,
      ...{ layer: null, creator: null, workspace: null, freeRemaining: null },
      usageDailyUsd: null,
    })
  })

  const LAYERS = [
    { scope: 'workspace', limit_usd: 50, spend_usd: 10, remaining_usd: 40, reset_interval: null },
    { scope: 'member', limit_usd: 5, remaining_usd: 3, resets_at: '2026-11-25T00:00:00Z' },
  ]
  const OF_MEMBER = {
    limitUsd: 5,
    remainingUsd: 3,
    layer: 'member',
    resetsAtMs: Date.parse('2026-11-25T00:00:00Z'),
  }

  it.each(['budgets', 'budget_layers', 'anything'])(
    'takes the least of the cap and of all budget layers, listed as %s',
    (name) => {
      expect(read({ [name]: LAYERS })).toMatchObject(OF_MEMBER)
      expect(read({ [name]: LAYERS.toReversed() })).toMatchObject(OF_MEMBER)
      // The cap leaves less than the layer.
      const cap = { limit_remaining: 1, [name]: LAYERS }
      expect(read(cap)).toMatchObject({ limitUsd: 20, remainingUsd: 1, layer: null })
      const uncapped = { limit: null, limit_remaining: null, [name]: LAYERS }
      expect(read(uncapped)).toMatchObject(OF_MEMBER)
    },
  )

  it('takes the tightest layer where it alone is named, and a layer without a sum for none', () => {
    const [, member] = LAYERS
    expect(read({ effective_budget: member })).toMatchObject(OF_MEMBER)
    const odd = [null, 'member', { scope: 'member' }, { scope: 'member', remaining_usd: null }, 7]
    expect(read({ budgets: odd, effective_budget: 'member' })).toMatchObject({
      ...{ remainingUsd: 7.31, layer: null },
    })
  })

  it.each([
    ['daily', '2026-11-22T00:00:00Z'],
    ['weekly', '2026-11-23T00:00:00Z'],
    ['monthly', '2026-12-01T00:00:00Z'],
  ])(
    'takes a %s layer to begin anew at the end of its window, and never below zero',
    (interval, end) => {
      const layer = { scope: 'openrouter_api_key', remaining_usd: -2, reset_interval: interval }
      expect(read({ budgets: [layer] })).toMatchObject({
        ...{ layer: 'api_key', limitUsd: null, remainingUsd: 0, resetsAtMs: Date.parse(end) },
      })
    },
  )

  it('reads who created the key, its workspace, and the counter of free requests', () => {
    const counter = (remaining: unknown) => ({ used: 1, limit: 50, remaining })
    const told = { workspace_id: 'w1', free_model_daily_requests: counter(0) }
    expect(read(told)).toMatchObject({ creator: 'user_1', workspace: 'w1', freeRemaining: 0 })
    for (const odd of [counter('none'), counter(null), null, 5, undefined]) {
      expect(read({ free_model_daily_requests: odd })).toMatchObject({ freeRemaining: null })
    }
  })

  it('takes an overdrawn cap for empty', () => {
    expect(read({ limit_remaining: -0.05 })).toMatchObject({ limitUsd: 20, remainingUsd: 0 })
  })

  it('takes a cap of nothing for a cap', () => {
    expect(read({ limit: 0, limit_remaining: 0 })).toMatchObject({ limitUsd: 0, remainingUsd: 0 })
  })

  it.each([
    ['daily', '2026-11-22T00:00:00Z'],
    ['weekly', '2026-11-23T00:00:00Z'],
    ['monthly', '2026-12-01T00:00:00Z'],
  ])('takes a %s cap to begin anew at the end of its window, by UTC', (limit_reset, end) => {
    expect(read({ limit_reset })).toMatchObject({ resetsAtMs: Date.parse(end) })
  })

  it.each([null, undefined, '', 'yearly', 'Monthly ', 5, {}])(
    'takes a cap with the reset %j to begin anew never, and keeps the rest',
    (limit_reset) => {
      expect(read({ limit_reset })).toMatchObject({ resetsAtMs: null, remainingUsd: 7.31 })
    },
  )

  it.each([null, undefined, '', 'soon', 1_700_000_000, []])(
    'takes a key that expires at %j to expire never, and keeps the rest',
    (expires_at) => {
      expect(read({ expires_at })).toMatchObject({ expiresAtMs: null, remainingUsd: 7.31 })
    },
  )

  it.each([
    [{ organization_id: 'org_1', creator_user_id: 'user_1' }, 'org_1'],
    [{ organization_id: null, creator_user_id: 'user_1' }, 'user_1'],
    [{ organization_id: undefined, creator_user_id: 'user_1' }, 'user_1'],
    [{ organization_id: '', creator_user_id: 'user_1' }, 'user_1'],
    [{ organization_id: 7, creator_user_id: 'user_1' }, 'user_1'],
    [{ organization_id: null, creator_user_id: null }, null],
    [{ organization_id: null, creator_user_id: '' }, null],
    [{ organization_id: {}, creator_user_id: [] }, null],
  ])('of %j takes the payer to be %j, and keeps the rest', (data, owner) => {
    expect(read(data)).toMatchObject({ owner, remainingUsd: 7.31 })
  })

  it('takes a 401 with OpenRouter’s error for a rejected key', () => {
    const error = { code: 401, message: 'User not found.' }
    expect(readKeyInfo(401, { error }, NOW)).toEqual({ kind: 'rejected' })
  })

  it.each([
    [401, '<html>'],
    [401, undefined],
    [401, answer],
    [401, { error: { code: 401, message: 'No', metadata: { provider_name: 'OpenAI' } } }],
    [403, { error: { code: 403, message: 'No' } }],
    [404, { error: { code: 404, message: 'No' } }],
    [429, { error: { code: 429, message: 'No' } }],
    [500, { error: { code: 500, message: 'No' } }],
    [302, answer],
    [200, undefined],
    [200, '<html>'],
    [200, {}],
    [200, { data: null }],
    [200, { error: { code: 500, message: 'No' } }],
    [200, withData({ limit_remaining: 'plenty' })],
    [200, withData({ limit_remaining: null })],
    [200, withData({ limit_remaining: undefined })],
    [200, withData({ limit: '20' })],
  ])('learns nothing from a %i with %j', (status, body) => {
    expect(readKeyInfo(status, body, NOW)).toEqual({ kind: 'unknown' })
  })

  it('never throws, and neither rejects nor confirms a key by any other status', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 599 }), fc.anything(), (status, body) => {
        const { kind } = readKeyInfo(status, body, NOW)
        if (kind === 'rejected') expect(status).toBe(401)
        if (kind === 'valid') expect(status).toBe(200)
      }),
    )
  })

  it('gives dollars and moments that can be reckoned with, whatever the fields hold', () => {
    const odd = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom('daily', 'weekly', 'monthly', '2027-01-01'),
    )
    const fields = fc.record(
      {
        limit: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
        limit_remaining: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
        limit_reset: odd,
        expires_at: odd,
        organization_id: odd,
        creator_user_id: odd,
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fields, (data) => {
        const found = readKeyInfo(200, { data }, NOW)
        if (found.kind !== 'valid') {
          // Only a cap without its remaining amount is unusable.
          expect(found.kind).toBe('unknown')
          expect(data.limit ?? null).not.toBeNull()
          expect(data.limit_remaining ?? null).toBeNull()
          return
        }
        expect(found.remainingUsd ?? 0).toBeGreaterThanOrEqual(0)
        expect(found.resetsAtMs ?? NOW + 1).toBeGreaterThan(NOW)
        expect(found.expiresAtMs).not.toBeNaN()
        expect(found.owner).not.toBe('')
      }),
    )
  })
})

describe('readBalance', () => {
  const credits = (total_credits: unknown, total_usage: unknown) => ({
    data: { total_credits, total_usage },
  })

  it.each([
    [100, 62.5, 37.5],
    [10, 10, 0],
    [5, 5.25, -0.25],
    [0, 0, 0],
  ])('of %d bought and %d used is %d', (bought, used, left) => {
    expect(readBalance(200, credits(bought, used))).toBe(left)
  })

  it.each([
    [403, { error: { code: 403, message: 'Only management keys can perform this operation' } }],
    [401, { error: { code: 401, message: 'User not found.' } }],
    [403, credits(100, 62.5)],
    [500, undefined],
    [200, undefined],
    [200, '<html>'],
    [200, { data: null }],
    [200, {}],
    [200, credits('100', 62.5)],
    [200, credits(100, null)],
    [200, credits(Number.NaN, 1)],
  ])('is not told by a %i with %j', (status, body) => {
    expect(readBalance(status, body)).toBeNull()
  })
})

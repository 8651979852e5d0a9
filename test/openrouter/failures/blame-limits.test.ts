import { describe, expect, it } from 'vitest'
import {
  answered,
  BACKOFF,
  BUDGET,
  bench,
  LOOKUP,
  MIDNIGHT,
  MINUTE_END,
  NOW,
  refused,
  until,
} from './blame-driver.ts'

describe('rows 10 to 12: rate limits', () => {
  it('row 10: a spent free tier rests the account’s free models until the reset in the body', () => {
    const headers = {
      'X-RateLimit-Limit': '50',
      'X-RateLimit-Remaining': '0',
      'X-RateLimit-Reset': String(MIDNIGHT),
    }
    const message =
      'Rate limit exceeded: free-models-per-day. Add 5 credits to unlock 1000 free model requests per day'
    expect(refused(429, message, { headers, provider_name: null })).toEqual({
      row: '10',
      fault: 'account',
      outcome: 'ignorable',
      benches: bench('account_free', 'account_rate_limited', until(MIDNIGHT), 'free_tier_spent'),
      suspect: false,
      next: { kind: 'fallback' },
    })
  })

  it.each([
    [{ freeTier: false, policy: false }, { kind: 'fallback' }],
    [{ freeTier: false, policy: true }, { kind: 'fallback' }],
    [
      { freeTier: true, policy: false },
      { kind: 'move', exclude: 'account' },
    ],
  ])(
    'row 10: another model follows, and another account only by spill_free_tier: %j',
    (spill, next) => {
      const message = 'Rate limit exceeded: free-models-per-day. '
      const found = refused(429, message, undefined, {}, spill)
      expect(found).toMatchObject({ row: '10', fault: 'account', next })
      // The account has reached its limit, for every `next`.
      expect(found.benches).toEqual(
        bench('account_free', 'account_rate_limited', until(MIDNIGHT), 'free_tier_spent'),
      )
    },
  )

  it.each([
    ['Rate limit exceeded: free-models-per-day-high-balance. ', undefined, MIDNIGHT],
    ['Rate limit exceeded', 'openrouter_free_tier_daily', MIDNIGHT],
    ['Rate limit exceeded: free-models-per-min. ', undefined, MINUTE_END],
    ['Rate limit exceeded', 'free_tier_per_minute', MINUTE_END],
  ])(
    'row 10: without a reset, "%s" (%s) lasts to the end of its window',
    (message, source, end) => {
      const found = refused(429, message, { limit_source: source })
      expect(found.row).toBe('10')
      expect(found.benches).toEqual(
        bench('account_free', 'account_rate_limited', until(end), 'free_tier_spent'),
      )
    },
  )

  it('row 10: is found where /messages puts its metadata, at the top', () => {
    const found = answered(429, {
      type: 'error',
      error: { type: 'rate_limit_error', message: 'Rate limit exceeded' },
      metadata: { limit_source: 'free_tier_per_minute' },
      request_id: null,
    })
    expect(found.row).toBe('10')
  })

  it.each([
    [
      'Rate limit exceeded: new-account-rpm/gpt-4o-2024-08-06. new accounts are limited to 20 requests per minute for this model',
      undefined,
    ],
    ['Rate limit exceeded', 'openrouter_new_account'],
    ['Rate limit exceeded', 'new_account'],
  ])('row 11: a new account’s limit rests it for this model (%#)', (message, limit_source) => {
    expect(refused(429, message, { limit_source })).toEqual({
      row: '11',
      fault: 'account',
      outcome: 'ignorable',
      benches: bench('account_model', 'account_rate_limited', until(MINUTE_END)),
      suspect: false,
      next: { kind: 'move', exclude: 'account' },
    })
  })

  it('row 11: a reset in a header is kept exactly', () => {
    const headers = { 'x-ratelimit-reset': String(NOW + 12_345) }
    const found = refused(429, 'Rate limit exceeded: new-account-rpm/x', undefined, headers)
    expect(found.benches[0]?.term).toEqual(until(NOW + 12_345))
  })

  it('row 12: a 429 that names nobody rests the key by a growing guess and counts against it', () => {
    expect(refused(429, 'Too many requests')).toEqual({
      row: '12',
      fault: 'unknown',
      outcome: 'failure',
      benches: bench('key', 'account_rate_limited', BACKOFF, 'key_rate_limited'),
      suspect: false,
      next: { kind: 'retry', limit: 'attempts', notBeforeMs: null },
    })
  })

  it('row 12: Retry-After rests the key, and does not hold up the retry with another', () => {
    const found = refused(429, 'Too many requests', undefined, { 'retry-after': '20' })
    expect(found.benches).toEqual(
      bench('key', 'account_rate_limited', until(NOW + 20_000), 'key_rate_limited'),
    )
    expect(found.next).toEqual({ kind: 'retry', limit: 'attempts', notBeforeMs: null })
  })
})

describe('rows 13 and 13b: what the account’s owner decided', () => {
  const noEndpoints =
    '0 endpoints out of 1 requested are available matching your guardrail restrictions and data policy'

  it.each([
    [404, noEndpoints, { failed_routing_step: 'Filter by Guardrails' }],
    [404, 'No endpoints', { failed_routing_step: 'Filter by Data Policy' }],
    [
      403,
      'Confirm your age',
      {
        failed_routing_step: 'Gate Endpoints with Attestations',
        missing_attestation_types: ['age_18plus'],
      },
    ],
    [404, noEndpoints, undefined],
    [
      404,
      'No endpoints found matching your data policy (Paid model training). Configure: https://openrouter.ai/settings/privacy',
      undefined,
    ],
    [403, 'This model is not allowed by a guardrail on your key', undefined],
  ])(
    'row 13: %i "%s" is a policy, which no other account shall undo',
    (status, message, metadata) => {
      expect(refused(status, message, metadata)).toEqual({
        row: '13',
        fault: 'policy',
        outcome: 'ignorable',
        benches: [],
        suspect: false,
        next: { kind: 'none' },
      })
    },
  )

  it.each([
    [{ freeTier: false, policy: false }, { kind: 'none' }],
    [{ freeTier: true, policy: false }, { kind: 'none' }],
    [
      { freeTier: false, policy: true },
      { kind: 'move', exclude: 'account' },
    ],
  ])('row 13: another account may undo a policy only by spill_policy: %j', (spill, next) => {
    const metadata = { failed_routing_step: 'Filter by Data Policy' }
    const found = refused(404, 'No endpoints', metadata, {}, spill)
    expect(found).toMatchObject({ row: '13', fault: 'policy', benches: [], next })
  })

  it.each([
    ['Organization budget exhausted', { scope: 'organization', spend_usd: 5, limit_usd: 5 }],
    ['Guardrail daily budget of $5.00 exceeded.', undefined],
    ['Guardrail budget exceeded', { failed_routing_step: 'Filter by Guardrails' }],
  ])('row 13b: 403 "%s" is money, and rests the account for five minutes', (message, metadata) => {
    expect(refused(403, message, metadata)).toEqual({
      row: '13b',
      fault: 'account',
      outcome: 'ignorable',
      benches: bench('account', 'account_rate_limited', BUDGET, 'budget_layer_spent'),
      suspect: false,
      next: { kind: 'move', exclude: 'account' },
    })
  })

  it.each([
    ['creator', 'A member budget is exceeded', {}],
    ['creator', 'Forbidden', { limit_source: 'openrouter_guardrail_budget', scope: 'member' }],
    ['creator', 'Forbidden', { scope: 'openrouter_workspace_default_member', limit_usd: 5 }],
    ['workspace', 'Workspace monthly budget of $500.00 exceeded. Contact your org admin.', {}],
    ['workspace', 'Forbidden', { limit_source: 'workspace_budget', spend_usd: 500 }],
    ['workspace', 'Forbidden', { scope: 'workspace', spend_usd: 500, limit_usd: 500 }],
    ['account', 'Forbidden', { limit_source: 'guardrail_budget' }],
  ] as const)('row 13b: a budget that covers the %s: %s %j', (scope, message, metadata) => {
    const exclude = scope === 'account' ? 'account' : 'key'
    const ends = { resets_at: '2026-12-01T00:00:00Z' }
    const atReset = until(Date.parse(ends.resets_at))
    const found = refused(403, message, { ...metadata, ...ends })
    expect(found).toMatchObject({ row: '13b', next: { kind: 'move', exclude } })
    expect(found.benches).toEqual(
      bench(scope, 'account_rate_limited', atReset, 'budget_layer_spent'),
    )
    const past = { ...metadata, resets_at: '2026-11-20T00:00:00Z' }
    for (const told of [metadata, past]) {
      expect(refused(403, message, told).benches).toEqual(
        bench(scope, 'account_rate_limited', BUDGET, 'budget_layer_spent'),
      )
    }
  })

  it('row 13b: a policy that names a workspace is no budget', () => {
    const metadata = { failed_routing_step: 'Filter by Guardrails', scope: 'workspace' }
    expect(refused(403, 'Blocked by a guardrail', metadata).row).toBe('13')
  })

  it.each([
    [{ scope: 'api_key', limit_source: 'openrouter_guardrail_budget' }],
    [{ scope: 'openrouter_workspace_default_key', limit_usd: 3, spend_usd: 3 }],
    [{ limit_source: 'key_limit', scope: 'key_limit' }],
  ])('row 5: a budget of the key itself is the key’s, until it resets: %j', (metadata) => {
    const ends = { resets_at: '2026-11-22T00:00:00.000Z' }
    expect(refused(403, 'Budget exceeded', { ...metadata, ...ends })).toMatchObject({
      row: '5',
      benches: bench('key', 'key_spent', until(MIDNIGHT)),
      next: { kind: 'move', exclude: 'key' },
    })
    expect(refused(403, 'Budget exceeded', metadata).benches).toEqual(
      bench('key', 'key_spent', LOOKUP),
    )
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import {
  BLAME_TABLE,
  type Blame,
  blame,
  NOBODY,
  type SpillPolicy,
} from '../../../src/openrouter/failures/blame.ts'
import {
  readError,
  type UpstreamFailure,
} from '../../../src/openrouter/failures/upstream-failure.ts'

/** A Saturday. */
const NOW = Date.parse('2026-11-21T10:20:30.500Z')
const MINUTE_END = Date.parse('2026-11-21T10:21:00.000Z')
const MIDNIGHT = Date.parse('2026-11-22T00:00:00.000Z')
const DAY_MS = 24 * 60 * 60 * 1000

/** The default: an operator allows no move to another account. */
const STRICT: SpillPolicy = { freeTier: false, policy: false }

function answered(
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
  spill: SpillPolicy = STRICT,
): Blame {
  const failure: UpstreamFailure = {
    kind: 'response',
    status,
    headers: new Headers(headers),
    error: readError(body, status),
  }
  return blame(failure, { nowMs: NOW, spill })
}

function refused(
  status: number,
  message: string,
  metadata?: Record<string, unknown>,
  headers: Record<string, string> = {},
  spill: SpillPolicy = STRICT,
): Blame {
  const error = { code: status, message, ...(metadata === undefined ? {} : { metadata }) }
  return answered(status, { error, user_id: 'user_2b' }, headers, spill)
}

const bench = (
  scope: BenchOrder['scope'],
  reason: BenchOrder['reason'],
  term: BenchOrder['term'],
  detail?: BenchOrder['detail'],
): readonly BenchOrder[] => [{ scope, reason, term, ...(detail === undefined ? {} : { detail }) }]

const until = (untilMs: number): BenchOrder['term'] => ({ kind: 'until', untilMs })
const MINUTE: BenchOrder['term'] = { kind: 'for', forMs: 60_000 }
const BACKOFF: BenchOrder['term'] = { kind: 'backoff', baseMs: 1000, maxMs: 60_000 }
const BUDGET: BenchOrder['term'] = { kind: 'for', forMs: 300_000 }
const LOOKUP: BenchOrder['term'] = { kind: 'lookup', lapseMs: null }

describe('row 1: no answer, or no error of OpenRouter in it', () => {
  const retry = { kind: 'retry', limit: 'attempts', notBeforeMs: null }

  it.each<UpstreamFailure>([
    { kind: 'network' },
    { kind: 'truncated' },
    { kind: 'timeout', clock: 'headers' },
    { kind: 'timeout', clock: 'first_output' },
    { kind: 'timeout', clock: 'idle' },
  ])('row 1: $kind $clock is upstream’s failure and is retried from the budget', (failure) => {
    expect(blame(failure, { nowMs: NOW, spill: STRICT })).toMatchObject({
      row: '1',
      fault: 'upstream',
      outcome: 'failure',
      benches: [],
      suspect: false,
      next: retry,
    })
  })

  it.each([200, 204, 301, 302, 403, 429, 500, 502, 503, 520, 524, 530])(
    'row 1: %i without a JSON error is the edge’s failure, not the key’s',
    (status) => {
      for (const body of [undefined, '<html>Attention Required!</html>', {}, { ok: false }]) {
        const found = answered(status, body)
        expect(found).toMatchObject({
          row: '1',
          fault: 'upstream',
          outcome: 'failure',
          next: retry,
        })
        expect(found.benches).toEqual([])
      }
    },
  )

  it('row 1: a page that says when to come back is believed about the wait', () => {
    expect(answered(503, null, { 'retry-after': '7' }).next).toEqual({
      kind: 'retry',
      limit: 'attempts',
      notBeforeMs: NOW + 7000,
    })
  })
})

describe('row 2: the account’s own provider key', () => {
  const raw = 'openai/gpt-4o is rate-limited on your key'

  it.each([
    [429, { is_byok: true, raw }],
    [429, { is_byok: true, provider_name: 'OpenAI', raw }],
    [401, { is_byok: true, provider_name: 'OpenAI', raw: 'Incorrect API key provided' }],
    [402, { is_byok: true, provider_name: null }],
    [502, { is_byok: true, provider_name: 'Azure', reasons: [] }],
  ])(
    'row 2: a %i with is_byok rests this account for this model for a minute',
    (status, metadata) => {
      expect(refused(status, 'Provider returned error', metadata)).toEqual({
        row: '2',
        fault: 'account',
        outcome: 'ignorable',
        benches: bench('account_model', 'account_rate_limited', MINUTE, 'provider_key_failed'),
        suspect: false,
        next: { kind: 'move', exclude: 'account' },
      })
    },
  )

  it.each([
    [400, { raw: 'prompt is too long: 240000 tokens > 200000 maximum' }, '15'],
    [404, {}, '15'],
    [413, {}, '15'],
    [422, {}, '15'],
    [404, { failed_routing_step: 'Filter by Parameters' }, '14'],
    [403, { reasons: ['violence'] }, '14'],
    [403, { error_type: 'content_policy_violation' }, '14'],
    [502, { error_type: 'refusal' }, '14'],
  ])(
    'row 2: a %i that judges the request is the caller’s, with any provider key (%j)',
    (status, data, row) => {
      const metadata = { is_byok: true, provider_name: 'Anthropic', ...data }
      const found = refused(status, 'Provider returned error', metadata, { 'retry-after': '9' })
      expect(found).toMatchObject({ row, fault: 'caller', benches: [], outcome: 'ignorable' })
      expect(found.next.kind).toBe(status === 404 && row === '15' ? 'fallback' : 'none')
    },
  )

  it.each([false, 'true', 1, null])('row 2: is_byok of %j is not the sign', (is_byok) => {
    expect(refused(429, 'Slow down', { is_byok }).row).toBe('12')
  })
})

describe('row 3: a provider', () => {
  it.each([
    [429, 'upstream_provider_shared_pool'],
    [401, undefined],
    [402, undefined],
    [403, undefined],
    [500, undefined],
    [502, undefined],
    [529, undefined],
  ])(
    'row 3: a %i relayed from a provider is tried once more and marks no key',
    (status, limit_source) => {
      const metadata = { provider_name: 'DeepInfra', is_byok: false, limit_source, raw: 'busy' }
      expect(refused(status, 'Provider returned error', metadata)).toEqual({
        row: '3',
        fault: 'provider',
        outcome: 'ignorable',
        benches: bench('model', 'account_rate_limited', { kind: 'for', forMs: 15_000 }),
        suspect: false,
        next: { kind: 'retry', limit: 'once', notBeforeMs: null },
      })
    },
  )

  it('row 3: the model rests for as long as the provider asked', () => {
    const found = refused(
      503,
      'Provider returned error',
      { provider_name: 'Chutes' },
      { 'retry-after': '120' },
    )
    expect(found.benches).toEqual(bench('model', 'account_rate_limited', until(NOW + 120_000)))
  })

  it.each([400, 404, 413, 422])(
    'row 3: a %i of a provider rests no model, else one client could send everybody to a fallback',
    (status) => {
      const found = refused(status, 'Provider returned error', { provider_name: 'Google' })
      expect(found).toMatchObject({ row: '3', benches: [], outcome: 'ignorable', suspect: false })
    },
  )

  it.each([null, '', undefined])('row 3: a provider_name of %j does not count', (provider_name) => {
    expect(refused(401, 'User not found.', { provider_name }).row).toBe('4')
  })

  it('row 3: an error in a stream that finished with "error" at a named provider is the provider’s', () => {
    const failure: UpstreamFailure = {
      kind: 'response',
      status: 502,
      headers: new Headers(),
      error: readError({ error: { message: 'x', metadata: { provider_name: 'Google' } } }, null),
    }
    expect(blame(failure, { nowMs: NOW, spill: STRICT }).row).toBe('3')
  })
})

describe('row 4: the key is in doubt', () => {
  it.each([
    'User not found.',
    'No auth credentials found',
    'No cookie auth credentials found',
    'Missing Authentication header',
  ])('row 4: 401 "%s" rests the key for a minute and has it looked up', (message) => {
    expect(refused(401, message)).toEqual({
      row: '4',
      fault: 'key',
      outcome: 'failure',
      benches: bench('key', 'key_rejected', { kind: 'for', forMs: 60_000 }),
      suspect: true,
      next: { kind: 'move', exclude: 'key' },
    })
  })

  it('row 4: holds for Anthropic’s shape and for a code that is a name', () => {
    const error = { type: 'authentication_error', message: 'User not found.' }
    expect(answered(401, { type: 'error', error }).row).toBe('4')
    expect(
      answered(200, { error: { code: 'authentication', message: 'User not found.' } }).row,
    ).toBe('4')
  })
})

describe('row 5: the key is spent', () => {
  const manage = 'Manage it using https://openrouter.ai/settings/keys'

  it.each([
    ['daily', until(MIDNIGHT)],
    ['weekly', until(Date.parse('2026-11-23T00:00:00Z'))],
    ['monthly', until(Date.parse('2026-12-01T00:00:00Z'))],
    ['total', LOOKUP],
  ])('row 5: the %s limit lasts to the end of its window', (window, term) => {
    expect(refused(403, `Key limit exceeded (${window} limit). ${manage}`)).toEqual({
      row: '5',
      fault: 'key',
      outcome: 'ignorable',
      benches: bench('key', 'key_spent', term),
      suspect: false,
      next: { kind: 'move', exclude: 'key' },
    })
  })

  const newest = (reset: string) =>
    `Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/workspaces/default/keys/${'ab'.repeat(32)} $20.05 of $20.00 used; resets ${reset}.`

  it('row 5: a reset named in the message is kept exactly', () => {
    const found = refused(403, newest('2026-12-12T00:00:00.000Z'), {
      limit_source: 'openrouter_key_limit',
    })
    const term = until(Date.parse('2026-12-12T00:00:00.000Z'))
    expect(found.benches).toEqual(bench('key', 'key_spent', term))
  })

  it.each(['2026-11-21T10:20:30.000Z', '1970-01-01T00:00:00.000Z', '9999-12-31', '2026-13-45'])(
    'row 5: a reset at %s cannot be, so that a lookup decides',
    (reset) => {
      expect(refused(403, newest(reset)).benches).toEqual(bench('key', 'key_spent', LOOKUP))
    },
  )

  it.each(['openrouter_key_limit', 'key_limit'])(
    'row 5: %s alone is sign enough',
    (limit_source) => {
      const found = refused(403, 'Limit reached', { limit_source })
      expect(found).toMatchObject({ row: '5', benches: bench('key', 'key_spent', LOOKUP) })
    },
  )
})

describe('rows 6 to 9: money', () => {
  const afford =
    'This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, but can only afford 1,234. To increase, visit https://openrouter.ai/settings/credits'

  it('row 6: a key whose cap is too near for this request is left for smaller ones', () => {
    expect(refused(402, afford, { limit_source: 'openrouter_key_limit' })).toEqual({
      row: '6',
      fault: 'key',
      outcome: 'ignorable',
      benches: [],
      suspect: false,
      affordableTokens: 1234,
      tooLargeFor: 'key',
      next: { kind: 'move', exclude: 'key' },
    })
  })

  it.each([
    [
      'Prompt tokens limit exceeded: 9,000 > 1,500. To increase, visit https://openrouter.ai/settings/keys and create a key with a higher monthly limit',
      1500,
    ],
    ['max_tokens limit exceeded: 64000 > 800. Raise the key’s monthly limit.', 800],
    ["max_tokens limit exceeded. Raise the key's total limit, or ask for less.", undefined],
  ])('row 6: a text that tells to raise the limit of the key names the key: %s', (text, tokens) => {
    const found = refused(402, text, { limit_source: 'openrouter_credits' })
    expect(found).toMatchObject({ row: '6', tooLargeFor: 'key', benches: [] })
    expect(found.affordableTokens).toBe(tokens)
    expect(found.next).toEqual({ kind: 'move', exclude: 'key' })
  })

  it('row 6: without a number there is no note', () => {
    const found = refused(402, 'Limit', { limit_source: 'key_limit' })
    expect(found).toMatchObject({ row: '6', benches: [] })
    expect(found).not.toHaveProperty('affordableTokens')
  })

  const inFlight = {
    limit_source: 'openrouter_in_flight_budget',
    reason: 'in_flight_budget_exhausted',
  }

  it('row 7: too much money in flight rests the account for Retry-After', () => {
    expect(refused(402, 'Insufficient credits', inFlight, { 'Retry-After': '3' })).toEqual({
      row: '7',
      fault: 'account',
      outcome: 'ignorable',
      benches: bench('account', 'account_rate_limited', until(NOW + 3000)),
      suspect: false,
      next: { kind: 'move', exclude: 'account' },
    })
  })

  it('row 7: without Retry-After the rest is a short guess', () => {
    const [order] = refused(402, 'Insufficient credits', inFlight).benches
    expect(order?.term).toEqual({ kind: 'for', forMs: 10_000 })
  })

  it.each([
    [afford, { limit_source: 'openrouter_credits', previous_errors: [] }, 1234],
    [afford, undefined, 1234],
    ['Insufficient credits', { reason: 'weight_exceeds_budget' }, undefined],
    ['Prompt tokens limit exceeded: 9000 > 1500. Visit …/settings/credits', undefined, 1500],
    ['max_tokens limit exceeded: 64000 > 800. Upgrade to a paid account', undefined, 800],
    ['max_tokens limit exceeded', { limit_source: 'openrouter_credits' }, undefined],
  ])(
    'row 8: an account too poor for this request is not marked empty (%#)',
    (message, metadata, tokens) => {
      const found = refused(402, message, metadata)
      expect(found).toMatchObject({
        row: '8',
        fault: 'account',
        outcome: 'ignorable',
        benches: [],
        tooLargeFor: 'account',
        next: { kind: 'move', exclude: 'account' },
      })
      expect(found.affordableTokens).toBe(tokens)
    },
  )

  it.each([
    'Insufficient credits. Add more using https://openrouter.ai/settings/credits',
    'Insufficient credits. This account never purchased credits. Make sure your key is on the correct account or org, and if so, purchase more',
    'Payment required',
  ])('row 9: "%s" rests the account until somebody pays', (message) => {
    for (const metadata of [undefined, null, { limit_source: 'openrouter_credits' }]) {
      expect(answered(402, { error: { code: 402, message, metadata } })).toEqual({
        row: '9',
        fault: 'account',
        outcome: 'ignorable',
        benches: bench('account', 'account_out_of_credit', { kind: 'lookup', lapseMs: 300_000 }),
        suspect: false,
        next: { kind: 'move', exclude: 'account' },
      })
    }
  })
})

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

describe('rows 14 and 15: the caller', () => {
  const flagged = {
    reasons: ['violence'],
    flagged_input: '…',
    provider_name: 'OpenAI',
    model_slug: 'openai/o1',
  }

  it.each([
    [403, 'openai/o1 requires moderation on OpenAI. Your input was flagged', flagged],
    [403, 'Request blocked: prompt injection patterns detected', { patterns: ['ignore all'] }],
    [403, 'Blocked by guardrail', { patterns: ['ignore all'] }],
    [403, 'Content policy', { error_type: 'content_policy_violation' }],
    [400, 'Content policy', { error_type: 'content_policy_violation' }],
    [502, 'Content policy', { error_type: 'content_policy_violation' }],
    [403, 'The model refused', { error_type: 'refusal' }],
    [
      403,
      'x-ai/grok:free is only available on agentic harnesses',
      { failed_routing_step: 'Gate Free Endpoints by Agentic Harness' },
    ],
    [403, 'openai/gpt-4o is not available in your region: CN', undefined],
    [403, 'Only management keys can perform this operation', undefined],
    [404, 'No endpoints found', { failed_routing_step: 'Filter by Parameters' }],
    [404, 'No endpoints found', { failed_routing_step: 'Filter by Max Price' }],
  ])('row 14: %i "%s" is answered to the caller and marks nothing', (status, message, metadata) => {
    expect(refused(status, message, metadata)).toEqual({
      row: '14',
      fault: 'caller',
      outcome: 'ignorable',
      benches: [],
      suspect: false,
      next: { kind: 'none' },
    })
  })

  it.each([
    ...[400, 405, 406, 409, 410, 412, 413, 414, 415, 418, 422, 431, 451].map(
      (status) => [status, 'none'] as const,
    ),
    // The model may be gone while the request's other models still exist.
    [404, 'fallback'] as const,
  ])(
    'row 15: a %i is the caller’s, with a JSON error or without, and what follows is %s',
    (status, next) => {
      for (const body of [{ error: { code: status, message: 'No' } }, '<html>', undefined]) {
        expect(answered(status, body)).toEqual({
          row: '15',
          fault: 'caller',
          outcome: 'ignorable',
          benches: [],
          suspect: false,
          next: { kind: next },
        })
      }
    },
  )
})

describe('row 16: upstream', () => {
  it.each([
    ...[502, 503, 524, 529].map((status) => [status, '16'] as const),
    ...[500, 501, 504, 599].map((status) => [status, '16b'] as const),
  ])('row 16: a %i with a JSON error is retried: row %s', (status, row) => {
    expect(refused(status, 'Service temporarily unavailable', { error_type: 'server' })).toEqual({
      row,
      fault: 'upstream',
      outcome: 'failure',
      benches: [],
      suspect: false,
      next: { kind: 'retry', limit: 'attempts', notBeforeMs: null },
    })
  })

  it('row 16: a 408 is about time and not about the request, with a JSON error or without', () => {
    expect(refused(408, 'Operation timed out. Please try again later.').row).toBe('16')
    expect(answered(408, undefined).row).toBe('16')
  })

  it('row 16: the key rests for this model as long as OpenRouter asked', () => {
    const found = refused(503, 'Overloaded', undefined, { 'retry-after': '2' })
    expect(found.next).toEqual({ kind: 'retry', limit: 'attempts', notBeforeMs: NOW + 2000 })
    expect(found.benches).toEqual(
      bench('key_model', 'account_rate_limited', until(NOW + 2000), 'key_rate_limited'),
    )
  })

  it('row 16: an error inside a 200 is judged by its own code', () => {
    expect(answered(200, { id: 'gen-1', error: { code: 502, message: 'Lost' } }).row).toBe('16')
    expect(answered(200, { error: { code: '429', message: 'Slow down' } }).row).toBe('12')
    expect(answered(200, { error: { message: 'Something broke' } }).row).toBe('16')
  })
})

describe('row 17: nobody', () => {
  it('row 17: our own cancellations mark nothing and are not retried', () => {
    expect(NOBODY).toEqual({
      row: '17',
      fault: 'nobody',
      outcome: 'ignorable',
      benches: [],
      suspect: false,
      next: { kind: 'none' },
    })
  })

  it('row 17: our own limit on the whole request accuses no key, however healthy its stream was', () => {
    expect(blame({ kind: 'timeout', clock: 'total' }, { nowMs: NOW, spill: STRICT })).toEqual(
      NOBODY,
    )
  })
})

describe('the table as a whole', () => {
  const messages = fc.oneof(
    fc.string(),
    fc.constantFrom(
      'Key limit exceeded (daily limit).',
      'Key limit exceeded; resets 2026-12-01T00:00:00.000Z.',
      'but can only afford 12',
      'Rate limit exceeded: free-models-per-day. ',
      'Rate limit exceeded: new-account-rpm/x',
      'Workspace monthly budget of $500.00 exceeded.',
      'matching your guardrail restrictions and data policy',
      'User not found.',
    ),
  )
  const maybe = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: undefined })
  const metadata = fc.record({
    provider_name: maybe(fc.constantFrom('OpenAI', '', null)),
    is_byok: maybe(fc.boolean()),
    limit_source: maybe(
      fc.constantFrom('openrouter_key_limit', 'free_tier_daily', 'openrouter_in_flight_budget'),
    ),
    error_type: maybe(fc.constantFrom('refusal', 'authentication', 'server')),
    reasons: maybe(fc.array(fc.string())),
    patterns: maybe(fc.array(fc.string())),
    failed_routing_step: maybe(fc.constantFrom('Filter by Guardrails', 'Filter by Max Price')),
    headers: maybe(
      fc.dictionary(fc.constantFrom('Retry-After', 'x-ratelimit-RESET'), fc.jsonValue()),
    ),
  })

  it('rows 10 and 13 alone ask what the operator allows, and only about what follows', () => {
    const anything = fc.record({ freeTier: fc.boolean(), policy: fc.boolean() })
    const statuses = fc.constantFrom(401, 402, 403, 404, 429, 500)
    fc.assert(
      fc.property(statuses, messages, metadata, anything, (status, message, data, spill) => {
        const strict = refused(status, message, data)
        const found = refused(status, message, data, {}, spill)
        const mayDiffer =
          (found.row === '10' && spill.freeTier) || (found.row === '13' && spill.policy)
        expect({ ...found, next: null }).toEqual({ ...strict, next: null })
        expect(found.next).toEqual(mayDiffer ? { kind: 'move', exclude: 'account' } : strict.next)
      }),
    )
  })

  it('has the contract’s rows in the contract’s order', () => {
    const rows = '1 2 3 4 5 6 7 8 9 10 11 12 13 13b 14 15 16 16b'.split(' ')
    expect(BLAME_TABLE.map(({ row }) => row)).toEqual(rows)
  })

  it('a request that was itself refused (400, 404, 413, 422) never marks anything, whatever is in the body', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(400, 404, 413, 422),
        messages,
        metadata,
        (status, message, data) => {
          const found = refused(status, message, data, { 'retry-after': '60' })
          expect(found.benches).toEqual([])
          expect(found.outcome).toBe('ignorable')
          expect(found.suspect).toBe(false)
        },
      ),
    )
  })

  it('blames somebody for any status with any JSON, and never throws', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 999 }), fc.jsonValue(), (status, body) => {
        expect(answered(status, body).row).not.toBe('17')
        expect(answered(status, { error: body }).row).not.toBe('17')
        expect(
          answered(status, { error: { code: body, message: body, metadata: body } }).row,
        ).not.toBe('17')
      }),
    )
  })

  it('gives no wait and no bench by a hint of more than 24 hours, nor one in the past', () => {
    const hints = fc.oneof(fc.integer(), fc.double(), fc.string(), fc.bigInt()).map(String)
    fc.assert(
      fc.property(fc.constantFrom(402, 429, 503), metadata, hints, (status, data, hint) => {
        const headers = { 'Retry-After': hint, 'X-RateLimit-Reset': hint }
        const found = refused(status, 'Rate limit exceeded', { ...data, headers })
        for (const { term } of found.benches) {
          if (term.kind !== 'until') continue
          expect(term.untilMs).toBeGreaterThan(NOW)
          expect(term.untilMs).toBeLessThanOrEqual(NOW + DAY_MS)
        }
        if (found.next.kind === 'retry' && found.next.notBeforeMs !== null) {
          expect(found.next.notBeforeMs).toBeGreaterThan(NOW)
          expect(found.next.notBeforeMs).toBeLessThanOrEqual(NOW + DAY_MS)
        }
      }),
    )
  })
})

import { describe, expect, it } from 'vitest'
import { answered, bench, LOOKUP, MIDNIGHT, NOW, refused, until } from './blame-driver.ts'

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
    'This request requires more credits, or fewer max_tokens.',
    'Requested 64,000 output tokens; the balance covers 1,500',
    'max_completion_tokens is above what this account may use: 4096 > 1024',
    'You cannot afford a completion of this length',
    'Your prompt needs more credits than the account has left',
    'Try a smaller request',
  ])('row 8: a text about the size of the request in other words: %s', (message) => {
    for (const limit_source of [undefined, 'openrouter_credits']) {
      const found = refused(402, message, { limit_source })
      expect(found).toMatchObject({ row: '8', tooLargeFor: 'account', benches: [] })
    }
  })

  it.each([
    ['Key limit exceeded (monthly limit)', {}],
    ['This API key has reached its monthly limit. Raise it and try again', {}],
    ['Payment required. Create a key with a higher monthly limit', {}],
    ['Payment required', { remedy_hint: 'Raise the monthly limit of this key' }],
    ['Payment required', { scope: 'api_key' }],
    ['Requested 64000 tokens: raise the key’s monthly limit', { limit_source: 'credits' }],
  ])('row 6: a text that names the key’s limit is not about the account: %s %j', (text, data) => {
    const found = refused(402, text, data)
    expect(found).toMatchObject({ row: '6', tooLargeFor: 'key', benches: [] })
  })

  it('row 9: an empty account stays one, whatever is said of keys beside', () => {
    const hint = { remedy_hint: 'Add credits, or check your key limits at /settings/keys' }
    for (const data of [hint, { ...hint, limit_source: 'openrouter_credits' }]) {
      expect(refused(402, 'Insufficient credits', data).row).toBe('9')
    }
  })

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

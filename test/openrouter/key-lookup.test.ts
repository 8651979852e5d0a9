import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readKeyLookup } from '../../src/openrouter/key-lookup.ts'

const answer = {
  data: {
    label: 'sk-or-v1-abc...123',
    limit: 20,
    limit_remaining: 7.31,
    limit_reset: 'monthly',
    usage: 12.69,
    is_free_tier: false,
    creator_user_id: 'user_1',
    rate_limit: { requests: -1, interval: '10s', note: 'deprecated' },
  },
}
const withData = (data: Record<string, unknown>) => ({ data: { ...answer.data, ...data } })

describe('readKeyLookup', () => {
  it('reads what is left of a cap', () => {
    expect(readKeyLookup(200, answer)).toEqual({ kind: 'valid', remainingUsd: 7.31 })
  })

  it('takes no cap for unlimited, not for empty', () => {
    const uncapped = withData({ limit: null, limit_remaining: null })
    expect(readKeyLookup(200, uncapped)).toEqual({ kind: 'valid', remainingUsd: null })
    expect(readKeyLookup(200, { data: {} })).toEqual({ kind: 'valid', remainingUsd: null })
  })

  it('takes an overdrawn cap for empty', () => {
    const overdrawn = withData({ limit_remaining: -0.05 })
    expect(readKeyLookup(200, overdrawn)).toEqual({ kind: 'valid', remainingUsd: 0 })
  })

  it('takes a 401 with OpenRouter’s error for a rejected key', () => {
    const error = { code: 401, message: 'User not found.' }
    expect(readKeyLookup(401, { error })).toEqual({ kind: 'rejected' })
  })

  it.each([
    [401, '<html>'],
    [401, undefined],
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
  ])('learns nothing from a %i with %j', (status, body) => {
    expect(readKeyLookup(status, body)).toEqual({ kind: 'unknown' })
  })

  it('never throws, and neither rejects nor confirms a key by any other status', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 599 }), fc.anything(), (status, body) => {
        const { kind } = readKeyLookup(status, body)
        if (kind === 'rejected') expect(status).toBe(401)
        if (kind === 'valid') expect(status).toBe(200)
      }),
    )
  })
})

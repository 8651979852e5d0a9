import { describe, expect, it } from 'vitest'
import { blame } from '../../../src/openrouter/failures/blame.ts'
import {
  readError,
  type UpstreamFailure,
} from '../../../src/openrouter/failures/upstream-failure.ts'
import { answered, bench, MINUTE, NOW, refused, STRICT, until } from './blame-driver.ts'

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

  it('row 1: a timeout of an answer that is paid in full ends it, any other failure does not', () => {
    const context = { nowMs: NOW, spill: STRICT, isPaidInFull: true }
    for (const clock of ['headers', 'first_output', 'idle'] as const) {
      const found = blame({ kind: 'timeout', clock }, context)
      expect(found).toMatchObject({ row: '1', outcome: 'failure', next: { kind: 'none' } })
    }
    expect(blame({ kind: 'network' }, context).next).toEqual(retry)
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
      // No row but the last knows it, so its operator is told.
      ...(row === '16b' ? { unknownError: `${status} server` } : {}),
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

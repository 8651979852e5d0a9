import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BLAME_TABLE, blame, NOBODY } from '../../../src/openrouter/failures/blame.ts'
import { answered, DAY_MS, NOW, refused, STRICT } from './blame-driver.ts'

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

  it.each([
    'vendor/x is not a valid model ID',
    'Invalid model: vendor/x',
    'The model `gpt-4.1-nope` does not exist',
    'Model vendor/x not found',
  ])('row 15: a 400 "%s" goes to another model', (message) => {
    expect(refused(400, message)).toMatchObject({ row: '15', next: { kind: 'fallback' } })
    expect(refused(422, message).next).toEqual({ kind: 'none' })
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

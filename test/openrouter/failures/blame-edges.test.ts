import { describe, expect, it } from 'vitest'
import { type BlameRowId, NOBODY } from '../../../src/openrouter/failures/blame.ts'
import { inWords } from '../../../src/openrouter/failures/fault-words.ts'
import {
  failureOf,
  readError,
  type UpstreamFailure,
} from '../../../src/openrouter/failures/upstream-failure.ts'
import { answered, bench, LOOKUP, NOW, refused, until } from './blame-driver.ts'

/** Cases that stand next to a rule and are not of it, or just are. Each was once a mutant that lived. */

describe('which row it is', () => {
  it.each<[BlameRowId, number, string, Record<string, unknown>?]>([
    ['5', 403, '  Key limit exceeded'],
    ['14', 403, 'See: key limit exceeded'],
    ['12', 429, 'Slow down', { limit_source: 'key_limit' }],
    ['12', 429, 'You have asked for too many tokens'],
    ['9', 402, 'Raise the limit of this key', { limit_source: 'credits' }],
    ['6', 402, 'Raise the limit of this key', { limit_source: 'other' }],
    ['7', 402, 'No', { limit_source: 'in_flight_budget' }],
    ['7', 402, 'No', { reason: 'in_flight_budget_exhausted' }],
    ['9', 402, 'No', { limit_source: '', reason: '' }],
    ['12', 429, 'No', { limit_source: 'a_free_tier_daily' }],
    ['13b', 403, 'Your budget is exhausted'],
    ['14', 403, 'Your budget is exhausted', { reasons: ['violence'] }],
    ['15', 404, 'Your budget is exhausted'],
    ['14', 403, 'Your quota is exhausted'],
    ['13', 404, 'No endpoint by your data policy'],
    ['15', 400, 'No endpoint by your data policy'],
    ['3', 502, 'Bad gateway', { provider_name: 'X', reasons: null }],
    ['16b', 500, 'No', { failed_routing_step: 'Filter by Parameters' }],
    ['13', 404, 'No', { scope: 'my_openrouter_api_key', missing_attestation_types: ['x'] }],
  ])('%s: %i “%s” %j', (row, status, message, metadata) => {
    expect(refused(status, message, metadata).row).toBe(row)
  })

  it.each([
    [401, '4'],
    [402, '9'],
    [403, '1'],
    [404, '15'],
    [429, '1'],
    [502, '1'],
  ] as const)('%i without an error of OpenRouter in it: row %s', (status, row) => {
    for (const body of ['<html>', undefined, {}]) expect(answered(status, body).row).toBe(row)
  })

  it('3: a tier without capacity, where /responses names it by a code only', () => {
    const failed = { status: 'failed', error: { code: 'flex_unavailable', message: 'Busy' } }
    expect(answered(200, failed).row).toBe('3')
    expect(readError(failed, 200)).toMatchObject({ status: 503, errorType: 'flex_unavailable' })
  })
})

describe('how long a key rests', () => {
  const DAY = 24 * 60 * 60_000
  const spent = (message: string, metadata?: Record<string, unknown>) =>
    refused(403, `Key limit exceeded${message}`, metadata).benches

  it.each<[string, string, Record<string, unknown> | undefined, number | null]>([
    ['seconds', '', { resets_at: (NOW - 500) / 1000 + 60 }, NOW - 500 + 60_000],
    ['milliseconds', '', { resets_at: NOW + 60_000 }, NOW + 60_000],
    ['a text', '', { resets_at: '2026-11-23T00:00:00Z' }, Date.UTC(2026, 10, 23)],
    ['this moment', '', { resets_at: NOW }, null],
    ['no moment', '', { resets_at: true }, null],
    ['a month on', '', { resets_at: NOW + 31 * DAY }, NOW + 31 * DAY],
    ['too far', '', { resets_at: NOW + 33 * DAY }, null],
    ['a day in the text', ', resets 2026-11-23', undefined, Date.UTC(2026, 10, 23)],
    ['no zone', ', resets 2026-11-23T06:00', undefined, Date.UTC(2026, 10, 23, 6)],
    ['a zone', ', resets 2026-11-23T06:00+02:00', undefined, Date.UTC(2026, 10, 23, 4)],
    ['too far in the text', ', resets 2027-01-23', undefined, null],
  ])('whose limit ends at %s', (_, message, metadata, untilMs) => {
    const term = untilMs === null ? LOOKUP : until(untilMs)
    expect(spent(message, metadata)).toEqual(bench('key', 'key_spent', term))
  })

  it('a second at least, also if told less', () => {
    const soon = refused(429, 'Slow down', {}, { 'retry-after-ms': '100' })
    expect(soon.benches).toMatchObject([{ term: until(NOW + 1000) }])
    const later = refused(429, 'Slow down', {}, { 'retry-after-ms': '1250' })
    expect(later.benches).toMatchObject([{ term: until(NOW + 1250) }])
  })
})

describe('the name of an error that no row knows', () => {
  it.each([
    ['odd_thing', '500 odd_thing'],
    ['a'.repeat(40), `500 ${'a'.repeat(40)}`],
    ['a'.repeat(41), '500'],
    ['Odd thing', '500'],
    ['odd_thing\nx', '500'],
    ['-odd', '500'],
    [undefined, '500'],
  ])('%j is told as %s', (error_type, told) => {
    expect(refused(500, 'No', { error_type }).unknownError).toBe(told)
  })
})

describe('an error inside a 200', () => {
  it.each([
    [399, 502],
    [400, 400],
    [599, 599],
    [600, 502],
    [400.5, 502],
    ['x503', 502],
    ['5031', 502],
    [{ code: 503 }, 502],
    [['rate_limit_exceeded'], 502],
  ])('with the code %j has the status %i', (code, status) => {
    expect(readError({ error: { code } }, null)).toMatchObject({ status, message: '' })
  })

  it('is the failure of a response, with its status and the headers of the 200', () => {
    const error = readError({ error: { code: 503, message: 'No' } }, null)
    const headers = new Headers({ 'retry-after': '1' })
    if (error === null) throw new Error('It is an error.')
    expect(failureOf(error, headers)).toEqual({ kind: 'response', status: 503, headers, error })
  })

  it('keeps the name of a limit that only holds the prefix somewhere', () => {
    const error = { code: 403, metadata: { limit_source: 'my_openrouter_limit' } }
    expect(readError({ error }, null)?.limitSource).toBe('my_openrouter_limit')
  })
})

describe('a failure in words', () => {
  const clocks = ['headers', 'first_output', 'idle', 'total'] as const
  const failures: readonly (readonly [UpstreamFailure, string])[] = [
    [{ kind: 'network' }, 'the connection to OpenRouter failed'],
    [{ kind: 'truncated' }, 'the answer broke off'],
    [{ kind: 'response', status: 500, headers: new Headers(), error: null }, 'OpenRouter failed'],
  ]

  it.each(failures)('%j', (failure, words) => {
    expect(inWords('16b', failure)).toBe(words)
  })

  it('says which clock it was', () => {
    const words = clocks.map((clock) => inWords(NOBODY.row, { kind: 'timeout', clock }))
    expect(new Set(words).size).toBe(clocks.length)
    expect(words[3]).toBe('the request took too long')
  })
})

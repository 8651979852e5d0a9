import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { resetAtMs } from '../../../src/openrouter/failures/retry-after.ts'
import { readError } from '../../../src/openrouter/failures/upstream-failure.ts'

const NOW = Date.parse('2026-11-21T10:20:30.000Z')
const DAY_MS = 24 * 60 * 60 * 1000

function resetOf(headers: Record<string, string>, inBody?: unknown, nowMs = NOW): number | null {
  const body = { error: { code: 429, message: 'No', metadata: { headers: inBody } } }
  return resetAtMs(
    { kind: 'response', status: 429, headers: new Headers(headers), error: readError(body, 429) },
    nowMs,
  )
}

describe('resetAtMs', () => {
  it.each([
    ['0', 1000],
    ['0.0', 1000],
    ['30', 30_000],
    [' 30 ', 30_000],
    ['1.5', 1500],
    ['1.25', 1250],
    ['Sat, 21 Nov 2026 10:21:00 GMT', 30_000],
    ['Saturday, 21-Nov-26 10:21:00 GMT', 30_000],
    ['Sat Nov 21 10:21:00 2026', 30_000],
    ['Sat, 21 Nov 2026 23:59:60 GMT', 49_170_000],
  ])('takes Retry-After "%s"', (value, waitMs) => {
    expect(resetOf({ 'retry-after': value })).toBe(NOW + waitMs)
  })

  it('takes a day of one digit in asctime’s form', () => {
    const nowMs = Date.parse('2026-12-05T23:59:00Z')
    expect(resetOf({ 'retry-after': 'Sun Dec  6 00:00:10 2026' }, undefined, nowMs)).toBe(
      nowMs + 70_000,
    )
  })

  it('takes two digits of a year for the past where they would be more than 50 years ahead', () => {
    expect(resetOf({ 'retry-after': 'Sunday, 06-Nov-94 08:49:37 GMT' })).toBe(NOW + 1000)
    expect(resetOf({ 'retry-after': 'Saturday, 06-Nov-60 08:49:37 GMT' })).toBe(NOW + DAY_MS)
  })

  it('takes retry-after-ms before Retry-After, and both before the end of the window', () => {
    const reset = { 'x-ratelimit-reset': String(NOW + 60_000) }
    expect(resetOf({ 'retry-after-ms': '250', 'retry-after': '9', ...reset })).toBe(NOW + 250)
    expect(resetOf({ 'retry-after': '9', ...reset })).toBe(NOW + 9000)
    expect(resetOf(reset)).toBe(NOW + 60_000)
  })

  it.each([
    { 'X-RateLimit-Reset': String(NOW + 5000) },
    { 'x-ratelimit-reset': NOW + 5000 },
    { 'X-RATELIMIT-RESET': String(NOW + 5000), 'X-RateLimit-Limit': '20' },
    { 'Retry-After': 5 },
    { 'retry-after': '5' },
  ])('finds the hint in metadata.headers: %j', (inBody) => {
    expect(resetOf({}, inBody)).toBe(NOW + 5000)
  })

  it('trims a date in the body', () => {
    expect(resetOf({}, { 'retry-after': ' Sun, 01 Nov 2026 10:21:00 GMT ' })).toBe(NOW + 1000)
  })

  it.each([{ 'retry-after': ['5'] }, { 'x-ratelimit-reset': 'soon' }, { 'retry-after': null }])(
    'finds none in %j',
    (inBody) => {
      expect(resetOf({}, inBody)).toBeNull()
    },
  )

  it('falls back on the body where the header is nonsense', () => {
    expect(resetOf({ 'retry-after': 'soon' }, { 'Retry-After': '5' })).toBe(NOW + 5000)
  })

  it.each([
    '-1',
    '',
    'soon',
    '1e3',
    '0x10',
    'Infinity',
    'NaN',
    '30, 30',
    'Sat, 31 Feb 2026 10:21:00 GMT',
    'Sat, 21 Nov 2026 25:00:00 GMT',
    'Sat, 21 Nov 2026 10:60:00 GMT',
    'Sat, 21 Nov 2026 10:21:61 GMT',
    'Sat, 00 Nov 2026 10:21:00 GMT',
    'Sat, 21 Foo 2026 10:21:00 GMT',
    'Sat, 21 Nov 2026 10:21:00 CET',
    '2026-11-21T10:21:00Z',
  ])('takes Retry-After "%s" for nothing', (value) => {
    expect(resetOf({ 'retry-after': value })).toBeNull()
  })

  it('takes a reset that has passed for a second', () => {
    expect(resetOf({ 'x-ratelimit-reset': String(NOW - 1) })).toBe(NOW + 1000)
    expect(resetOf({ 'x-ratelimit-reset': '0' })).toBe(NOW + 1000)
    expect(resetOf({ 'retry-after-ms': '0' })).toBe(NOW + 1000)
    expect(resetOf({ 'retry-after': 'Sun, 06 Nov 1994 08:49:37 GMT' })).toBe(NOW + 1000)
  })

  it('takes X-RateLimit-Reset in epoch seconds as well', () => {
    const seconds = NOW / 1000 + 60
    expect(resetOf({ 'x-ratelimit-reset': String(seconds) })).toBe(NOW + 60_000)
    expect(resetOf({}, { 'X-RateLimit-Reset': `${seconds}.5` })).toBe(NOW + 60_500)
    expect(resetOf({ 'x-ratelimit-reset': String(NOW / 1000 - 60) })).toBe(NOW + 1000)
  })

  it('knows that 2000 was a leap year, and 1900 was none', () => {
    expect(resetOf({ 'retry-after': 'Tuesday, 29-Feb-00 10:00:00 GMT' })).toBe(NOW + 1000)
    expect(resetOf({ 'retry-after': 'Sunday, 29-Feb-26 10:00:00 GMT' })).toBeNull()
    const leapDay = Date.parse('2028-02-29T09:59:30Z')
    expect(resetOf({ 'retry-after': 'Tuesday, 29-Feb-28 10:00:00 GMT' }, undefined, leapDay)).toBe(
      leapDay + 30_000,
    )
  })

  it('believes no reset of more than 24 hours', () => {
    expect(resetOf({ 'retry-after': '86401' })).toBe(NOW + DAY_MS)
    expect(resetOf({ 'retry-after': '9'.repeat(400) })).toBe(NOW + DAY_MS)
    expect(resetOf({ 'x-ratelimit-reset': '99999999999999' })).toBe(NOW + DAY_MS)
  })

  it('finds nothing where nothing was answered', () => {
    expect(resetAtMs({ kind: 'network' }, NOW)).toBeNull()
    expect(resetOf({})).toBeNull()
  })

  it('reads the HTTP date of any second', () => {
    const soon = fc.integer({ min: 1, max: 86_400 })
    fc.assert(
      fc.property(soon, (seconds) => {
        const atMs = NOW + seconds * 1000
        expect(resetOf({ 'retry-after': new Date(atMs).toUTCString() })).toBe(atMs)
      }),
    )
  })

  it('never leaves the next 24 hours, whatever metadata.headers holds', () => {
    const names = fc.constantFrom('Retry-After', 'retry-after-ms', 'X-RateLimit-Reset')
    fc.assert(
      fc.property(fc.oneof(fc.dictionary(names, fc.anything()), fc.anything()), (inBody) => {
        const atMs = resetOf({}, inBody)
        if (atMs === null) return
        expect(atMs).toBeGreaterThan(NOW)
        expect(atMs).toBeLessThanOrEqual(NOW + DAY_MS)
      }),
    )
  })
})

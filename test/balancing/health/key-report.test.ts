import { describe, expect, it } from 'vitest'
import type { Bench } from '../../../src/balancing/health/bench.ts'
import {
  accountBenchAfterReport,
  benchAfterReport,
  freeBenchAfterReport,
  type KeyReport,
} from '../../../src/balancing/health/key-report.ts'
import { keyId } from '../../../src/balancing/ids.ts'

const T = Date.UTC(2026, 10, 26, 12)
const MIDNIGHT = Date.UTC(2026, 10, 27)
const KEY = keyId('a')

type Valid = Extract<KeyReport, { kind: 'valid' }>

const valid = (told: Partial<Valid> = {}): Valid => ({
  ...{ keyId: KEY, kind: 'valid', limitUsd: 10, remainingUsd: 5, resetsAtMs: null },
  ...{ expiresAtMs: null, owner: null, balanceUsd: null, askedAtMs: T + 1 },
  ...told,
})
const rejected = (askedAtMs = T + 1): KeyReport => ({ keyId: KEY, kind: 'rejected', askedAtMs })
const UNKNOWN: KeyReport = { keyId: KEY, kind: 'unknown' }

const bench = (told: Partial<Bench> = {}): Bench => ({
  ...{ reason: 'key_rejected', untilMs: T + 60_000, cure: 'lookup', provenance: 'guess' },
  ...{ sinceMs: T, hidden: null },
  ...told,
})
const LIMIT = bench({ reason: 'account_rate_limited', untilMs: T + 30_000, cure: 'time' })
const SPENT = bench({ reason: 'key_spent', untilMs: null })
const CONVICTED = bench({ untilMs: null, provenance: 'upstream', sinceMs: T + 10 })

describe('after a report the bench of a key', () => {
  it.each([
    ['that is suspected ends by a valid answer', bench(), valid(), null],
    ['that is suspected ends although the key is spent', bench(), valid({ remainingUsd: 0 }), null],
    ['that is convicted ends by a valid answer', bench({ untilMs: null }), valid(), null],
    ['that is suspected is a conviction after a 401', bench(), rejected(), CONVICTED],
    [
      'that covers a rate limit still covers it after a 401',
      bench({ hidden: LIMIT }),
      rejected(),
      { ...CONVICTED, hidden: LIMIT },
    ],
    ['that covers a rate limit shows it', bench({ hidden: LIMIT }), valid(), LIMIT],
    ['that is spent ends with room', SPENT, valid(), null],
    ['that is spent ends without a cap', SPENT, valid({ remainingUsd: null }), null],
  ])('%s', (_, before, lookup, after) => {
    expect(benchAfterReport(before, lookup, T + 10)).toEqual(after)
  })

  it.each([
    ['that is convicted, by another 401', bench({ untilMs: null }), rejected()],
    ['that is suspected, by no answer', bench(), UNKNOWN],
    ['that is suspected, by an answer from before', bench(), valid({ askedAtMs: T - 1 })],
    ['that is spent, without room', SPENT, valid({ remainingUsd: 0 })],
    ['that is spent, by a 401', SPENT, rejected()],
    [
      'that has no end but is no rejection, by a 401',
      { ...SPENT, untilMs: T + 60_000 },
      rejected(),
    ],
    ['that only rests, by a valid answer', LIMIT, valid()],
    ['that only rests, by a 401', LIMIT, rejected()],
  ])('stays: one %s', (_, before, lookup) => {
    expect(benchAfterReport(before, lookup, T + 10)).toBe(before)
  })

  it('is ended by an answer of its own moment', () => {
    expect(benchAfterReport(bench(), valid({ askedAtMs: T }), T)).toBeNull()
  })

  it('is none where there was none', () => {
    expect(benchAfterReport(null, rejected(), T)).toBeNull()
  })
})

describe('after a report the bench of an account without credit', () => {
  const OUT = bench({ reason: 'account_out_of_credit', untilMs: null })

  it.each([
    ['ends by a balance', OUT, false, valid({ balanceUsd: 1 }), null],
    ['ends by room of a key that had none', OUT, true, valid(), null],
    ['shows what it covers', { ...OUT, hidden: LIMIT }, true, valid(), LIMIT],
    ['ends by an answer of its own moment', OUT, true, valid({ askedAtMs: T }), null],
  ])('%s', (_, before, hadNoRoom, lookup, after) => {
    expect(accountBenchAfterReport(before, hadNoRoom, lookup, T + 10)).toEqual(after)
  })

  it.each([
    ['a balance of nothing, whatever the key has', OUT, true, valid({ balanceUsd: 0 })],
    ['room that the key always had', OUT, false, valid()],
    ['no room', OUT, true, valid({ remainingUsd: 0 })],
    ['an answer from before', OUT, true, valid({ askedAtMs: T - 1 })],
    ['a 401', OUT, true, rejected()],
    ['no answer', OUT, true, UNKNOWN],
    ['a balance, where it only rests', LIMIT, true, valid({ balanceUsd: 1 })],
  ])('stays after %s', (_, before, hadNoRoom, lookup) => {
    expect(accountBenchAfterReport(before, hadNoRoom, lookup, T + 10)).toBe(before)
  })

  it('that has ended is not looked at again', () => {
    const ended = { ...OUT, untilMs: T }
    expect(accountBenchAfterReport(ended, true, valid(), T + 10)).toBe(ended)
  })
})

describe('after a report the bench of free models', () => {
  const none = valid({ freeRemaining: 0 })
  const some = valid({ freeRemaining: 1 })
  const COUNTED = bench({
    ...{ reason: 'account_rate_limited', detail: 'free_tier_spent', cure: 'time' },
    ...{ untilMs: MIDNIGHT, sinceMs: T + 1 },
  })

  it('begins with the last free request and lasts until midnight', () => {
    expect(freeBenchAfterReport(null, none, T + 10)).toEqual(COUNTED)
  })

  it.each([
    ['by a counter of something', COUNTED, some, null],
    ['by none', COUNTED, valid(), COUNTED],
    ['by one of before', COUNTED, { ...some, askedAtMs: T }, COUNTED],
    ['that OpenRouter named', { ...COUNTED, provenance: 'upstream' as const }, some, 'itself'],
    ['of another kind', { ...COUNTED, detail: undefined }, some, 'itself'],
  ])('ends or stays: %s', (_, before, lookup, after) => {
    expect(freeBenchAfterReport(before, lookup, T + 10)).toEqual(
      after === 'itself' ? before : after,
    )
  })

  it('does not begin where the counter is not told', () => {
    expect(freeBenchAfterReport(null, valid({ freeRemaining: null }), T + 10)).toBeNull()
    expect(freeBenchAfterReport(null, valid(), T + 10)).toBeNull()
  })

  it('does not begin by an answer of yesterday', () => {
    expect(freeBenchAfterReport(null, none, MIDNIGHT - 1)).not.toBeNull()
    expect(freeBenchAfterReport(null, none, MIDNIGHT)).toBeNull()
    expect(freeBenchAfterReport(null, none, MIDNIGHT + 1)).toBeNull()
  })
})

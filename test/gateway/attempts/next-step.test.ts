import { describe, expect, it } from 'vitest'
import { fullJitterBackoffMs } from '../../../src/gateway/attempts/backoff.ts'
import { nextStep, type Standing } from '../../../src/gateway/attempts/next-step.ts'
import { type Blame, type Next, NOBODY } from '../../../src/openrouter/failures/blame.ts'

const STANDING: Standing = {
  attempts: 1,
  maxAttempts: 4,
  retries: 0,
  providerRetried: false,
  hasFallback: false,
  remainingMs: 10_000,
}

const ended = (next: Next): Blame => ({ ...NOBODY, next })
const retry = (notBeforeMs: number | null, limit: 'attempts' | 'once' = 'attempts') =>
  ended({ kind: 'retry', limit, notBeforeMs })
const step = (blame: Blame, standing: Partial<Standing> = {}) =>
  nextStep(blame, { ...STANDING, ...standing }, () => 0.5)

const GIVE_UP = { kind: 'give_up' }

describe('the next step', () => {
  it('is none where the failure allows none', () => {
    expect(step(ended({ kind: 'none' }))).toEqual(GIVE_UP)
  })

  it('is none after the last attempt, whatever the failure was', () => {
    for (const next of [ended({ kind: 'move', exclude: 'key' }), retry(0), retry(0, 'once')]) {
      expect(step(next, { attempts: 4 })).toEqual(GIVE_UP)
      expect(step(next, { attempts: 3 })).toMatchObject({ kind: 'again' })
    }
  })

  it('is a move at once, away from what failed', () => {
    for (const exclude of ['key', 'account'] as const) {
      expect(step(ended({ kind: 'move', exclude }))).toEqual({
        kind: 'again',
        attempt: 'move',
        exclude,
        model: 'same',
        waitMs: 0,
      })
    }
  })

  it('is none when the time is over', () => {
    expect(step(ended({ kind: 'move', exclude: 'key' }), { remainingMs: 0 })).toEqual(GIVE_UP)
    expect(step(retry(0), { remainingMs: 0 })).toEqual(GIVE_UP)
  })

  it('is a retry with another key after a backoff, however long the failed key is to rest', () => {
    expect(step(retry(9_999))).toMatchObject({ attempt: 'retry', waitMs: 125 })
    expect(step(retry(10 ** 12))).toMatchObject({ attempt: 'retry', waitMs: 125 })
  })

  it('is none where that wait would not leave any time', () => {
    expect(step(retry(null), { retries: 5, remainingMs: 2_500 })).toEqual(GIVE_UP)
  })

  it('is a retry after a backoff where upstream asked for no time', () => {
    expect(step(retry(null), { retries: 2 })).toMatchObject({ attempt: 'retry', waitMs: 500 })
  })

  it('is one retry, and no other, after faults of the provider', () => {
    expect(step(retry(null, 'once'))).toMatchObject({ attempt: 'retry' })
    expect(step(retry(null, 'once'), { providerRetried: true })).toEqual(GIVE_UP)
    expect(step(retry(null), { providerRetried: true })).toMatchObject({ attempt: 'retry' })
  })
})

describe('the next step of a request that has another model', () => {
  const other = { kind: 'again', attempt: 'move', model: 'next', waitMs: 0 }

  it('is that model, where the failure is one of this model or of its free tier', () => {
    const blame = ended({ kind: 'fallback' })
    expect(step(blame, { hasFallback: true })).toMatchObject(other)
    expect(step(blame)).toEqual(GIVE_UP)
  })

  it('is one more try of the same after a fault of the provider, and then that model', () => {
    const blame = retry(null, 'once')
    expect(step(blame, { hasFallback: true })).toMatchObject({ attempt: 'retry', model: 'same' })
    expect(step(blame, { hasFallback: true, providerRetried: true })).toMatchObject(other)
  })

  it('is none after the last attempt, when the time is over, or where the caller is at fault', () => {
    const standing = { hasFallback: true }
    expect(step(ended({ kind: 'fallback' }), { ...standing, attempts: 4 })).toEqual(GIVE_UP)
    expect(step(ended({ kind: 'fallback' }), { ...standing, remainingMs: 0 })).toEqual(GIVE_UP)
    expect(step(ended({ kind: 'none' }), standing)).toEqual(GIVE_UP)
  })
})

describe('the backoff', () => {
  it('lies between nothing and a bound that doubles up to five seconds', () => {
    for (const [n, bound] of [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000].entries()) {
      expect(fullJitterBackoffMs(n, () => 0)).toBe(0)
      expect(fullJitterBackoffMs(n, () => 0.5)).toBe(bound / 2)
      expect(fullJitterBackoffMs(n, () => 1 - 2 ** -53)).toBeLessThanOrEqual(bound)
    }
    expect(fullJitterBackoffMs(2_000, () => 0.5)).toBe(2_500)
  })
})

import { describe, expect, it } from 'vitest'
import type { Bench } from '../../../src/balancing/health/bench.ts'
import {
  afterReport,
  doubt,
  isDueAtRest,
  type LookupState,
  NEVER_LOOKED_UP,
  reportDueMs,
} from '../../../src/balancing/health/lookup-duty.ts'
import { keyId } from '../../../src/balancing/ids.ts'
import type { BenchReason } from '../../../src/balancing/settlement.ts'

const T = 1_800_000_000_000
const FIVE_MINUTES = 300_000

const benched = (reason: BenchReason, untilMs: number | null = null): Bench => ({
  ...{ reason, untilMs, cure: 'lookup', provenance: 'guess', sinceMs: T - 1, hidden: null },
})
const lookup = (told: Partial<LookupState> = {}): LookupState => ({ ...NEVER_LOOKED_UP, ...told })
const NOT_YET = lookup({ duty: { kind: 'due', atMs: T + 1 }, reportedAtMs: T - 1 })
const isDue = (
  state: LookupState,
  bench: Bench | null = null,
  accountBench: Bench | null = null,
  isCapNear = false,
) => isDueAtRest({ lookup: state, bench, account: { bench: accountBench } }, isCapNear, T)

describe('without requests a key is looked up', () => {
  it.each([
    ['that is rejected', benched('key_rejected'), null, false],
    ['that is spent', benched('key_spent'), null, false],
    ['whose account has no credit', null, benched('account_out_of_credit'), false],
    ['that is near its cap', null, null, true],
  ])('%s, when its duty is due', (_, bench, accountBench, isCapNear) => {
    expect(isDue(lookup(), bench, accountBench, isCapNear)).toBe(true)
    expect(isDue(NOT_YET, bench, accountBench, isCapNear)).toBe(false)
  })

  it('that is in doubt, when its duty is due', () => {
    expect(isDue(lookup({ doubtedAtMs: T - 5 }))).toBe(true)
    expect(isDue({ ...NOT_YET, doubtedAtMs: T - 5 })).toBe(false)
  })

  it.each([
    ['is well', null, null],
    ['rests until a moment', benched('account_rate_limited', T + 1_000), null],
    ['was rejected, and is not any more', benched('key_rejected', T), null],
    ['has an account that only rests', null, benched('account_rate_limited', T + 1_000)],
    ['has an account that was without credit', null, benched('account_out_of_credit', T)],
  ])('not while nothing can change by it: one that %s', (_, bench, accountBench) => {
    expect(isDue(lookup(), bench, accountBench)).toBe(false)
  })

  it('every five minutes while its account has no credit, however rarely others are', () => {
    const poor = benched('account_out_of_credit')
    const reported = (atMs: number | null) => ({ ...NOT_YET, reportedAtMs: atMs })
    expect(isDue(reported(T - FIVE_MINUTES), null, poor)).toBe(true)
    expect(isDue(reported(T - FIVE_MINUTES + 1), null, poor)).toBe(false)
    expect(isDue(reported(null), null, poor)).toBe(true)
    expect(isDue(reported(T - FIVE_MINUTES), benched('key_rejected'))).toBe(false)
  })

  it('by nobody else while somebody is out for it', () => {
    const out = { kind: 'out', overdueAtMs: T + 1 } as const
    const state = { ...NOT_YET, duty: out, reportedAtMs: T - FIVE_MINUTES }
    expect(isDue(state, null, benched('account_out_of_credit'))).toBe(false)
  })
})

describe('the next report of a key may come', () => {
  it.each([
    ['a second after a duty that is due', { kind: 'due', atMs: T } as const, T + 1_000],
    ['when its duty is due', { kind: 'due', atMs: T + 60_000 } as const, T + 60_000],
    ['in a second where somebody is out', { kind: 'out', overdueAtMs: T + 9 } as const, T + 1_000],
  ])('%s', (_, duty, atMs) => {
    expect(reportDueMs(lookup({ duty }), T)).toBe(atMs)
  })
})

describe('a doubt', () => {
  const answer = (askedAtMs: number) =>
    ({ kind: 'rejected', keyId: keyId('a'), askedAtMs }) as const
  const doubted = doubt(NOT_YET, T)

  it('is over with an answer from since, of any kind, and the key is not watched any more', () => {
    const state = afterReport(doubted, answer(T), T + 5, 60_000)
    expect(state).toMatchObject({ doubtedAtMs: null, verifiedAtMs: T + 5 })
    expect(isDue({ ...state, duty: { kind: 'due', atMs: T } })).toBe(false)
  })

  it('stands after a lookup that failed, or that began before it', () => {
    const failed = afterReport(doubted, { kind: 'unknown', keyId: keyId('a') }, T + 5, 60_000)
    expect(failed).toMatchObject({ doubtedAtMs: T, duty: { kind: 'due', atMs: T + 5 + 60_000 } })
    expect(afterReport(doubted, answer(T - 1), T + 5, 60_000)).toMatchObject({
      doubtedAtMs: T,
      verifiedAtMs: T + 5,
    })
  })

  it('that nobody had is verified by no report', () => {
    expect(afterReport(NOT_YET, answer(T), T, 60_000)).toMatchObject({ verifiedAtMs: null })
  })

  it('is looked into at once the first time, and a minute after the last time from then on', () => {
    expect(doubt(NOT_YET, T).duty).toEqual({ kind: 'due', atMs: T })
    const again = { ...NOT_YET, verifiedAtMs: T - 20_000 }
    expect(doubt(again, T).duty).toEqual({ kind: 'due', atMs: T + 40_000 })
    const long = { ...NOT_YET, verifiedAtMs: T - 90_000 }
    expect(doubt(long, T).duty).toEqual({ kind: 'due', atMs: T })
  })
})

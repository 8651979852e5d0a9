import { describe, expect, it } from 'vitest'
import type { Bench } from '../../../src/balancing/health/bench.ts'
import {
  createRejectionWave,
  forgetRefusals,
  isWaveOn,
  noteAccepted,
  noteRefused,
  type RejectionWave,
} from '../../../src/balancing/health/rejection-wave.ts'
import { accountId, keyId } from '../../../src/balancing/ids.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const SUSPECT = {
  outcome: 'failure',
  fault: 'key',
  suspect: true,
  benches: [{ scope: 'key', reason: 'key_rejected', term: { kind: 'for', forMs: 60_000 } }],
} as const

function refuse(pool: PoolDriver, ...ids: string[]): void {
  for (const id of ids) pool.give(pool.grantOf(id), SUSPECT)
}

const TWO_EACH = [
  { id: 'a1', account: 'a' },
  { id: 'a2', account: 'a' },
  { id: 'b1', account: 'b' },
  { id: 'b2', account: 'b' },
]

const restsMs = (pool: PoolDriver, id: string) =>
  (pool.key(id).bench?.untilMs ?? pool.now()) - pool.now()

it('all keys of two accounts that are refused within seconds rest for seconds', () => {
  const pool = drivePool(TWO_EACH)
  refuse(pool, 'a1', 'a2', 'b1')
  expect(restsMs(pool, 'a1')).toBeGreaterThanOrEqual(60_000)
  refuse(pool, 'b2')
  for (const { id } of TWO_EACH) {
    expect(restsMs(pool, id)).toBeGreaterThanOrEqual(5_000)
    expect(restsMs(pool, id)).toBeLessThanOrEqual(6_000)
    expect(pool.key(id).breaker).toMatchObject({ kind: 'closed', failuresAtMs: [] })
  }
})

it('keys that are refused far apart, or with an answer in between, are rejected for themselves', () => {
  const apart = drivePool(['a', 'b'])
  refuse(apart, 'a')
  apart.wait(10_000)
  refuse(apart, 'b')
  const between = drivePool(['a', 'b', 'c'])
  refuse(between, 'a')
  between.give(between.grantOf('c'))
  refuse(between, 'b')
  for (const pool of [apart, between]) expect(restsMs(pool, 'b')).toBeGreaterThanOrEqual(60_000)
})

it('an answer that began before proves nothing, one that began since ends it', () => {
  const pool = drivePool(['a', 'b', 'c'])
  const old = pool.grantOf('c')
  pool.wait(1)
  refuse(pool, 'a', 'b')
  pool.give(old)
  refuse(pool, 'c')
  expect(restsMs(pool, 'c')).toBeLessThanOrEqual(6_000)
  pool.wait(6_000)
  pool.give(pool.grantOf('c'))
  refuse(pool, 'a')
  expect(restsMs(pool, 'a')).toBeGreaterThanOrEqual(60_000)
})

describe('a wave of refusals', () => {
  const T = 1_800_000_000_000
  const RESTS: Bench = {
    ...{ reason: 'account_rate_limited', untilMs: T + 3_600_000, cure: 'time' },
    ...{ provenance: 'upstream', sinceMs: T, hidden: null },
  }

  /** Keys by name: the first letter is their account. `-` is disabled, `~` rests. */
  const keysOf = (names: string) =>
    names.split(' ').map((name) => ({
      id: keyId(name.slice(0, 2)),
      account: { id: accountId(name.slice(0, 1)) },
      config: { disabled: name.endsWith('-') },
      bench: name.endsWith('~') ? RESTS : null,
    }))

  /** What each refusal shows: `name: afterMs`. */
  const refused = (wave: RejectionWave, keys: string, ...refusals: [string, number][]) =>
    refusals.map(([id, ms]) => noteRefused(wave, keysOf(keys), keyId(id), T + ms).kind)

  it.each([
    ['two accounts of one key each', 'a1 b1', ['a1', 'b1'], 'platforms'],
    ['two accounts, and of one a key is not refused', 'a1 a2 b1', ['a1', 'b1'], 'keys_own'],
    ['two accounts, and the rest of one is disabled', 'a1 a2- b1', ['a1', 'b1'], 'platforms'],
    ['two accounts, and the rest of one cannot be asked', 'a1 a2~ b1', ['a1', 'b1'], 'platforms'],
    ['two keys of one account', 'a1 a2', ['a1', 'a2'], 'keys_own'],
    ['one key, twice', 'a1 b1', ['a1', 'a1'], 'keys_own'],
    ['two of three accounts', 'a1 b1 c1', ['a1', 'b1'], 'platforms'],
  ] as const)('is one, or none: %s', (_, keys, ids, last) => {
    const wave = createRejectionWave()
    expect(isWaveOn(wave, T)).toBe(false)
    const kinds = refused(wave, keys, ...ids.map((id): [string, number] => [id, 0]))
    expect(kinds.at(-1)).toBe(last)
    expect(isWaveOn(wave, T)).toBe(last === 'platforms')
  })

  it('is of refusals of ten seconds', () => {
    const [near, far] = [createRejectionWave(), createRejectionWave()]
    expect(refused(near, 'a1 b1', ['a1', 0], ['b1', 9_999])).toEqual(['keys_own', 'platforms'])
    expect(refused(far, 'a1 b1', ['a1', 0], ['b1', 10_000])).toEqual(['keys_own', 'keys_own'])
  })

  it('takes the earlier refusals back when it begins, a hundred of a key at most, and none later', () => {
    const wave = createRejectionWave()
    for (let ms = 0; ms < 150; ms++) refused(wave, 'a1 b1', ['a1', ms])
    const begun = noteRefused(wave, keysOf('a1 b1'), keyId('b1'), T + 150)
    if (begun.kind !== 'platforms') throw new Error('No wave has begun.')
    const taken = begun.begins?.get(keyId('a1')) ?? []
    expect([taken.length, taken.at(0), taken.at(-1)]).toEqual([100, T + 50, T + 149])
    expect(begun.begins?.get(keyId('b1'))).toEqual([T + 150])
    const next = noteRefused(wave, keysOf('a1 b1'), keyId('a1'), T + 151)
    expect(next).toEqual({ kind: 'platforms', begins: null })
  })

  it('is over a minute after the last refusal', () => {
    const wave = createRejectionWave()
    refused(wave, 'a1 b1', ['a1', 0], ['b1', 5])
    expect(isWaveOn(wave, T + 60_004)).toBe(true)
    expect(isWaveOn(wave, T + 60_005)).toBe(false)
    expect(refused(wave, 'a1 b1', ['a1', 60_006])).toEqual(['keys_own'])
  })

  it('is over with an answer to what began since its first refusal', () => {
    const wave = createRejectionWave()
    refused(wave, 'a1 b1', ['a1', 0], ['b1', 5])
    noteAccepted(wave, T - 1)
    expect(isWaveOn(wave, T + 5)).toBe(true)
    noteAccepted(wave, T)
    expect(isWaveOn(wave, T + 5)).toBe(false)
    expect(refused(wave, 'a1 b1', ['b1', 6])).toEqual(['keys_own'])
  })

  it('is over when an operator has said of each of its keys that it is well', () => {
    const wave = createRejectionWave()
    refused(wave, 'a1 b1', ['a1', 0], ['b1', 5])
    forgetRefusals(wave, keyId('a1'))
    expect(isWaveOn(wave, T + 5)).toBe(true)
    forgetRefusals(wave, keyId('b1'))
    expect(isWaveOn(wave, T + 5)).toBe(false)
  })
})

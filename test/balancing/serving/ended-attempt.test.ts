import { describe, expect, it } from 'vitest'
import { clientId, modelId } from '../../../src/balancing/ids.ts'
import type { RunningLease } from '../../../src/balancing/limits/leases.ts'
import { isBeforeResetOf, isCurrent } from '../../../src/balancing/serving/ended-attempt.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { drivePool } from '../pool-driver.ts'

/** A settlement that tells when its lease was granted; null if it tells nothing. */
const toldOf = (grantedAtMs: number | null) => {
  const terms = { clientId: clientId('c'), model: modelId('m'), tokens: 0 }
  const lease = grantedAtMs === null ? {} : { lease: { ...terms, grantedAtMs } }
  return { outcome: 'success', benches: [], suspect: false, ...lease } as unknown as Settlement
}

const leaseOf = (epoch: number, grantedAtMs = 0) => ({ epoch, grantedAtMs }) as RunningLease

const RECOVERED_MS = 1_000

/** A key in its second epoch. */
function keyOf(breaker: 'recovered' | 'well' | 'open') {
  const pool = drivePool(['a'])
  const key = pool.key('a')
  key.epoch = 2
  if (breaker === 'open') pool.trip('a')
  if (breaker === 'recovered') {
    key.breaker = { kind: 'closed', failuresAtMs: [], recoveredAtMs: RECOVERED_MS } as never
  }
  return key
}

describe('whether an attempt shows how its key is now', () => {
  it.each([
    ['it began in this epoch', 2, null, true],
    ['it began in the last', 1, null, false],
    ['its lease says more than its settlement', 2, 0, true],
  ])('%s', (_, epoch, toldMs, isSo) => {
    const attempt = { key: keyOf('recovered'), lease: leaseOf(epoch), model: null }
    expect(isCurrent(attempt, toldOf(toldMs))).toBe(isSo)
  })

  it.each([
    ['it began when the key recovered', 'recovered', RECOVERED_MS, true],
    ['it began before that', 'recovered', RECOVERED_MS - 1, false],
    ['nobody knows when it began', 'recovered', null, true],
    ['the key has never recovered', 'well', 0, true],
    ['the key is out', 'open', 0, true],
  ] as const)('of a lease that is forgotten: %s', (_, breaker, toldMs, isSo) => {
    expect(isCurrent({ key: keyOf(breaker), lease: null, model: null }, toldOf(toldMs))).toBe(isSo)
  })
})

describe('whether an attempt began before the reset of an account', () => {
  it.each([
    ['by its lease: before', 999, 1_001, true],
    ['by its lease: then', 1_000, 999, false],
    ['by its settlement: before', null, 999, true],
    ['by its settlement: then', null, 1_000, false],
    ['nobody knows', null, null, true],
  ])('%s', (_, grantedAtMs, toldMs, isSo) => {
    const lease = grantedAtMs === null ? null : leaseOf(0, grantedAtMs)
    const attempt = { key: keyOf('well'), lease, model: null }
    expect(isBeforeResetOf({ resetAtMs: 1_000 }, attempt, toldOf(toldMs))).toBe(isSo)
  })

  it('of one that was never reset, none did', () => {
    const attempt = { key: keyOf('well'), lease: null, model: null }
    expect(isBeforeResetOf({ resetAtMs: 0 }, attempt, toldOf(null))).toBe(false)
  })
})

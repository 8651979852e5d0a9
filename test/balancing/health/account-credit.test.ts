import { describe, expect, it } from 'vitest'
import { takeLookupDuties } from '../../../src/balancing/serving/duty-hand-out.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const BROKE: BenchOrder = {
  scope: 'account',
  reason: 'account_out_of_credit',
  term: { kind: 'lookup', lapseMs: 300_000 },
}

describe('an account out of credit', () => {
  const account = { account: 'acme' }
  const refused = { reasons: { account_out_of_credit: 1 } }

  function broke(): PoolDriver {
    const pool = drivePool([{ id: 'a', ...account }])
    pool.shrug(pool.grant(), BROKE)
    return pool
  }

  it('has its balance asked for, which no other has', () => {
    const pool = drivePool([
      { id: 'a1', ...account },
      { id: 'a2', ...account },
      { id: 'b', account: 'globex' },
    ])
    pool.shrug(pool.grantOf('a1'), BROKE)
    const asked = takeLookupDuties(pool.state, pool.now()).map(({ keyId: id, withBalance }) => [
      id,
      withBalance,
    ])
    expect(asked).toEqual([
      ['a1', true],
      ['a2', true],
      ['b', false],
    ])
  })

  it('serves again when its balance is above zero', () => {
    const pool = broke()
    pool.lookUp('a', null, { balanceUsd: 0.01 })
    expect(pool.grant().keyId).toBe('a')
  })

  it.each([0, -2])(
    'waits on while its balance is %d, whatever its keys may spend',
    (balanceUsd) => {
      const pool = broke()
      pool.lookUp('a', 5, { balanceUsd })
      expect(pool.refusal()).toMatchObject(refused)
    },
  )

  it('is not paid up because a key of it has had room all the while', () => {
    const pool = broke()
    for (let minute = 0; minute < 3; minute++) {
      pool.lookUp('a', 5)
      pool.wait(60_000)
    }
    expect(pool.refusal()).toMatchObject(refused)
  })

  it('is paid up when a key of it that had no room has some', () => {
    const pool = broke()
    pool.lookUp('a', 0)
    expect(pool.refusal().reasons).toMatchObject({ account_out_of_credit: 1 })
    pool.wait(60_000)
    pool.lookUp('a', 5)
    expect(pool.grant().keyId).toBe('a')
  })

  it('is not paid up by an answer from before it ran out', () => {
    const pool = drivePool([{ id: 'a', ...account }])
    const beforeMs = pool.now()
    pool.wait(1_000)
    pool.shrug(pool.grant(), BROKE)
    pool.lookUp('a', 5, { balanceUsd: 10, askedAtMs: beforeMs })
    expect(pool.refusal()).toMatchObject(refused)
  })
})

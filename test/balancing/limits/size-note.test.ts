import { describe, expect, it } from 'vitest'
import { explain } from '../../../src/balancing/explanation.ts'
import { clientId, modelId } from '../../../src/balancing/ids.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const MINUTES_5 = 300_000

/** A key or its account refuses a request of this size. */
function refuse(pool: PoolDriver, id: string, payer: 'key' | 'account', size: number): void {
  const grant = pool.grantOf(id, { size })
  const { model, grantedAtMs = 0 } = grant
  const told: Partial<Settlement> = {
    outcome: 'ignorable',
    fault: payer,
    tooLargeFor: payer,
    lease: { clientId: clientId('client'), model, grantedAtMs, tokens: 0, size },
  }
  pool.give(grant, told)
}

const anyPool = () =>
  drivePool([
    { id: 'a1', account: 'a' },
    { id: 'a2', account: 'a' },
    { id: 'b1', account: 'b' },
  ])

/** The keys that may serve a request of this size. */
function servers(pool: PoolDriver, size: number): string[] {
  return ['a1', 'a2', 'b1'].filter((id) => {
    const tried = ['a1', 'a2', 'b1'].filter((other) => other !== id)
    const decided = pool.ask({ size, tried })
    if (decided.kind === 'grant') pool.give(decided, { outcome: 'ignorable' })
    return decided.kind === 'grant'
  })
}

describe('a request that was too large', () => {
  it('for a key keeps those that are at least as large from that key alone', () => {
    const pool = anyPool()
    refuse(pool, 'a1', 'key', 1_000)
    expect(servers(pool, 1_000)).toEqual(['a2', 'b1'])
    expect(servers(pool, 50_000)).toEqual(['a2', 'b1'])
    expect(servers(pool, 999)).toEqual(['a1', 'a2', 'b1'])
    expect(pool.refusal({ size: 1_000, tried: ['a2', 'b1'] })).toMatchObject({
      reasons: { too_large_for_key: 1, already_tried: 2 },
    })
  })

  it('for an account keeps those that are at least as large from all of its keys', () => {
    const pool = anyPool()
    refuse(pool, 'a1', 'account', 1_000)
    expect(servers(pool, 1_000)).toEqual(['b1'])
    expect(servers(pool, 999)).toEqual(['a1', 'a2', 'b1'])
    const { reasons, retryAtMs } = pool.refusal({ size: 2_000, tried: ['b1'] })
    expect(reasons).toEqual({ already_tried: 1, too_large_for_account: 2 })
    // A lookup is due, and ends the note.
    expect(retryAtMs).toBe(pool.now() + 1_000)
  })

  it('is sent again after five minutes', () => {
    const pool = anyPool()
    refuse(pool, 'a1', 'account', 1_000)
    pool.wait(MINUTES_5 - 1)
    expect(servers(pool, 1_000)).toEqual(['b1'])
    pool.wait(1)
    expect(servers(pool, 1_000)).toEqual(['a1', 'a2', 'b1'])
  })

  it('is sent again after the reset of the key’s cap', () => {
    const pool = anyPool()
    pool.lookUp('a1', 2, { resetsAtMs: pool.now() + 60_000 })
    refuse(pool, 'a1', 'key', 1_000)
    pool.wait(59_999)
    expect(servers(pool, 1_000)).toEqual(['a2', 'b1'])
    pool.wait(1)
    expect(servers(pool, 1_000)).toEqual(['a1', 'a2', 'b1'])
  })

  it.each(['key', 'account'] as const)(
    'for a %s is sent again after a later lookup of the key that was refused',
    (payer) => {
      const pool = anyPool()
      const askedAtMs = pool.now()
      pool.wait(1_000)
      refuse(pool, 'a1', payer, 1_000)
      const still = servers(pool, 1_000)
      pool.lookUp('a1', null, { askedAtMs })
      // Its sister's lookup shows neither the key's cap nor the account's balance.
      pool.lookUp('a2', null)
      expect(servers(pool, 1_000)).toEqual(still)
      pool.lookUp('a1', null)
      expect(servers(pool, 1_000)).toEqual(['a1', 'a2', 'b1'])
    },
  )

  it('of two refusals the smaller size counts', () => {
    const pool = anyPool()
    refuse(pool, 'a1', 'key', 1_000)
    refuse(pool, 'a1', 'key', 500)
    expect(servers(pool, 500)).toEqual(['a2', 'b1'])
    pool.wait(MINUTES_5)
    refuse(pool, 'a1', 'key', 2_000)
    expect(servers(pool, 500)).toEqual(['a1', 'a2', 'b1'])
  })

  it('says nothing where the size is not told, by an older Worker', () => {
    const pool = anyPool()
    pool.give(pool.grantOf('a1'), { outcome: 'ignorable', tooLargeFor: 'key' })
    expect(servers(pool, 1_000_000)).toEqual(['a1', 'a2', 'b1'])
    refuse(pool, 'a1', 'key', 10)
    expect(pool.grantOf('a1').keyId).toBe('a1')
  })

  it('is explained with its reason', () => {
    const pool = anyPool()
    refuse(pool, 'a1', 'key', 10)
    const question = { asked: modelId('m'), models: [modelId('m')], affinity: null, tokens: 0 }
    const explained = (size: number) =>
      explain(pool.state, { ...question, models: [modelId('m')], size }, pool.now(), () => 0)
    expect(explained(10).keys[0]).toMatchObject({ reasons: ['too_large_for_key'] })
    expect(explained(9).keys[0]).toMatchObject({ eligible: true })
  })
})

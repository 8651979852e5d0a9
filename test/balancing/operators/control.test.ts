import { describe, expect, it } from 'vitest'
import { keyId } from '../../../src/balancing/ids.ts'
import {
  type AuditEntry,
  createAudit,
  noteInAudit,
  restoreAudit,
  takeAudit,
} from '../../../src/balancing/operators/audit.ts'
import { type ControlOrder, control } from '../../../src/balancing/operators/control.ts'
import { drivePool, type PoolDriver } from '../pool-driver.ts'

const controlled = (pool: PoolDriver, kind: ControlOrder['kind'], id: string | null) => {
  const order = { kind, keyId: id === null ? null : keyId(id) } as ControlOrder
  return control(
    { state: pool.state, nowMs: pool.now(), random: () => 0.5 },
    order,
    'admin token "ops"',
  )
}

describe('an order', () => {
  it('that is carried out is answered with the key as it is then, and is in the audit', () => {
    const pool = drivePool(['a', 'b'])
    const reply = controlled(pool, 'pause', 'b')
    expect(reply).toMatchObject({ kind: 'steered', key: { id: 'b', reason: 'paused' } })
    pool.wait(1_000)
    expect(controlled(pool, 'resume', 'b')).toMatchObject({ key: { id: 'b', reason: null } })
    const by = 'admin token "ops"'
    expect(pool.state.audit.entries).toEqual([
      { number: 1, atMs: pool.now() - 1_000, by, what: 'pause', target: 'key:b' },
      { number: 2, atMs: pool.now(), by, what: 'resume', target: 'key:b' },
    ])
  })

  it.each(['pause', 'drain', 'resume', 'reset', 'refresh_credit'] as const)(
    'to %s a key that is not there is a fault, and in no audit',
    (kind) => {
      const pool = drivePool(['a'])
      expect(controlled(pool, kind, 'x')).toEqual({ kind: 'fault', fault: 'unknown_key' })
      expect(pool.state.audit.entries).toEqual([])
    },
  )

  it('to look one key up hands out that lookup, and no kept answer is fresh enough', () => {
    const pool = drivePool(['a', 'b'])
    pool.lookUp('b', 10)
    pool.wait(6_000)
    const reply = controlled(pool, 'refresh_credit', 'b')
    expect(reply).toEqual({
      kind: 'refresh',
      lookups: [{ keyId: 'b', freshSinceMs: pool.now(), withBalance: false }],
      underWay: [],
      later: [],
    })
    expect(pool.state.audit.entries).toMatchObject([{ what: 'refresh_credit', target: 'key:b' }])
    // Another operator presses too: one Worker is at it.
    expect(controlled(pool, 'refresh_credit', 'b')).toMatchObject({ lookups: [], underWay: ['b'] })
  })

  it('to look all up passes by what is disabled, and leaves what is too much for later', () => {
    const keys = Array.from({ length: 32 }, (_, i) => `k${i}`)
    const pool = drivePool([{ id: 'off', disabled: true }, ...keys])
    const reply = controlled(pool, 'refresh_credit', null)
    if (reply.kind !== 'refresh') throw new Error(reply.kind)
    const lookups = reply.lookups.map(({ keyId: id }) => id)
    expect(lookups).toHaveLength(30)
    expect([...lookups, ...reply.later].toSorted()).toEqual(keys.toSorted())
    expect(pool.state.audit.entries).toMatchObject([{ what: 'refresh_credit', target: 'pool' }])
    expect(controlled(pool, 'refresh_credit', 'off')).toMatchObject({ lookups: [], later: [] })
  })
})

describe('the audit', () => {
  const change = (target: string) => ({ atMs: 1, by: 'ops', what: 'pause', target })

  it('keeps the last thousand, and has the rows of older ones dropped', () => {
    const audit = createAudit()
    for (let i = 1; i <= 1_000; i++) noteInAudit(audit, change(`key:k${i}`))
    expect(takeAudit(audit).size).toBe(1_000)
    expect(takeAudit(audit).size).toBe(0)
    noteInAudit(audit, change('key:last'))
    expect(audit.entries).toHaveLength(1_000)
    expect(audit.entries[0]).toMatchObject({ number: 2, target: 'key:k2' })
    expect(takeAudit(audit)).toEqual(
      new Map<string, AuditEntry | null>([
        ['1001', { ...change('key:last'), number: 1_001 }],
        ['1', null],
      ]),
    )
  })

  it('goes on after a restart, in the order of the numbers, whatever the order of the rows', () => {
    const audit = createAudit()
    expect(audit.entries).toEqual([])
    restoreAudit(audit, [
      { ...change('key:b'), number: 10 },
      { ...change('key:a'), number: 9 },
      { ...change('key:c'), number: 11 },
    ])
    expect(takeAudit(audit).size).toBe(0)
    noteInAudit(audit, change('key:d'))
    expect(audit.entries.map(({ number, target }) => `${number} ${target}`)).toEqual([
      ...['9 key:a', '10 key:b', '11 key:c', '12 key:d'],
    ])
  })
})

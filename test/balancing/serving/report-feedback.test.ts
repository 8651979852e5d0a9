import { describe, expect, it } from 'vitest'
import { DAY_MS } from '../../../src/balancing/accounting/ledger.ts'
import { accountId, keyId } from '../../../src/balancing/ids.ts'
import { report } from '../../../src/balancing/pool.ts'
import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { order } from '../operators/operator-order.ts'
import { drivePool, type PoolDriver, usageOf } from '../pool-driver.ts'

const REJECTED = {
  scope: 'key',
  reason: 'key_rejected',
  term: { kind: 'for', forMs: 600_000 },
} as const

const refused = { outcome: 'failure', fault: 'key', suspect: true, benches: [REJECTED] } as const

function reject(pool: PoolDriver, id: string, more = {}): void {
  report(
    pool.state,
    { keyId: keyId(id), kind: 'rejected', askedAtMs: pool.now(), ...more },
    pool.now(),
  )
}

const written = ({ state }: PoolDriver) => {
  const { keys, accounts } = takeChanges(state)
  return [...keys, ...accounts].map(({ id }) => id)
}

describe('a report about another secret of a key', () => {
  it('says nothing', () => {
    const pool = drivePool([{ id: 'a', fingerprint: 'new' }])
    pool.lookUp('a', 5, { fingerprint: 'old' })
    expect(pool.key('a').credit.kind).toBe('unknown')
    pool.give(pool.grant(), refused)
    pool.wait(1)
    reject(pool, 'a', { fingerprint: 'old' })
    expect(pool.key('a').bench?.untilMs).not.toBeNull()
  })

  it('is told by its fingerprint, which an older Worker does not send', () => {
    const pool = drivePool([{ id: 'a', fingerprint: 'new' }, { id: 'b' }])
    pool.lookUp('a', 5, { fingerprint: 'new' })
    pool.lookUp('b', 6)
    expect(pool.key('a').credit).toMatchObject({ remainingUsd: 5 })
    expect(pool.key('b').credit).toMatchObject({ remainingUsd: 6 })
    report(pool.state, { keyId: keyId('a'), kind: 'unknown' }, pool.now())
    expect(pool.key('a').credit).toMatchObject({ remainingUsd: 5, stale: true })
  })
})

describe('a key that a lookup rejects too', () => {
  it('is out until a lookup accepts it', () => {
    const pool = drivePool(['a', 'b'])
    pool.give(pool.grantOf('a'), refused)
    pool.wait(1)
    written(pool)
    reject(pool, 'a')
    expect(pool.key('a').bench?.untilMs).toBeNull()
    expect(written(pool)).toEqual(['a'])
    pool.wait(1)
    pool.lookUp('a', 5)
    expect(pool.key('a').bench).toBeNull()
    expect(written(pool)).toEqual(['a'])
  })

  it('is not while the platform rejects everybody', () => {
    const pool = drivePool(['a', 'b'])
    for (const id of ['a', 'b']) pool.give(pool.grantOf(id), refused)
    pool.wait(1)
    reject(pool, 'a')
    expect(pool.key('a').bench?.untilMs).not.toBeNull()
  })

  it('is again when a valid lookup has shown that the platform does not', () => {
    const pool = drivePool(['a', 'b'])
    for (const id of ['a', 'b']) pool.give(pool.grantOf(id), refused)
    pool.wait(1)
    pool.lookUp('b', 5)
    reject(pool, 'a')
    expect(pool.key('a').bench?.untilMs).toBeNull()
  })
})

describe('reports that overtake each other', () => {
  it('leave what the younger one has said', () => {
    const pool = drivePool(['a'])
    const earlierMs = pool.now()
    pool.wait(1_000)
    pool.lookUp('a', 5, { expiresAtMs: 1 })
    pool.lookUp('a', 7, { askedAtMs: earlierMs, expiresAtMs: 2, owner: accountId('org') })
    expect(pool.key('a')).toMatchObject({
      credit: { remainingUsd: 5 },
      expiresAtMs: 1,
      owner: null,
    })
  })

  it('do not take back what was spent since, if they tell the same answer again', () => {
    const pool = drivePool(['a'])
    const askedAtMs = pool.now()
    pool.lookUp('a', 5)
    pool.give(pool.grant(), { usage: usageOf(1, 1, 2) })
    pool.lookUp('a', 5, { askedAtMs, expiresAtMs: 9 })
    expect(pool.key('a')).toMatchObject({ credit: { remainingUsd: 3 }, expiresAtMs: 9 })
  })
})

describe('what a report says of whom a key belongs to is written', () => {
  it('once, its owner', () => {
    const pool = drivePool([{ id: 'a', account: null }])
    pool.lookUp('a', 5, { owner: accountId('org') })
    expect(written(pool)).toEqual(['a', 'org'])
    pool.lookUp('a', 5, { owner: accountId('org') })
    expect(written(pool)).toEqual([])
  })

  it('with the accounts of which it says that they have credit, or none', () => {
    const pool = drivePool(['a'])
    const out = { ...REJECTED, scope: 'account', reason: 'account_out_of_credit' } as const
    pool.shrug(pool.grant(), out)
    written(pool)
    pool.wait(1)
    pool.lookUp('a', 0)
    expect(written(pool)).toEqual(['account-of-a'])
    pool.wait(1)
    pool.lookUp('a', 0)
    expect(written(pool)).toEqual([])
    pool.wait(1)
    pool.lookUp('a', 5)
    expect(pool.key('a').account.bench).toBeNull()
    expect(written(pool)).toEqual(['account-of-a'])
  })
})

describe('the counter of free requests', () => {
  it('benches the free models of an account, until it shows some', () => {
    const pool = drivePool(['a'])
    pool.lookUp('a', 5, { freeRemaining: 0 })
    expect(written(pool)).toEqual(['account-of-a'])
    expect(pool.refusal({ model: 'm:free' }).reasons).toEqual({ free_tier_spent: 1 })
    pool.wait(1)
    pool.lookUp('a', 5, { freeRemaining: 0 })
    expect(written(pool)).toEqual([])
    pool.lookUp('a', 5, { freeRemaining: 1 })
    expect(written(pool)).toEqual(['account-of-a'])
    expect(pool.ask({ model: 'm:free' }).kind).toBe('grant')
  })

  it('of before an operator’s reset says nothing, and of the same moment it does', () => {
    const pool = drivePool(['a'])
    const askedAtMs = pool.now()
    pool.wait(1)
    order(pool, 'reset', 'a')
    pool.lookUp('a', 5, { freeRemaining: 0, askedAtMs })
    expect(pool.key('a').account.freeBench).toBeNull()
    pool.lookUp('a', 5, { freeRemaining: 0 })
    expect(pool.key('a').account.freeBench).not.toBeNull()
  })
})

describe('the daily audit', () => {
  const drifts = ({ state }: PoolDriver) => state.changes.drifts.splice(0)

  it('tells of a day on which OpenRouter counted another sum, when the next one has begun', () => {
    const pool = drivePool(['a'])
    const day = Math.floor(pool.now() / DAY_MS)
    pool.give(pool.grant(), { usage: usageOf(1, 1, 1) })
    pool.lookUp('a', 5, { usageDailyUsd: 3 })
    expect(drifts(pool)).toEqual([])
    pool.wait(DAY_MS)
    pool.lookUp('a', 5, { usageDailyUsd: 0 })
    expect(drifts(pool)).toEqual([{ keyId: 'a', day, upstreamUsd: 3, bookedUsd: 1 }])
  })

  it.each([
    ['the sums are the same', { usageDailyUsd: 1 }],
    ['it was not told', {}],
    ['an older Worker tells nothing', { usageDailyUsd: null }],
  ])('and of none where %s', (_, told) => {
    const pool = drivePool(['a'])
    pool.give(pool.grant(), { usage: usageOf(1, 1, 1) })
    pool.lookUp('a', 5, told)
    pool.wait(DAY_MS)
    pool.lookUp('a', 5, { usageDailyUsd: 0 })
    expect(drifts(pool)).toEqual([])
  })

  it('does not count an answer of yesterday that comes today', () => {
    const pool = drivePool(['a'])
    pool.lookUp('a', 5, { usageDailyUsd: 3, askedAtMs: pool.now() - DAY_MS })
    expect(pool.key('a').spentDay).toBeNull()
  })
})

it('a key that is not suspected is not taken out by what a lookup says of it', () => {
  const pool = drivePool(['a'])
  reject(pool, 'a')
  expect(pool.ask().kind).toBe('grant')
  expect(written(pool)).toEqual([])
})

import { describe, expect, it } from 'vitest'
import { benchOf } from '../../../src/balancing/health/bench.ts'
import { accountId, clientId, keyId, modelId } from '../../../src/balancing/ids.ts'
import { hasRecords, takeChanges } from '../../../src/balancing/records/changed-records.ts'
import {
  accountRecord,
  isBlank,
  type KeyRecord,
  keyRecord,
} from '../../../src/balancing/records/checkpoint.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { budgetOf } from '../clients/client-terms.ts'
import { drivePool } from '../pool-driver.ts'
import { storedPool } from './stored-pool.ts'

const limited: BenchOrder = {
  scope: 'key',
  reason: 'account_rate_limited',
  term: { kind: 'for', forMs: 3_600_000 },
}

describe('the row of a key', () => {
  const fresh = keyRecord(drivePool(['a']).key('a'))
  const bench = benchOf(limited, 0, 0, () => 0.5)
  const modelBenches = [[modelId('vendor/model'), bench]] as const
  const one = accountId('somebody')

  it('is none while nothing is known of it', () => {
    expect(isBlank(fresh)).toBe(true)
  })

  it.each<[string, Partial<KeyRecord>]>([
    [
      'its breaker is open',
      {
        breaker: {
          kind: 'open',
          untilMs: 1,
          cooldownMs: 1,
          failuresAtMs: [],
          earlierCooldownMs: null,
        },
      },
    ],
    [
      'it has failed',
      { breaker: { kind: 'closed', failuresAtMs: [1], recoveredAtMs: null } as never },
    ],
    ['it is benched', { bench }],
    ['a model of it is', { modelBenches }],
    ['it has strikes', { strikes: 1 }],
    ['both are so', { modelBenches, strikes: 1 }],
    ['its owner is known', { owner: one }],
    ['its creator is', { creator: one }],
    ['its workspace is', { workspace: one }],
    ['it is halted', { halt: { kind: 'paused', sinceMs: 1 } }],
    ['it was reset', { reset: { epoch: 1, atMs: 1 } }],
  ])('is kept if %s', (_, more) => {
    expect(isBlank({ ...fresh, ...more })).toBe(false)
  })

  it('goes when nothing is known of the key any more', () => {
    const pool = storedPool(['a'])
    pool.shrug(pool.grant(), limited)
    pool.write()
    expect([...pool.load().keys.keys()]).toEqual(['a'])
    pool.key('a').bench = null
    pool.state.changes.keys.add(keyId('a'))
    pool.write()
    expect([...pool.load().keys.keys()]).toEqual([])
  })
})

it('a step writes what it has changed, and the next one does not write it again', () => {
  const pool = drivePool([{ id: 'a', account: 'acme', maxSpend: { usd: 1, period: 'day' } }], {
    clients: [{ id: 'client', budgets: [budgetOf()] }],
    routes: [{ models: ['vendor/*'], fallback: ['vendor/last'] }],
  })
  const lease = pool.grant({ boundUsd: 0.5 })
  pool.shrug(lease, limited, { ...limited, scope: 'account' }, { ...limited, scope: 'model' })
  const changed = takeChanges(pool.state)
  expect(changed.keys.map(({ id }) => id)).toEqual(['a'])
  expect(changed.accounts.map(({ id }) => id)).toEqual(['acme'])
  expect([...changed.spends.keys()]).toEqual(['a'])
  expect([...changed.budgets.keys()]).toEqual(['client:client'])
  expect([...(changed.models ?? [])]).toHaveLength(1)
  const nothing = takeChanges(pool.state)
  expect(nothing).toMatchObject({ keys: [], accounts: [], models: null, purges: null })
  expect([...nothing.spends, ...nothing.budgets, ...nothing.clients, ...nothing.groups]).toEqual([])
})

it('what has changed of a key or an account that is gone is not written', () => {
  const { state } = drivePool(['a'])
  state.changes.keys.add(keyId('gone'))
  state.changes.accounts.add(accountId('gone'))
  state.changes.spends.add(keyId('gone'))
  const changed = takeChanges(state)
  expect(changed).toMatchObject({ keys: [], accounts: [] })
  expect(changed.spends.size).toBe(0)
})

describe('whether a breaker, a bench or a spend has changed', () => {
  const { state } = drivePool([{ id: 'a', maxSpend: { usd: 1, period: 'day' } }])
  const nothing = takeChanges(state)
  const key = keyId('a')
  const spends = new Map([[key, {} as never]])
  const one = { keys: [...state.keys.values()], accounts: [...state.accounts.values()] }

  it.each([
    ['nothing', {}, false],
    ['a client', { clients: new Map([[clientId('c'), null]]) }, false],
    ['a key', { keys: one.keys }, true],
    ['an account', { accounts: one.accounts }, true],
    ['a spend', { spends }, true],
    ['all three', { ...one, spends }, true],
    ['models, of which none is benched any more', { models: new Map() }, true],
  ])('%s', (_, changed, isSo) => {
    expect(hasRecords({ ...nothing, ...changed })).toBe(isSo)
  })
})

it('an account tells the first release whether a key of it had nothing left', () => {
  const [account] = drivePool(['a']).state.accounts.values()
  if (account === undefined) throw new Error('no account')
  expect(accountRecord(account)).toMatchObject({ hadNoRoom: false, keysWithoutRoom: [] })
  account.keysWithoutRoom.add(keyId('a'))
  expect(accountRecord(account)).toMatchObject({ hadNoRoom: true, keysWithoutRoom: ['a'] })
})

import { expect, it } from 'vitest'
import { type AccountId, accountId, type keyId } from '../../../src/balancing/ids.ts'
import {
  type AccountRecord,
  accountRecord,
  type KeyRecord,
  keyRecord,
} from '../../../src/balancing/records/checkpoint.ts'
import { forgottenRows } from '../../../src/balancing/records/forgotten-rows.ts'
import { restore } from '../../../src/balancing/records/restore.ts'
import type { BenchOrder } from '../../../src/balancing/settlement.ts'
import { budgetOf } from '../clients/client-terms.ts'
import { orderOnly } from '../operators/operator-order.ts'
import { drivePool, type KeySpec, type PoolDriver, type Setup } from '../pool-driver.ts'
import { type StoredPool, storedPool } from './stored-pool.ts'

const DAY_MS = 24 * 3_600_000

/** The rows that a pool has written so far, and the pool that an object makes of other keys then. */
function storedRows() {
  const keys = new Map<ReturnType<typeof keyId>, KeyRecord>()
  const accounts = new Map<AccountId, AccountRecord>()
  return {
    write: ({ state }: PoolDriver) => {
      for (const [id, key] of state.keys) keys.set(id, keyRecord(key))
      for (const [id, one] of [...state.accounts, ...state.budgets]) {
        accounts.set(id, accountRecord(one))
      }
    },
    forgottenBy: (specs: readonly (string | KeySpec)[], nowMs: number) => {
      const next = drivePool(specs)
      const records = {
        keys,
        accounts,
        spends: new Map(),
        models: [],
        ...{ budgets: new Map(), clients: [], groups: [], audit: [], purges: [] },
        ...{ alerts: [], deliveries: [] },
        checkpoint: {},
      }
      restore(next.state, { ...records, outdated: false }, next.now())
      const forget = (atMs: number) => forgottenRows(next.state, records, atMs).accounts
      // The rows of keys that are gone have to be seen once, from when on their time runs.
      forget(next.now())
      return forget(nowMs).toSorted()
    },
  }
}

const benched = (forMs: number): BenchOrder => ({
  scope: 'account',
  reason: 'account_rate_limited',
  term: { kind: 'for', forMs },
})

/** A key whose account was first its own, and then that of its owner, with its creator's budget. */
function learned() {
  const rows = storedRows()
  const pool = drivePool([{ id: 'a', account: null }])
  pool.shrug(pool.grant(), benched(1_000))
  rows.write(pool)
  pool.lookUp('a', 5, { owner: accountId('org'), creator: 'carol' })
  rows.write(pool)
  return { rows, nowMs: pool.now() }
}

it('the row of an account goes when its last key has another account', () => {
  const { rows, nowMs } = learned()
  expect(rows.forgottenBy([{ id: 'a', account: null }], nowMs + DAY_MS)).toEqual(['own/a'])
})

it('the rows of accounts and budgets go with their last key, which may come back for 35 days', () => {
  const { rows, nowMs } = learned()
  expect(rows.forgottenBy(['b'], nowMs + 34 * DAY_MS)).toEqual(['own/a'])
  expect(rows.forgottenBy(['b'], nowMs + 35 * DAY_MS)).toEqual(['creator/carol', 'org', 'own/a'])
})

it('the row of a configured account without keys is kept while a bench of it holds', () => {
  const rows = storedRows()
  const pool = drivePool([{ id: 'a', account: 'acme' }])
  pool.shrug(pool.grant(), benched(2 * DAY_MS))
  rows.write(pool)
  expect(rows.forgottenBy(['b'], pool.now() + DAY_MS)).toEqual([])
  expect(rows.forgottenBy(['b'], pool.now() + 3 * DAY_MS)).toEqual(['acme'])
  expect(rows.forgottenBy([{ id: 'c', account: 'acme' }], pool.now() + 3 * DAY_MS)).toEqual([])
})

/** What a pool of other keys and clients forgets after some days of what this one has stored. */
function forgottenAfter(
  days: number,
  of: StoredPool,
  specs: readonly KeySpec[],
  setup: Setup = {},
) {
  of.write()
  of.writeCheckpoint()
  const next = of.restart(specs, setup)
  const records = of.load()
  forgottenRows(next.state, records, next.now())
  const { keys, budgets } = forgottenRows(next.state, records, next.now() + days * DAY_MS)
  return {
    keys: keys.toSorted(),
    budgets: budgets.toSorted(),
    left: [...next.state.ledger.byKey.keys()],
  }
}

it('the rows of keys go 35 days after their last request, except that of one that is halted', () => {
  const pool = storedPool([
    { id: 'served' },
    { id: 'spent', maxSpend: { usd: 1, period: 'day' } },
    { id: 'halted' },
    { id: 'known' },
    { id: 'stays' },
  ])
  for (const id of ['served', 'spent', 'stays']) pool.give(pool.grantOf(id))
  orderOnly(pool, 'pause', 'halted')
  pool.lookUp('known', 5, { owner: accountId('org') })
  const after = (days: number) => forgottenAfter(days, pool, [{ id: 'stays' }])
  expect(after(34)).toMatchObject({ keys: [], left: expect.arrayContaining(['served', 'halted']) })
  expect(after(35)).toMatchObject({ keys: ['known', 'served', 'spent'] })
  expect(after(35).left.toSorted()).toEqual(['halted', 'stays'])
})

it('the budgets of who is gone go 35 days after they were used', () => {
  const budgets = [budgetOf(), budgetOf({ period: 'month' })]
  const stays = { id: 'stays', budgets }
  const pool = storedPool(['a'], {
    clients: [{ id: 'client', budgets, group: 'team' }, stays],
    groups: [{ id: 'team', budgets }],
  })
  pool.give(pool.grant({ client: 'stays', boundUsd: 0.1 }))
  pool.wait(DAY_MS)
  pool.give(pool.grant({ boundUsd: 0.1 }))
  const after = (days: number) => forgottenAfter(days, pool, [{ id: 'a' }], { clients: [stays] })
  expect(after(34.9).budgets).toEqual([])
  expect(after(35).budgets).toEqual(['client:client', 'group:team'])
})

it('a bench without an end keeps the row of an account for 35 days', () => {
  const rows = storedRows()
  const pool = drivePool([{ id: 'a', account: 'acme' }])
  pool.shrug(pool.grant(), { ...benched(1), term: { kind: 'lookup', lapseMs: null } })
  rows.write(pool)
  expect(rows.forgottenBy(['b'], pool.now() + 34 * DAY_MS)).toEqual([])
  expect(rows.forgottenBy(['b'], pool.now() + 35 * DAY_MS)).toEqual(['acme'])
})

it('so does a bench of one of its models', () => {
  const rows = storedRows()
  const pool = drivePool([{ id: 'a', account: 'acme' }])
  pool.shrug(pool.grant(), { ...benched(2 * DAY_MS), scope: 'account_model' })
  rows.write(pool)
  expect(rows.forgottenBy(['b'], pool.now() + DAY_MS)).toEqual([])
  expect(rows.forgottenBy(['b'], pool.now() + 3 * DAY_MS)).toEqual(['acme'])
})

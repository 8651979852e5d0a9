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
import { drivePool, type KeySpec, type PoolDriver } from '../pool-driver.ts'

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
        ...{ budgets: new Map(), clients: [], groups: [], audit: [], alerts: [], deliveries: [] },
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

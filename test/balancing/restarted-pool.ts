import { spendRecord } from '../../src/balancing/clients/max-spend.ts'
import {
  accountRecord,
  checkpoint,
  isBlank,
  keyRecord,
} from '../../src/balancing/records/checkpoint.ts'
import { restore } from '../../src/balancing/records/restore.ts'
import { drivePool, type KeySpec, type PoolDriver } from './pool-driver.ts'

/**
 * The pool after a restart from its records, possibly with another configuration of its keys.
 * @param stored the last checkpoint, which may be older than the other records
 */
export function restarted(
  pool: PoolDriver,
  keys: readonly KeySpec[],
  setup = {},
  stored = checkpoint(pool.state, pool.now()),
): PoolDriver {
  const next = drivePool(keys, setup)
  next.at(pool.now())
  const { state } = pool
  const records = [...state.keys].map(([id, key]) => [id, keyRecord(key)] as const)
  restore(
    next.state,
    {
      keys: new Map(records.filter(([, record]) => !isBlank(record))),
      accounts: new Map(
        [...state.accounts, ...state.budgets].map(([id, account]) => [id, accountRecord(account)]),
      ),
      models: [...state.modelBenches],
      ...{ budgets: new Map(), clients: [], groups: [], audit: [], purges: [] },
      ...{ alerts: [], deliveries: [] },
      spends: new Map(
        [...state.keys].flatMap(([id, { spend }]) =>
          spend === null ? [] : [[id, spendRecord(spend)] as const],
        ),
      ),
      // Records are stored as JSON.
      checkpoint: JSON.parse(JSON.stringify(stored)),
      outdated: false,
    },
    next.now(),
  )
  return next
}

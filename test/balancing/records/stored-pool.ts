import { takeChanges } from '../../../src/balancing/records/changed-records.ts'
import { checkpoint, type PoolRecords } from '../../../src/balancing/records/checkpoint.ts'
import { restore } from '../../../src/balancing/records/restore.ts'
import { createStore } from '../../../src/key-pool/rows/record-store.ts'
import { createInMemoryRows } from '../../gateway/in-memory-rows.ts'
import { drivePool, type KeySpec, type PoolDriver, type Setup } from '../pool-driver.ts'

/** A pool, and the rows that its object writes. */
export function storedPool(keys: readonly (string | KeySpec)[], setup: Setup = {}) {
  const rows = createInMemoryRows()
  const store = createStore(rows)
  const pool = drivePool(keys, setup)
  const load = (): PoolRecords => createStore(rows).load()
  return {
    ...pool,
    /** Writes what the steps since the last call have changed, as it is done before each answer. */
    write: () => store.save(takeChanges(pool.state)),
    writeCheckpoint: () => store.saveCheckpoint(checkpoint(pool.state, pool.now())),
    /** Marks the checkpoint as one that is not the last state. */
    outdate: () => store.outdate(),
    load,
    /** The pool that an object makes of the rows, possibly with another configuration. */
    restart: (nextKeys = keys, nextSetup = setup): PoolDriver => {
      const next = drivePool(nextKeys, nextSetup)
      next.at(pool.now())
      restore(next.state, load(), next.now())
      return next
    },
  }
}

export type StoredPool = ReturnType<typeof storedPool>

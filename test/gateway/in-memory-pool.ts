import { keyForGeneration } from '../../src/balancing/accounting/generations.ts'
import { spendingOf, tallyOf } from '../../src/balancing/accounting/ledger.ts'
import { accountRecord, checkpoint, keyRecord, restore } from '../../src/balancing/checkpoint.ts'
import { explain } from '../../src/balancing/explanation.ts'
import type { LeaseId } from '../../src/balancing/ids.ts'
import { createPool, type PoolConfig, type PoolState } from '../../src/balancing/pool-state.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import { snapshot } from '../../src/balancing/snapshot.ts'
import type { PoolAnswer, PoolClient } from '../../src/key-pool/pool-client.ts'
import { createInMemoryObject, type PoolRecord } from './in-memory-object.ts'
import type { VirtualTime } from './virtual-time.ts'

/**
 * How the pool object treats one call.
 * - `unreachable`: the call never arrives.
 * - `answer_lost`: the object carries the call out, but its answer never arrives.
 * - a number: the call arrives after so many milliseconds and is answered then. From 2,000 on the
 *   client has already given up.
 */
export type Connection = 'answers' | 'unreachable' | 'answer_lost' | number

/** The client of the pool object gives up after this long. */
export const GIVE_UP_MS = 2_000

export interface InMemoryPool extends PoolClient, PoolRecord {
  /** The current state. After a restart it is a new object. */
  readonly state: PoolState
  /** The number of exchanges that were begun, whether they arrived or not. */
  exchanges(): number
  /** Sets how the next calls go, one entry a call. Later calls go like `otherwise`. */
  connect(next: readonly Connection[], otherwise?: Connection): void
  /**
   * Ends the object's memory, as a deployment does, and starts a new object from the stored
   * records. Calls that have arrived break. Calls that are on their way reach the new object.
   */
  restart(): void
  /** The number of waiters. */
  waiting(): number
  inFlight(): number
  /** Leases that were granted and not given back. */
  unsettled(): LeaseId[]
  settlementsOf(id: LeaseId): Settlement[]
}

/**
 * The pool client's interface in front of an object in memory, with a connection that can fail.
 * @param prepare changes the state of each new object
 */
export function createInMemoryPool(
  config: PoolConfig,
  time: VirtualTime,
  random: () => number,
  prepare: (state: PoolState) => void,
): InMemoryPool {
  const record: PoolRecord = { wants: [], decisions: [], settlements: [], lookups: [] }
  let upcoming: Connection[] = []
  let otherwise: Connection = 'answers'
  let exchanges = 0
  /** Functions that break the calls that have arrived and are not answered yet. */
  const disconnect = new Set<() => void>()

  const comeUp = (before: PoolState | null) => {
    const state = createPool(config, time.nowMs())
    prepare(state)
    if (before !== null) restoreFrom(before, state, time.nowMs())
    return createInMemoryObject(state, time, random, record)
  }
  let object = comeUp(null)

  const later = (ms: number) => new Promise<void>((resolve) => void time.timer(ms, resolve))
  const call = async <T>(carryOut: () => T | Promise<T>): Promise<PoolAnswer<T>> => {
    const connection = upcoming.shift() ?? otherwise
    const answer = Promise.withResolvers<PoolAnswer<T>>()
    const giveUp = () => answer.resolve({ kind: 'unavailable' })
    const cancel = time.timer(GIVE_UP_MS, giveUp)
    const deliver = async () => {
      if (connection === 'unreachable') return
      if (typeof connection === 'number') await later(connection)
      disconnect.add(giveUp)
      const value = structuredClone(await carryOut())
      if (connection !== 'answer_lost') answer.resolve({ kind: 'answer', value })
    }
    void deliver()
    try {
      return await answer.promise
    } finally {
      cancel()
      disconnect.delete(giveUp)
    }
  }

  return {
    ...record,
    get state() {
      return object.state
    },
    async exchange(given) {
      exchanges += 1
      // RPC can carry only values that can be cloned.
      const request = structuredClone(given)
      return await call(() => object.exchange(request))
    },
    whenDecided: (leaseId) => call(() => object.whenDecided(leaseId)),
    explain: (question) => call(() => explain(object.state, question, time.nowMs(), random)),
    spending: (clientId) =>
      call(() => {
        const tally = tallyOf(object.state.ledger.byClient, clientId, time.nowMs())
        return spendingOf(tally, time.nowMs())
      }),
    keyForGeneration: (id, clientId) =>
      call(() => keyForGeneration(object.state, id, clientId, time.nowMs())),
    snapshot: () => call(() => snapshot(object.state, time.nowMs())),
    exchanges: () => exchanges,
    connect(next, after = 'answers') {
      upcoming = [...next]
      otherwise = after
    },
    restart() {
      object.end()
      object = comeUp(object.state)
      for (const giveUp of disconnect) giveUp()
    },
    waiting: () => object.state.queue.size,
    inFlight: () => [...object.state.keys.values()].reduce((sum, key) => sum + key.inFlight, 0),
    unsettled: () => [...object.state.leases.live.keys()],
    settlementsOf: (id) => record.settlements.filter(({ leaseId }) => leaseId === id),
  }
}

/** Restores as if the checkpoint had been written at the last moment. */
function restoreFrom(before: PoolState, state: PoolState, nowMs: number): void {
  restore(
    state,
    {
      keys: new Map([...before.keys].map(([id, key]) => [id, keyRecord(key)])),
      accounts: new Map([...before.accounts].map(([id, account]) => [id, accountRecord(account)])),
      models: [...before.modelBenches],
      spends: new Map(),
      checkpoint: checkpoint(before, nowMs),
      outdated: false,
    },
    nowMs,
  )
}

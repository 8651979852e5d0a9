import type { LeaseId } from '../../src/balancing/ids.ts'
import {
  acquire,
  type Grant,
  observe,
  type Refusal,
  settle,
  takeLookups,
  type Want,
} from '../../src/balancing/pool.ts'
import { createPool, type PoolConfig, type PoolState } from '../../src/balancing/pool-state.ts'
import type { Lookup, Settlement } from '../../src/balancing/settlement.ts'
import { snapshot } from '../../src/balancing/snapshot.ts'
import type { PoolAnswer, PoolClient } from '../../src/key-pool/client.ts'
import type { ExchangeReply, ExchangeRequest } from '../../src/key-pool/protocol.ts'
import type { VirtualTime } from './virtual-time.ts'

/**
 * How the pool object treats one exchange.
 * - `unreachable`: it never hears of it.
 * - `answer_lost`: it does what it is asked, but its answer comes too late.
 * - a number: it hears of it, and answers, after so many milliseconds. From 2,000 on nobody waits
 *   for that answer any more.
 */
export type Connection = 'answers' | 'unreachable' | 'answer_lost' | number

/** The client of the pool object gives up after this long. */
export const GIVE_UP_MS = 2_000

export interface InMemoryPool extends PoolClient {
  readonly state: PoolState
  /** How many exchanges were begun, heard of or not. */
  exchanges(): number
  readonly wants: Want[]
  readonly decisions: (Grant | Refusal)[]
  /** Every settlement that the object has heard, in their order. */
  readonly settlements: Settlement[]
  readonly lookups: Lookup[]
  /** The next exchanges, one each; after the last of them, `otherwise`. */
  connect(next: readonly Connection[], otherwise?: Connection): void
  inFlight(): number
  /** Leases that were granted and that nobody has given back. */
  unsettled(): LeaseId[]
  settlementsOf(id: LeaseId): Settlement[]
}

/** The real reducer behind the pool client's interface, with a connection that can fail. */
export function createInMemoryPool(
  config: PoolConfig,
  time: VirtualTime,
  random: () => number,
): InMemoryPool {
  const state = createPool(config, time.nowMs())
  const wants: Want[] = []
  const decisions: (Grant | Refusal)[] = []
  const settlements: Settlement[] = []
  const lookups: Lookup[] = []
  let upcoming: Connection[] = []
  let otherwise: Connection = 'answers'
  let exchanges = 0

  const carryOut = (request: ExchangeRequest): ExchangeReply => {
    const nowMs = time.nowMs()
    for (const settlement of request.settlements) {
      settlements.push(settlement)
      settle(state, settlement, nowMs, random)
    }
    for (const lookup of request.lookups) {
      lookups.push(lookup)
      observe(state, lookup, nowMs)
    }
    const decided = request.wants.map((want) => {
      wants.push(want)
      return acquire(state, want, nowMs, random)
    })
    decisions.push(...decided)
    return { version: 1, decisions: decided, lookups: takeLookups(state, nowMs) }
  }
  const later = <T>(ms: number, value: T) =>
    new Promise<T>((resolve) => void time.timer(ms, () => resolve(value)))
  const unavailable: PoolAnswer<never> = { kind: 'unavailable' }
  const exchange = async (given: ExchangeRequest): Promise<PoolAnswer<ExchangeReply>> => {
    exchanges += 1
    // What cannot be cloned could not travel to the object either.
    const request = structuredClone(given)
    const connection = upcoming.shift() ?? otherwise
    if (connection === 'unreachable') return await later(GIVE_UP_MS, unavailable)
    if (connection === 'answer_lost') {
      carryOut(request)
      return await later(GIVE_UP_MS, unavailable)
    }
    if (typeof connection === 'number') {
      const answer = later(connection, null).then(() => carryOut(request))
      if (connection >= GIVE_UP_MS) return await later(GIVE_UP_MS, unavailable)
      return { kind: 'answer', value: await answer }
    }
    return { kind: 'answer', value: structuredClone(carryOut(request)) }
  }

  return {
    state,
    wants,
    decisions,
    settlements,
    lookups,
    exchange,
    snapshot: async () => ({ kind: 'answer', value: snapshot(state, time.nowMs()) }),
    exchanges: () => exchanges,
    connect(next, after = 'answers') {
      upcoming = [...next]
      otherwise = after
    },
    inFlight: () => [...state.keys.values()].reduce((sum, key) => sum + key.inFlight, 0),
    unsettled: () => [...state.leases.live.keys()],
    settlementsOf: (id) => settlements.filter(({ leaseId }) => leaseId === id),
  }
}

import type { KeyReport } from '../../src/balancing/health/key-report.ts'
import type { LeaseId } from '../../src/balancing/ids.ts'
import type { Decision, LeaseRequest } from '../../src/balancing/lease-request.ts'
import { createPool, type PoolConfig, type PoolState } from '../../src/balancing/pool-state.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import { PoolHost } from '../../src/key-pool/host.ts'
import type { PoolAnswer, PoolClient } from '../../src/key-pool/pool-client.ts'
import { createStore } from '../../src/key-pool/rows/record-store.ts'
import { createInMemoryRows } from './in-memory-rows.ts'
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

/** All messages that the pool received and all its decisions, over all lives of its object. */
export interface PoolRecord {
  /** Each lease request, as often as it was received. */
  readonly wants: LeaseRequest[]
  /** Grants and refusals, at once or after a wait. `waiting` does not count as a decision. */
  readonly decisions: Exclude<Decision, { kind: 'waiting' }>[]
  readonly settlements: Settlement[]
  readonly lookups: KeyReport[]
}

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
  /** What the host reported as bugs. */
  readonly bugs: readonly unknown[]
  /** What the hosts told of keys, accounts and models that went out of use or came back. */
  readonly transitions: readonly string[]
  /** What they told of alerts. */
  readonly told: readonly string[]
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

  const { bugs, transitions, alerts, comeUp } = createLives(config, time, random, prepare)
  let object = comeUp()
  const note = (decision: Decision | null) => {
    if (decision !== null && decision.kind !== 'waiting') record.decisions.push(decision)
  }

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
      return await call(() => {
        record.settlements.push(...request.settlements)
        record.lookups.push(...request.lookups)
        record.wants.push(...request.wants)
        const reply = object.host.exchange(request)
        reply.decisions.forEach(note)
        return reply
      })
    },
    whenDecided: (leaseId) =>
      call(async () => {
        const reply = await object.host.whenDecided(leaseId)
        note(reply.decision)
        return reply
      }),
    ...questionsTo(() => object.host, call),
    exchanges: () => exchanges,
    connect(next, after = 'answers') {
      upcoming = [...next]
      otherwise = after
    },
    restart() {
      object.end()
      object = comeUp()
      for (const giveUp of disconnect) giveUp()
    },
    waiting: () => object.state.queue.size,
    inFlight: () => [...object.state.keys.values()].reduce((sum, key) => sum + key.inFlight, 0),
    unsettled: () => [...object.state.leases.live.keys()],
    ...{ bugs, transitions, told: alerts },
    settlementsOf: (id) => record.settlements.filter(({ leaseId }) => leaseId === id),
  }
}

/** The calls that a host answers as they are. */
function questionsTo(
  host: () => PoolHost,
  call: <T>(carryOut: () => T | Promise<T>) => Promise<PoolAnswer<T>>,
): Omit<PoolClient, 'exchange' | 'whenDecided'> {
  return {
    explain: (question) => call(() => host().explain(question)),
    spending: (clientId) => call(() => host().spending(clientId)),
    keyForGeneration: (id, clientId) => call(() => host().keyForGeneration(id, clientId)),
    snapshot: () => call(() => host().snapshot()),
    readings: () => call(() => host().readings()),
    requests: (query) => call(() => host().requests(query)),
    history: (query) => call(() => host().history(query)),
    usage: (query) => call(() => host().usage(query)),
    health: () => call(() => host().health()),
    duties: (given) => call(() => host().duties(given)),
    clientDirectory: (known) => call(() => host().clientDirectory(known)),
    manageClients: (given) => call(() => host().manageClients(given)),
    visit: (given) => call(() => host().answers.visit(given)),
    purge: (given) => call(() => host().answers.purge(given)),
    epochs: () => call(() => host().answers.epochs()),
    control: (given) => call(() => host().control(given)),
    overview: () => call(() => host().overview()),
    audit: () => call(() => host().audit()),
    noteInAudit: (change) => call(() => host().noteInAudit(change)),
    quotas: (id) => call(() => host().quotas(id)),
    alerts: (given) => call(() => host().alerts(given)),
  }
}

/** The lives of one object, one after another, over the same stored rows. */
function createLives(...[config, time, random, prepare]: Parameters<typeof createInMemoryPool>) {
  const rows = createInMemoryRows()
  const bugs: unknown[] = []
  const transitions: string[] = []
  const alerts: string[] = []
  const comeUp = () => {
    const state = createPool(config, time.nowMs())
    prepare(state)
    const { timer, end } = createMortalTimer(time)
    const store = createStore(rows)
    const logBug = (bug: unknown) => void bugs.push(bug)
    const { nowMs } = time
    const host = new PoolHost(state, {
      ...{ nowMs, timer, random, store, logBug },
      sync: () => undefined,
      logTransition: ({ kind, what, id, reason }) =>
        void transitions.push(`${what} ${id} ${kind}: ${reason}`),
      logDrift: ({ keyId }) => void transitions.push(`${keyId} drifts`),
      logAlert({ phase, alert: { event, subject, facts } }) {
        alerts.push(`${event} ${subject} ${phase}`)
        if (event !== 'budget_threshold' || phase === 'end') return
        transitions.push(`${facts.owner} at ${facts.percent} %`)
      },
      logUndelivered: ({ to, message, why }) => void alerts.push(`${message.id} to ${to}: ${why}`),
    })
    return { state, host, end }
  }
  return { bugs, transitions, alerts, comeUp }
}

/** The timers of one life of the object. They end with it, and what it holds is never answered. */
export function createMortalTimer({ objectTimer }: Pick<VirtualTime, 'objectTimer'>) {
  const cancels = new Set<() => void>()
  return {
    timer(ms: number, callback: () => void) {
      const cancel = objectTimer(ms, () => {
        cancels.delete(stop)
        callback()
      })
      const stop = () => {
        cancels.delete(stop)
        cancel()
      }
      cancels.add(stop)
      return stop
    },
    end() {
      for (const stop of [...cancels]) stop()
    },
    /** How many are set. While there is one, the platform keeps the object in memory. */
    open: () => cancels.size,
  }
}

import { numberedBy } from '../../../src/balancing/limits/lease-number.ts'
import { entriesOf } from '../../../src/balancing/limits/rotating-map.ts'
import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { Isolate } from '../isolate.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedWorld } from './observed-world.ts'

/** Names that callers make up are remembered, but not more of them than this, in all maps together. */
const MOST_NAMES = 5_000

/** 13. What is remembered does not grow with history, and at rest nothing of what has ended is left. */
export function memoryIsBounded(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  /** How many leases the pool has heard of. */
  const knownAtRest: number[] = [0]
  let known = 0
  /** Who has settled something since the last rest, and between that and the one before. */
  let settling = new Set<string>()
  let settledBefore = new Set<string>()
  return {
    born(state) {
      const { live, owed } = state.leases
      known += live.size + owed.young.size + owed.old.size
      knownAtRest.push(known)
    },
    after({ request }, { granted, begun }) {
      known += granted.length + begun.length + (request?.settlements.length ?? 0)
      for (const { leaseId } of request?.settlements ?? []) settling.add(numberedBy(leaseId))
    },
    atRest() {
      const { object, isolates } = world()
      checkRest(object.state, accuse)
      for (const isolate of isolates()) checkIsolate(isolate, accuse)
      const { owed, settled } = object.state.leases
      // One generation is let go by the next entry that comes after its time.
      if (known > (knownAtRest.at(-1) ?? 0)) {
        const since = known - (knownAtRest.at(-2) ?? 0)
        const remembered = owed.young.size + owed.old.size
        if (remembered > since)
          accuse(13, `${remembered} expired leases are remembered, of ${since}`)
        knownAtRest.push(known)
      }
      if (settling.size === 0) return
      const names = entriesOf(settled.numbered).length
      const most = new Set([...settling, ...settledBefore]).size
      if (names > most) accuse(13, `${names} isolates are remembered, of ${most}`)
      settledBefore = settling
      settling = new Set()
    },
  }
}

function checkIsolate({ leases, name }: Pick<Isolate, 'leases' | 'name'>, accuse: Accuse): void {
  const { stock, outbox } = leases
  if (stock.lanes.size > 64) accuse(13, `${name} has ${stock.lanes.size} lanes`)
  if (outbox.settlements.length > 1_000) accuse(13, `the outbox of ${name} grows`)
}

function checkRest(state: PoolState, accuse: Accuse): void {
  const { leases, queue, ledger, correlation, affinities, retryBudget } = state
  const atRest: Readonly<Record<string, number>> = {
    'live leases': leases.live.size,
    waiters: queue.waiters.size,
    'clients in the queue': queue.clients.size,
    'kept keys': queue.claims.size,
    isolates: state.isolates.heardAtMs.size,
  }
  for (const [what, size] of Object.entries(atRest)) {
    if (size > 0) accuse(13, `${size} ${what} are remembered at rest`)
  }
  const names = [
    ...[ledger.byModel, correlation.young, correlation.old, affinities.young, affinities.old],
    ...[retryBudget.models.young, retryBudget.models.old, state.modelBenches],
  ]
  for (const { size } of names) if (size > MOST_NAMES) accuse(13, `${size} names in one map`)
}

import type { LeaseId } from '../../../src/balancing/ids.ts'
import { letTimePass } from '../../../src/balancing/serving/lease-end.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedRequest, SimulatedWorld } from './observed-world.ts'

/** Longer than it takes until a settlement is there whose first exchange was lost. */
const DELIVERED_MS = 30_000

interface Due {
  readonly request: SimulatedRequest
  readonly atMs: number
  readonly failures: number
  readonly life: number
}

/** 2. Every lease ends once, and nothing is in flight when nobody sends. */
export function leasesEnd(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  let settled = new Set<LeaseId>()
  /** Of which leases the pool has heard the end. */
  const heard = new Set<LeaseId>()
  const due: Due[] = []
  const failuresAt = new WeakMap<SimulatedRequest, number>()

  const check = (ending: Due) => {
    const { object } = world()
    const { request } = ending
    if (object.life !== ending.life || isExcused(ending)) return
    for (const { leased } of request.leased) {
      const { leaseId } = leased
      const when = `${DELIVERED_MS / 1000} s after its request ended`
      if (leaseId === null) continue
      if (object.state.leases.live.has(leaseId)) accuse(2, `lease ${leaseId} is held ${when}`)
      if (!heard.has(leaseId)) accuse(2, `the pool has not heard of ${leaseId} ${when}`)
    }
  }

  const checkDue = () => {
    const nowMs = world().time.nowMs()
    while ((due[0]?.atMs ?? Infinity) <= nowMs) {
      const first = due.shift()
      if (first !== undefined) check(first)
    }
  }

  return {
    born() {
      settled = new Set()
    },
    after({ request, state }, { granted, begun, ended }) {
      const back = [...granted, ...begun].filter(({ id }) => settled.has(id))
      for (const { id } of back) accuse(2, `lease ${id} was settled, and is live again`)
      const told = new Set(request?.settlements.map(({ leaseId }) => leaseId))
      for (const id of told) {
        heard.add(id)
        if (state.leases.live.has(id)) accuse(2, `lease ${id} is live after its settlement`)
      }
      for (const { id } of ended) if (told.has(id)) settled.add(id)
    },
    leased(request) {
      // Some calls may have failed already when the request ends: it waits for its settlement.
      if (!failuresAt.has(request)) failuresAt.set(request, request.isolate.failures)
    },
    ended(request) {
      const { time, object } = world()
      const failures = failuresAt.get(request) ?? request.isolate.failures
      due.push({ request, atMs: time.nowMs() + DELIVERED_MS, failures, life: object.life })
    },
    afterEach: checkDue,
    atRest() {
      checkDue()
      heard.clear()
      const { object, time, openRouter, isolates } = world()
      const { state } = object
      letTimePass(state, time.nowMs())
      const inFlight = [...state.keys.values()].map((key) => key.inFlight)
      const timers = isolates().map(({ isAlive, openTimers }) => (isAlive ? openTimers() : 0))
      const left: Readonly<Record<string, number>> = {
        'in flight': Math.max(...inFlight),
        'live leases': state.leases.live.size,
        waiters: state.queue.size,
        'upstream calls': openRouter.open().length,
        'timers of an isolate': Math.max(0, ...timers),
      }
      for (const [what, count] of Object.entries(left)) {
        if (count !== 0) accuse(2, `at rest there are ${count} ${what}`)
      }
    },
  }
}

/** Whether its isolate could not deliver the settlement in time. */
function isExcused({ request: { isolate, endedAtMs }, failures }: Due): boolean {
  const isTroubled = !isolate.isAlive || isolate.failures > failures + 1
  return isTroubled || isolate.silentUntilMs > (endedAtMs ?? 0)
}

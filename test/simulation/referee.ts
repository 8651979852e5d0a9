import type { LeaseId } from '../../src/balancing/ids.ts'
import type { Lease } from '../../src/balancing/limits/leases.ts'
import type { PoolState } from '../../src/balancing/pool-state.ts'
import type { History } from './history.ts'
import { alertsAreTold } from './invariants/alerts-are-told.ts'
import { batchesYield } from './invariants/batches-yield.ts'
import { booksAgree } from './invariants/books-agree.ts'
import { budgetsHold } from './invariants/budgets-hold.ts'
import { grantsAreDue } from './invariants/grants-are-due.ts'
import type { Accuse, InvariantNumber, StepChanges, Watcher } from './invariants/invariant.ts'
import { leasesEnd } from './invariants/leases-end.ts'
import { limitsHold } from './invariants/limits-hold.ts'
import { memoryIsBounded } from './invariants/memory-is-bounded.ts'
import { nothingIsLost } from './invariants/nothing-is-lost.ts'
import type { SimulatedWorld, WorldWitness } from './invariants/observed-world.ts'
import { queueIsFair } from './invariants/queue-is-fair.ts'
import { quotasHold } from './invariants/quotas-hold.ts'
import { callersAreApart, retriesAreBounded } from './invariants/retries-are-bounded.ts'
import { sharesAreKept } from './invariants/shares-are-kept.ts'
import type { ObjectStep } from './pool-object.ts'

/** The first thing that did not hold. */
export interface Violation {
  /** Null for an error that was thrown. */
  readonly invariant: InvariantNumber | null
  readonly what: string
  readonly atMs: number
}

export interface Referee extends WorldWitness {
  atRest(): void
  violation(): Violation | null
  /** A number that is the same for two runs in which the same things happened. */
  digest(): string
  /** The last things that happened, for a report. */
  readonly trace: readonly string[]
  steps(): number
}

const TRACE_LENGTH = 60

/**
 * Watches a world for all invariants.
 * @param world the world, once it is there
 */
export function createReferee(history: History, world: () => SimulatedWorld): Referee {
  let violation: Violation | null = null
  let steps = 0
  // The object's first life begins before the world is there.
  const nowMs = () => (steps === 0 ? 0 : world().time.nowMs())
  const { tell, trace, digest } = createTrace(nowMs)
  const accuse: Accuse = (invariant, what) => {
    violation ??= { invariant, what, atMs: nowMs() }
  }
  const watchers: readonly Watcher[] = [
    limitsHold(accuse),
    leasesEnd(accuse, world),
    grantsAreDue(accuse, world),
    booksAgree(accuse),
    sharesAreKept(accuse, history.kind),
    queueIsFair(accuse, world),
    retriesAreBounded(accuse, world),
    nothingIsLost(accuse, world),
    callersAreApart(accuse, world, history.kind),
    memoryIsBounded(accuse, world),
    batchesYield(accuse),
    alertsAreTold(accuse, world),
    ...(history.pool.clients === null
      ? []
      : [quotasHold(accuse, world), budgetsHold(accuse, world)]),
  ]
  const all = (each: (watcher: Watcher) => void) => watchers.forEach(each)

  const live = createLiveLeases()

  return {
    born(state, life, how) {
      live.begin(state)
      if (how !== null) tell(`the object ends by ${how}`)
      all((watcher) => watcher.born?.(state, life, how))
    },
    before(step) {
      all((watcher) => watcher.before?.(step))
    },
    after(step) {
      steps += 1
      const changes = live.changesOf(step)
      for (const { id, keyId } of changes.granted) tell(`${id} gets ${keyId}`)
      for (const { id } of changes.ended) tell(`${id} ends`)
      all((watcher) => watcher.after?.(step, changes))
    },
    released(step) {
      all((watcher) => watcher.released?.(step))
    },
    leased(request, leased) {
      tell(`${request.id} has ${leased.keyId} by ${leased.leaseId}`)
      all((watcher) => watcher.leased?.(request, leased))
    },
    called(request, call) {
      tell(`${request.id} calls with ${call.key}: ${call.fault}`)
      all((watcher) => watcher.called?.(request, call))
    },
    ended(request) {
      tell(`${request.id} ends: ${request.report?.outcome} ${request.report?.error?.reason ?? ''}`)
      all((watcher) => watcher.ended?.(request))
    },
    ordered(order, reply) {
      tell(`the operator: ${order.kind}, ${reply.kind}`)
      all((watcher) => watcher.ordered?.(order, reply))
    },
    told(message) {
      tell(`operators hear ${message.phase} ${message.event} ${message.alerts.length}`)
      all((watcher) => watcher.told?.(message))
    },
    undelivered: () => all((watcher) => watcher.undelivered?.()),
    afterEach() {
      all((watcher) => watcher.afterEach?.())
      const [bug] = world().object.bugs
      if (bug !== undefined) this.bug(bug)
    },
    bug(error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
      violation ??= { invariant: null, what, atMs: nowMs() }
    },
    atRest() {
      all((watcher) => watcher.atRest?.())
    },
    violation: () => violation,
    digest,
    trace,
    steps: () => steps,
  }
}

/** What happened last, and a number for all that happened. */
function createTrace(nowMs: () => number) {
  const trace: string[] = []
  // FNV-1a.
  let hash = 0x811c9dc5
  return {
    trace,
    tell(what: string): void {
      const text = `${nowMs()} ${what}`
      trace.push(text)
      if (trace.length > TRACE_LENGTH) trace.shift()
      for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
    },
    digest: () => (hash >>> 0).toString(16).padStart(8, '0'),
  }
}

/** Keeps the live leases of the last step, to tell what the next one changes. */
function createLiveLeases() {
  let live: ReadonlyMap<LeaseId, Lease> = new Map()
  return {
    begin({ leases }: PoolState): void {
      live = new Map(leases.live)
    },
    changesOf({ state, nowMs }: ObjectStep): StepChanges {
      const before = live
      const now = state.leases.live
      const appeared = [...now.values()].filter(({ id, kind }) => before.get(id)?.kind !== kind)
      const isGranted = ({ id, grantedAtMs }: Lease) => grantedAtMs === nowMs && !before.has(id)
      const granted = appeared.filter(isGranted)
      const begun = appeared.filter((one) => !isGranted(one))
      const ended = [...before.values()].filter(({ id }) => !now.has(id))
      live = new Map(now)
      return { granted, begun, ended, before }
    },
  }
}

import type { KeyReport } from '../../src/balancing/health/key-report.ts'
import type { LeaseId } from '../../src/balancing/ids.ts'
import type { Decision, LeaseRequest } from '../../src/balancing/lease-request.ts'
import {
  acquire,
  claim,
  report,
  settle,
  takeDecided,
  takeLookupDuties,
  tick,
  wakeAtMs,
} from '../../src/balancing/pool.ts'
import type { PoolState } from '../../src/balancing/pool-state.ts'
import type { Settlement } from '../../src/balancing/settlement.ts'
import {
  AWAIT_MS,
  type AwaitReply,
  type ExchangeReply,
  type ExchangeRequest,
} from '../../src/key-pool/protocol.ts'
import type { VirtualTime } from './virtual-time.ts'

/** All messages that the pool received and all its decisions, over all lives of its object. */
export interface PoolRecord {
  /** Each lease request, as often as it was received. */
  readonly wants: LeaseRequest[]
  /** Grants and refusals, at once or after a wait. `waiting` does not count as a decision. */
  readonly decisions: Exclude<Decision, { kind: 'waiting' }>[]
  readonly settlements: Settlement[]
  readonly lookups: KeyReport[]
}

/** One life of the pool object. */
export interface InMemoryObject {
  readonly state: PoolState
  exchange(request: ExchangeRequest): ExchangeReply
  whenDecided(leaseId: LeaseId): Promise<AwaitReply>
  /** Cancels the object's timers. Calls that it holds are never answered. */
  end(): void
}

/** The shortest pause between two timed checks of the queue. */
const MIN_WAKE_MS = 25

/** The real pool functions. A copy of the pool object's code around them runs on virtual time. */
export function createInMemoryObject(
  state: PoolState,
  time: VirtualTime,
  random: () => number,
  record: PoolRecord,
): InMemoryObject {
  const held = new Map<LeaseId, { release: () => void; cancel: () => void }>()
  let cancelWake = (): void => undefined

  const note = (decision: Decision | null) => {
    if (decision !== null && decision.kind !== 'waiting') record.decisions.push(decision)
  }
  const serve = () => {
    const nowMs = time.nowMs()
    tick(state, nowMs, random)
    for (const leaseId of takeDecided(state)) held.get(leaseId)?.release()
    cancelWake()
    const atMs = wakeAtMs(state)
    if (atMs !== null) cancelWake = time.timer(Math.max(MIN_WAKE_MS, atMs - nowMs), serve)
  }
  const hold = async (leaseId: LeaseId, leftMs: number): Promise<void> => {
    await new Promise<void>((resolve) => {
      const cancel = time.timer(Math.min(AWAIT_MS, leftMs), resolve)
      const release = () => {
        cancel()
        resolve()
      }
      held.set(leaseId, { release, cancel })
    })
    held.delete(leaseId)
  }

  return {
    state,
    exchange({ wants, settlements, lookups }) {
      const nowMs = time.nowMs()
      record.settlements.push(...settlements)
      for (const settlement of settlements) settle(state, settlement, nowMs, random)
      record.lookups.push(...lookups)
      for (const lookup of lookups) report(state, lookup, nowMs)
      record.wants.push(...wants)
      const decisions = wants.map((want) => acquire(state, want, nowMs, random))
      decisions.forEach(note)
      const due = takeLookupDuties(state, nowMs)
      serve()
      return { version: 1, decisions, lookups: due }
    },
    async whenDecided(leaseId) {
      const early = claim(state, leaseId, time.nowMs())
      const deadlineMs = state.queue.waiters.get(leaseId)?.deadlineMs ?? 0
      if (early?.kind === 'waiting') await hold(leaseId, deadlineMs - time.nowMs())
      const decision = early?.kind === 'waiting' ? claim(state, leaseId, time.nowMs()) : early
      note(decision)
      return { version: 1, decision }
    },
    end() {
      cancelWake()
      for (const { cancel } of held.values()) cancel()
      held.clear()
    },
  }
}

import type { CacheCounters } from '../../balancing/accounting/cache-counters.ts'
import { createTimings } from '../../gateway/answers/timings.ts'
import type { JourneyReport } from '../../gateway/inference-request.ts'
import { rowOfGiven } from '../../gateway/request-rows.ts'
import { type Gateway, journeyContextOf } from '../../http/composition-root.ts'
import { logRequest } from '../../http/log.ts'
import type { FlightRole, FlownRequest } from '../flight-protocol.ts'
import type { SubscriberEnd } from '../subscribers.ts'

export interface GivenAnswer {
  readonly role: FlightRole
  /** Null if the client left before it was known. */
  readonly status: number | null
  readonly how: SubscriberEnd
  /** Of the journey that made the answer; null if that is long over. */
  readonly report: JourneyReport | null
  /** What the pool counts of it; nothing of a durable answer, which its own client has paid for. */
  readonly counted: Partial<CacheCounters> | null
}

/** Where a flight's object tells what became of requests. */
export interface Telling {
  readonly gateway: Gateway
  background(work: Promise<unknown>): void
}

/**
 * Tells of a request that got an answer without an upstream call: in the log, to the operators, and to
 * those who count. It has no attempts and no usage.
 */
export function tellGiven(
  telling: Telling,
  request: FlownRequest,
  { role, status, how, report, counted }: GivenAnswer,
): void {
  const { requestId, caller, model, startedAtMs, authMs } = request
  const endedAtMs = telling.gateway.ports.nowMs()
  const outcome = how === 'left' ? 'client_gone' : (report?.outcome ?? 'answered')
  const told: JourneyReport = {
    ...{ outcome, status, error: report?.error ?? null, attempts: [], times: [] },
    ...{ degraded: false, streamed: report?.streamed ?? false },
    ...{ timings: createTimings(authMs), usage: null, bug: null },
  }
  logRequest({
    ...{ requestId, clientId: caller.id, model, startedAtMs, endedAtMs, cache: role },
    report: told,
  })
  const { leases } = contextOf(telling)
  const { path, route = null } = request
  leases.note(
    rowOfGiven(
      { requestId, caller, path, route, asked: model, startedAtMs },
      role,
      told,
      endedAtMs,
    ),
  )
  if (counted !== null) leases.count(counted)
  telling.background(leases.settle([]))
}

/** Counts an answer that was made for others too. */
export function tellMade(telling: Telling, keptBytes: number): void {
  const { leases } = contextOf(telling)
  leases.count({ misses: 1, keptBytes })
  telling.background(leases.settle([]))
}

/** The note goes to the pool's object with what the isolate owes next. What breaks there costs the note. */
function contextOf({ gateway, background }: Telling) {
  return journeyContextOf(gateway, gateway.ports, (work) => background(work.catch(() => undefined)))
}

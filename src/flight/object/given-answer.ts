import { createTimings } from '../../gateway/answers/timings.ts'
import type { JourneyReport } from '../../gateway/inference-request.ts'
import type { Ports } from '../../gateway/ports.ts'
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
}

/** Logs a request that got an answer without an upstream call. It has no attempts and no usage. */
export function logGiven(
  { nowMs }: Pick<Ports, 'nowMs'>,
  { requestId, caller, model, startedAtMs, authMs }: FlownRequest,
  { role, status, how, report }: GivenAnswer,
): void {
  const outcome = how === 'left' ? 'client_gone' : (report?.outcome ?? 'answered')
  logRequest({
    ...{ requestId, clientId: caller.id, model, startedAtMs, endedAtMs: nowMs(), cache: role },
    report: {
      ...{ outcome, status, error: report?.error ?? null, attempts: [], times: [] },
      ...{ degraded: false, streamed: report?.streamed ?? false },
      ...{ timings: createTimings(authMs), usage: null, bug: null },
    },
  })
}

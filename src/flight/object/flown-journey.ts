import type { ClientId } from '../../balancing/ids.ts'
import { answerOf, type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HeldBytes } from '../../gateway/byte-budget.ts'
import type { JourneyReport } from '../../gateway/inference-request.ts'
import { startJourney } from '../../gateway/journey.ts'
import { withOneTimer } from '../../gateway/one-timer.ts'
import { type Gateway, journeyContextOf, MEMORY } from '../../http/composition-root.ts'
import { logBug, logRequest } from '../../http/log.ts'
import { planBody } from '../../http/request-plan.ts'
import { overloaded } from '../../http/upload.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import { type AnswerHead, headOf } from '../answer-head.ts'
import { releaseOfDead } from '../dead-objects.ts'
import type { FlownRequest } from '../flight-protocol.ts'

/** Takes an answer as it comes. */
export interface AnswerSink {
  /** @param only set if the answer is for the client alone whose request this is */
  begin(head: AnswerHead, only: ClientId | null): void
  /** Resolves when there is room for more. */
  write(bytes: Uint8Array): Promise<void>
  /** @param isWhole false if nobody may take the answer for whole */
  end(isWhole: boolean): void
}

export interface FlownJourney {
  readonly gateway: Gateway
  readonly shape: ApiShape
  readonly request: FlownRequest & { readonly body: Uint8Array }
  /** Aborted when nobody wants the answer any more. */
  readonly signal: AbortSignal
  readonly sink: AnswerSink
  /** Keeps the object in memory for work that nobody waits for. */
  readonly background: (work: Promise<unknown>) => void
}

/**
 * Makes the journey of a request in the place of its Worker, passes the answer on and logs its line.
 * Never rejects.
 * @returns how it ended; null if it ended before its journey began, or by a bug
 */
export async function fly(flown: FlownJourney): Promise<JourneyReport | null> {
  const { gateway, request, shape, sink } = flown
  const held = gateway.memory.open()
  // What the journey holds of its answer. From the sink on, the bytes are counted there.
  const ofAnswer = held.beside()
  try {
    if (!held.grow(request.body.length)) {
      flown.background(releaseOfDead(MEMORY, gateway.flights, gateway.ports.nowMs()))
      return refuse(flown, overloaded())
    }
    return await makeJourney(flown, held, ofAnswer)
  } catch (bug) {
    logBug(request.requestId, bug)
    sink.begin(headOf(answerOf(FAILED, shape)), null)
    sink.end(false)
    return null
  } finally {
    held.release()
    ofAnswer.release()
  }
}

const FAILED = gatewayError('internal_error', 'The gateway failed. Try again.')

async function makeJourney(
  flown: FlownJourney,
  held: HeldBytes,
  ofAnswer: HeldBytes,
): Promise<JourneyReport | null> {
  const { gateway, request, shape, signal, sink, background } = flown
  const { caller, startedAtMs, authMs, requestId, search, body } = request
  const ports = withOneTimer(gateway.ports)
  const headers = new Headers({ ...request.headers })
  const from = { shape, caller, background, headers, bytes: body, held }
  const planned = await planBody(gateway, from)
  if (!planned.ok) return refuse(flown, planned.error)
  const { model, route, ...rest } = planned.plan
  const journey = startJourney(journeyContextOf(gateway, ports, background), {
    ...rest,
    cache: 'miss',
    ...{ requestId, held: ofAnswer, shape, caller, headers, search, signal, startedAtMs, authMs },
    timeouts: route.timeouts,
    maxAttempts: route.maxAttempts,
    routeKeys: route.keys,
  })
  const response = await journey.response
  // Whose fault an error is, the report tells. It is there as soon as the error is.
  const error = response.ok ? null : (await journey.finished).error
  sink.begin(headOf(response), error !== null && isPersonal(error) ? caller.id : null)
  sink.end(await pass(response.body, sink))
  const report = await journey.finished
  if (report.bug !== null) logBug(requestId, report.bug)
  const about = { requestId, clientId: caller.id, model, startedAtMs, cache: 'miss' } as const
  logRequest({ ...about, report, endedAtMs: ports.nowMs() })
  return report
}

/** @returns whether the answer came to its end */
async function pass(body: ReadableStream<Uint8Array> | null, sink: AnswerSink): Promise<boolean> {
  if (body === null) return true
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return true
      await sink.write(value)
    }
  } catch {
    // The journey breaks its answer off where an error event has no place.
    return false
  }
}

/** An error before the journey: it is the same for whoever asks the same. */
function refuse({ sink, shape }: FlownJourney, error: GatewayError): null {
  const { body, ...head } = answerOf(error, shape)
  sink.begin(headOf(head), null)
  void sink.write(new TextEncoder().encode(body))
  sink.end(true)
  return null
}

const PERSONAL: ReadonlySet<string> = new Set<GatewayError['reason']>([
  ...(['unauthorized', 'budget_exceeded', 'budget_unpriceable'] as const),
  ...(['model_not_allowed', 'client_rate_limited'] as const),
])

/** Whether another client would not have got this error: it is about this one's key, limits or money. */
function isPersonal({ reason, metadata }: GatewayError): boolean {
  if (PERSONAL.has(reason)) return true
  const { reasons } = metadata
  return typeof reasons === 'object' && (reasons.not_for_client ?? 0) > 0
}

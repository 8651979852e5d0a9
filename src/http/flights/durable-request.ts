import { CACHE_HEADER } from '../../flight/cache-directive.ts'
import type { EventPlace } from '../../flight/event-ids.ts'
import { MAX_SHARED_BODY_BYTES } from '../../flight/flight-protocol.ts'
import { gatewayError, poolUnavailable } from '../../gateway/answers/gateway-error.ts'
import { searchOf } from '../unserved.ts'
import { type PlannedRequest, type Shared, seatAt } from './seat-taking.ts'

export const DURABLE_HEADER = 'x-switchyard-durable'

/** How long an answer may be kept, in seconds. */
const MAX_KEEP_S = 3600

/** The APIs whose answers take long, and come in pieces. */
const TEXT_PATHS: ReadonlySet<string> = new Set([
  ...['chat/completions', 'completions', 'responses', 'messages'],
])

/**
 * Begins an answer that is made to its end without a reader, or goes on with one.
 * @param after what the client has of it; null for nothing
 */
export async function durableAnswer(
  planned: PlannedRequest,
  after: EventPlace | null,
): Promise<Shared> {
  const { gateway, request, plan, shape, caller, requestId } = planned
  const { answerKeys, flights } = gateway
  const given = request.headers.get(DURABLE_HEADER)
  const seconds = /^\s*(\d{1,4})\s*$/.exec(given ?? '')?.[1]
  const keepS = seconds === undefined ? null : Number(seconds)
  if (given !== null && (keepS === null || keepS < 1 || keepS > MAX_KEEP_S)) {
    return invalid(
      `The header ${DURABLE_HEADER} must be a whole number of seconds from 1 to ${MAX_KEEP_S}.`,
    )
  }
  if (!TEXT_PATHS.has(shape.path)) {
    return invalid(`Only text is answered with ${DURABLE_HEADER}: ${[...TEXT_PATHS].join(', ')}.`)
  }
  const body = plan.body.bytesFor(plan.asked)
  if (body.length > MAX_SHARED_BODY_BYTES) {
    return invalid(`With ${DURABLE_HEADER} a body may have ${MAX_SHARED_BODY_BYTES} bytes.`)
  }
  const [name, bodyKey] = await Promise.all([
    answerKeys.ofClient(caller.id),
    answerKeys.ofBody({ path: shape.path, search: searchOf(request.url), body }),
  ])
  const answerId = after?.answerId ?? requestId
  const keepMs = keepS === null ? null : keepS * 1000
  const seat = await seatAt(planned, name, (flown) =>
    flights.durable(name, { version: 1, request: flown, answerId, bodyKey, keepMs, after }),
  )
  switch (seat.kind) {
    case 'refused':
      return seat
    case 'own':
      // An answer that could not be resumed would break what its client relies on.
      return { kind: 'refused', error: poolUnavailable(UNREACHABLE) }
    case 'answered':
      // Of the cache a durable answer knows nothing.
      if (plan.route.cache === null) seat.response.headers.delete(CACHE_HEADER)
      else seat.response.headers.set(CACHE_HEADER, 'bypass')
      return seat
  }
}

const UNREACHABLE = 'This gateway cannot keep an answer now. Try again, or without the header.'

function invalid(message: string): Shared {
  return { kind: 'refused', error: gatewayError('invalid_request', message) }
}

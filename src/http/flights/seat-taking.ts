import type { FlightReply, FlownRequest } from '../../flight/flight-protocol.ts'
import { SHORT_BODY_BYTES } from '../../flight/flight-protocol.ts'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import { upstreamHeaders } from '../../openrouter/headers.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import type { Gateway } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'
import type { RequestPlan } from '../request-plan.ts'
import { searchOf } from '../unserved.ts'
import { keptResponse, type SeatResponse, seatResponse } from './seat-response.ts'

/** A request that is planned, but has not begun its journey. */
export interface PlannedRequest
  extends Pick<HttpEnvironment['Variables'], 'requestId' | 'caller' | 'startedAtMs' | 'authMs'> {
  readonly gateway: Gateway
  readonly request: Request
  readonly shape: ApiShape
  readonly plan: RequestPlan & { readonly model: string }
  readonly background: (work: Promise<unknown>) => void
}

/** How a request gets its answer. */
export type Shared =
  /** It makes its own journey. `cache` is set where its route would share. */
  | { readonly kind: 'own'; readonly cache?: 'bypass' }
  | ({ readonly kind: 'answered' } & SeatResponse)
  | { readonly kind: 'refused'; readonly error: GatewayError }

export const OWN: Shared = { kind: 'own' }
export const BYPASS: Shared = { kind: 'own', cache: 'bypass' }

export const NOT_CACHED: Shared = {
  kind: 'refused',
  error: gatewayError(
    'not_cached',
    'No answer to this request is kept, and it asked for no other (only-if-cached).',
  ),
}

/** For who asks for a durable answer. */
export const ANSWER_GONE: GatewayError = gatewayError(
  'answer_gone',
  'There is no such answer for this client key, or its time is over. Send the request again.',
)

/** What an object says to a request that wants a seat. */
type Reply = FlightReply | { readonly kind: 'gone' }

/** So often somebody else's refusal may come in place of the answer. */
const MAX_ROUNDS = 5

/** Asks for a seat, and takes it. An object that fails costs nobody his answer. */
export async function seatAt(
  planned: PlannedRequest,
  name: string,
  ask: (request: FlownRequest) => Promise<Reply | null>,
): Promise<Shared> {
  const { gateway, request, shape, authMs } = planned
  const { flights } = gateway
  const { signal } = request
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const seat = gateway.ports.uniqueId()
    const reply = await askWithBody(planned, seat, ask)
    if (reply === null) {
      // It may have begun after all.
      planned.background(flights.leave(name, seat))
      return BYPASS
    }
    switch (reply.kind) {
      case 'kept':
        return { kind: 'answered', ...keptResponse(reply, authMs) }
      case 'refused':
        return reply
      case 'not_cached':
        return NOT_CACHED
      case 'gone':
        return { kind: 'refused', error: ANSWER_GONE }
      case 'needs_body':
      case 'bypass':
        return BYPASS
      case 'seat': {
        const seated = { flights, name, seat, signal, shape, authMs }
        const taken = await seatResponse(seated, reply).catch(() => 'again' as const)
        if (taken !== 'again') return { kind: 'answered', ...taken }
      }
    }
    if (signal.aborted) break
  }
  return BYPASS
}

async function askWithBody(
  planned: PlannedRequest,
  seat: string,
  ask: (request: FlownRequest) => Promise<Reply | null>,
): Promise<Reply | null> {
  const { plan, request, shape, requestId, caller, startedAtMs, authMs } = planned
  const bytes = plan.body.bytesFor(plan.asked)
  const flown: FlownRequest = {
    ...{ seat, requestId, caller, startedAtMs, authMs },
    path: shape.path,
    search: searchOf(request.url),
    headers: Object.fromEntries(upstreamHeaders(request.headers)),
    model: plan.model,
    route: plan.routeIndex,
    body: bytes.length <= SHORT_BODY_BYTES ? bytes : null,
  }
  const reply = await ask(flown)
  return reply?.kind === 'needs_body' ? await ask({ ...flown, body: bytes }) : reply
}

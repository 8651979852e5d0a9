import type { EpochName } from '../../balancing/clients/purge-epochs.ts'
import { epochOf } from '../../balancing/clients/purge-epochs.ts'
import {
  CACHE_HEADER,
  CACHE_HEADER_FORM,
  type CacheDirective,
  readCacheDirective,
} from '../../flight/cache-directive.ts'
import { type KeyScope, scopeOf } from '../../flight/cache-key.ts'
import { readEventId } from '../../flight/event-ids.ts'
import { MAX_SHARED_BODY_BYTES } from '../../flight/flight-protocol.ts'
import { readShareableFields } from '../../flight/shareable-request.ts'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import { isFormType } from '../request-body.ts'
import type { RequestPlan } from '../request-plan.ts'
import { searchOf } from '../unserved.ts'
import { DURABLE_HEADER, durableAnswer } from './durable-request.ts'
import { BYPASS, NOT_CACHED, OWN, type PlannedRequest, type Shared, seatAt } from './seat-taking.ts'

/** Whether a request may get another's answer, or leaves its own behind. Most do neither. */
export function mayShare({ cache }: RequestPlan['route'], headers: Headers): boolean {
  if (cache !== null) return true
  return headers.has(CACHE_HEADER) || headers.has(DURABLE_HEADER) || headers.has('last-event-id')
}

/** Gives a request the answer of another that was the same, or makes one that others get too. */
export async function shareAnswer(planned: PlannedRequest): Promise<Shared> {
  const { headers } = planned.request
  const directive = readCacheDirective(headers.get(CACHE_HEADER))
  if (directive === null) {
    const message = `The header ${CACHE_HEADER} must be ${CACHE_HEADER_FORM}.`
    return { kind: 'refused', error: gatewayError('invalid_request', message) }
  }
  const after = readEventId(headers.get('last-event-id'))
  if (headers.has(DURABLE_HEADER) || after !== null) return await durableAnswer(planned, after)
  const shared = await sharedAnswer(planned, directive)
  return directive.kind === 'only_if_cached' && shared.kind === 'own' ? NOT_CACHED : shared
}

async function sharedAnswer(planned: PlannedRequest, directive: CacheDirective): Promise<Shared> {
  const { gateway, request, plan, shape, caller, background } = planned
  const { cache } = plan.route
  if (cache === null) return OWN
  const { headers } = request
  const bytes = plan.body.bytesFor(plan.asked)
  const pause = () => new Promise<void>((resolve) => void gateway.ports.timer(0, resolve))
  if (directive.kind === 'off' || !isShareableForm(shape, headers, bytes)) return BYPASS
  const fields = await readShareableFields(bytes, plan.models, pause)
  const epochs = fields.isShareable ? await gateway.purges.epochs(background) : null
  if (epochs === null) return BYPASS
  const scope = scopeOf(cache.scope, caller)
  const { isStream } = fields
  const search = searchOf(request.url)
  const name = await gateway.answerKeys.ofRequest({
    ...{ scope, models: plan.models, isStream, headers, search, body: bytes, path: shape.path },
    epoch: epochOf(epochs, epochNames(scope, plan)),
    upstreamUrl: gateway.config.upstreamUrl,
  })
  const { ttlMs, maxBytes, share } = cache
  return await seatAt(planned, name, (flown) =>
    gateway.flights.join(name, {
      ...{ version: 1, request: flown, directive, ttlMs, maxBytes, share },
    }),
  )
}

/** OpenRouter's own cache answers by key, and what is no JSON has no fields that could be judged. */
function isShareableForm({ ending }: ApiShape, headers: Headers, bytes: Uint8Array): boolean {
  return (
    ending !== undefined &&
    bytes.length <= MAX_SHARED_BODY_BYTES &&
    !isFormType(headers.get('content-type') ?? '') &&
    headers.get('x-openrouter-cache')?.trim().toLowerCase() !== 'true'
  )
}

function epochNames(scope: KeyScope, plan: RequestPlan): readonly EpochName[] {
  const owner: EpochName = scope.kind === 'pool' ? 'pool' : `${scope.kind}:${scope.id}`
  return [
    'all',
    owner,
    `model:${plan.asked}`,
    `model:${plan.models[0]}`,
    `route:${plan.routeIndex}`,
  ]
}

import type { Context } from 'hono'
import { CACHE_HEADER } from '../../flight/cache-directive.ts'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HeldBytes } from '../../gateway/byte-budget.ts'
import { startJourney } from '../../gateway/journey.ts'
import { withOneTimer } from '../../gateway/one-timer.ts'
import type { Ports } from '../../gateway/ports.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import { type Gateway, journeyContextOf } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { OWN, type Shared } from '../flights/seat-taking.ts'
import { mayShare, shareAnswer } from '../flights/share-answer.ts'
import { logBug, logRequest } from '../log.ts'
import { type Beside, type PlannedBody, planBody, type ReadRequest } from '../request-plan.ts'
import { searchOf } from '../unserved.ts'
import { readUpload } from '../upload.ts'

/** The route of one API shape: reads the request, starts its journey, returns the response. */
export function inference(shape: ApiShape) {
  return async function infer(c: Context<HttpEnvironment>): Promise<Response> {
    const encoded = encodingFault(c.req.raw.headers)
    if (encoded !== null) return errorResponse(c, encoded)
    const { promise: response, resolve, reject } = Promise.withResolvers<Response>()
    // A client that leaves ends its request here and now. What that has of the isolate's memory, and of
    // the pool, has to be released all the same. Each promise that the platform waits for costs as much
    // as a timer, so it is one.
    c.executionCtx.waitUntil(serve(c, shape, resolve).catch(reject))
    return await response
  }
}

/** Serves a request from its body to its line in the log, and responds on the way. */
async function serve(
  c: Context<HttpEnvironment>,
  shape: ApiShape,
  respond: (response: Response | Promise<Response>) => void,
): Promise<void> {
  const { gateway, caller, startedAtMs, authMs, requestId } = c.var
  const { raw: request } = c.req
  const { headers } = request
  const ports = withOneTimer(gateway.ports)
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const planned = await prepare(gateway, ports, request, { shape, caller, background })
  if (!planned.ok) return respond(errorResponse(c, planned.error))
  const { plan, held } = planned
  let ofCache: { readonly cache?: 'bypass' } = {}
  if (mayShare(plan.route, headers)) {
    const shared = await shareAnswer({
      ...{ gateway, request, shape, plan, background, requestId, caller, startedAtMs, authMs },
    }).catch((bug: unknown) => {
      // To share is a kindness. The request has its answer without it.
      logBug(requestId, bug)
      return OWN
    })
    if (shared.kind !== 'own') return await endShared(c, shared, { plan, held }, respond)
    if (shared.cache !== undefined) ofCache = { cache: shared.cache }
  }
  const { model, route, ...rest } = plan
  const context = journeyContextOf(gateway, ports, background)
  const isBypass = ofCache.cache !== undefined
  if (isBypass) context.leases.count({ bypasses: 1 })
  const journey = startJourney(context, {
    ...rest,
    ...ofCache,
    requestId,
    held,
    shape,
    timeouts: route.timeouts,
    maxAttempts: route.maxAttempts,
    routeKeys: route.keys,
    caller,
    headers,
    search: searchOf(request.url),
    signal: request.signal,
    startedAtMs,
    authMs,
  })
  respond(isBypass ? journey.response.then(bypassed) : journey.response)
  // From here on the journey's line is the request's own, whatever else goes wrong.
  c.set('isLogged', true)
  try {
    const report = await journey.finished
    if (report.bug !== null) logBug(requestId, report.bug)
    const about = { requestId, clientId: caller.id, model, startedAtMs, ...ofCache }
    logRequest({ ...about, report, endedAtMs: ports.nowMs() })
    await journey.taken
  } finally {
    held.release()
  }
}

function bypassed(response: Response): Response {
  response.headers.set(CACHE_HEADER, 'bypass')
  return response
}

/** Responds to a request whose answer is made elsewhere, or that may not have it. */
async function endShared(
  c: Context<HttpEnvironment>,
  shared: Exclude<Shared, { kind: 'own' }>,
  { plan, held }: Pick<Prepared, 'plan' | 'held'>,
  respond: (response: Response) => void,
): Promise<void> {
  plan.body.letGo()
  held.release()
  if (shared.kind === 'refused') return respond(errorResponse(c, shared.error))
  // The flight's object writes the line: it knows how the answer ends.
  c.set('isLogged', true)
  respond(shared.response)
  await shared.finished
}

/** A plan, and what the answer has of the isolate's budget: nothing yet. */
interface Prepared extends Extract<PlannedBody, { ok: true }> {
  readonly held: HeldBytes
}

/** Reads a request's body, and plans its journey. */
async function prepare(
  gateway: Gateway,
  ports: Ports,
  request: Request,
  from: Pick<ReadRequest, 'shape' | 'caller'> & Pick<Beside, 'background'>,
): Promise<Prepared | Extract<PlannedBody, { ok: false }>> {
  const { config, memory } = gateway
  const { maxBodyBytes, timeouts } = config.policy
  const upload = await readUpload(request, { maxBytes: maxBodyBytes, ...timeouts }, memory, ports)
  if (!upload.ok) return upload
  let planned: PlannedBody | null = null
  try {
    planned = await planBody(gateway, { ...upload, ...from, headers: request.headers })
    return planned.ok ? { ...planned, held: upload.held.beside() } : planned
  } finally {
    if (!planned?.ok) upload.held.release()
  }
}

/** The gateway reads bodies as they come, and does not decompress them. */
function encodingFault(headers: Headers): GatewayError | null {
  const encoding = headers.get('content-encoding')
  if (encoding === null || /^\s*(?:identity\s*)?$/i.test(encoding)) return null
  const message = 'The request body is compressed (content-encoding). Send it uncompressed.'
  return gatewayError('unsupported_encoding', message)
}

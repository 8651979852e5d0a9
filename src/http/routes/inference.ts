import type { Context } from 'hono'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HeldBytes } from '../../gateway/byte-budget.ts'
import { startJourney } from '../../gateway/journey.ts'
import { withOneTimer } from '../../gateway/one-timer.ts'
import type { Ports } from '../../gateway/ports.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import { type Gateway, journeyContextOf } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { logBug, logRequest } from '../log.ts'
import { type ReadBody, readModel } from '../request-body.ts'
import {
  type Beside,
  modelFault,
  planRequest,
  type ReadRequest,
  type RequestPlan,
  unknownAlias,
} from '../request-plan.ts'
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
  const { model, route, ...rest } = plan
  const journey = startJourney(journeyContextOf(gateway, ports, background), {
    ...rest,
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
  respond(journey.response)
  // From here on the journey's line is the request's own, whatever else goes wrong.
  c.set('isLogged', true)
  try {
    const report = await journey.finished
    if (report.bug !== null) logBug(requestId, report.bug)
    const about = { requestId, clientId: caller.id, model, startedAtMs }
    logRequest({ ...about, report, endedAtMs: ports.nowMs() })
    await journey.taken
  } finally {
    held.release()
  }
}

interface Refused {
  readonly ok: false
  readonly error: GatewayError
}

interface Planned {
  readonly ok: true
  readonly plan: RequestPlan & { readonly model: string }
}

/** A plan, and what the answer has of the isolate's budget: nothing yet. */
interface Prepared extends Planned {
  readonly held: HeldBytes
}

/** Reads a request's body, and plans its journey. */
async function prepare(
  gateway: Gateway,
  ports: Ports,
  request: Request,
  from: Pick<ReadRequest, 'shape' | 'caller'> & Pick<Beside, 'background'>,
): Promise<Prepared | Refused> {
  const { config, memory } = gateway
  const { maxBodyBytes, timeouts } = config.policy
  const upload = await readUpload(request, { maxBytes: maxBodyBytes, ...timeouts }, memory, ports)
  if (!upload.ok) return upload
  let planned: Planned | Refused | null = null
  try {
    planned = await plan(gateway, { ...upload, ...from, headers: request.headers })
    return planned.ok ? { ...planned, held: upload.held.beside() } : planned
  } finally {
    if (!planned?.ok) upload.held.release()
  }
}

/** Plans the journey of a request whose body has come. What was read of the body ends with this. */
async function plan(
  gateway: Gateway,
  { background, ...request }: Omit<ReadRequest, keyof ReadBody> & Pick<Beside, 'background'>,
): Promise<Planned | Refused> {
  const pause = () => new Promise<void>((resolve) => void gateway.ports.timer(0, resolve))
  const contentType = request.headers.get('content-type') ?? ''
  const read = await readModel(request.bytes, contentType, pause)
  if (!read.ok) return read
  const { model } = read
  const mistake = read.isFixed ? null : unknownAlias(model, gateway.config.policy.aliases)
  const whole = { ...request, ...read }
  const error = mistake ?? (await modelFault(whole, gateway.config.policy.aliases, pause))
  if (error !== null) return { ok: false, error }
  return {
    ok: true,
    plan: { ...(await planRequest(gateway, whole, { pause, background })), model },
  }
}

/** The gateway reads bodies as they come, and does not decompress them. */
function encodingFault(headers: Headers): GatewayError | null {
  const encoding = headers.get('content-encoding')
  if (encoding === null || /^\s*(?:identity\s*)?$/i.test(encoding)) return null
  const message = 'The request body is compressed (content-encoding). Send it uncompressed.'
  return gatewayError('unsupported_encoding', message)
}

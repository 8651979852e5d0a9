import type { Context } from 'hono'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import { startJourney } from '../../gateway/journey.ts'
import type { ApiShape } from '../../openrouter/shapes/api-shape.ts'
import { journeyContextOf } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { logBug, logRequest } from '../log.ts'
import { readModel, readRequestBody } from '../request-body.ts'
import { planRequest, unknownAlias } from '../request-plan.ts'

/** The route of one API shape: reads the request, starts its journey, returns the response. */
export function inference(shape: ApiShape) {
  return async function infer(c: Context<HttpEnvironment>): Promise<Response> {
    const { gateway, clientId, startedAtMs, authMs, requestId } = c.var
    const request = c.req.raw
    const encoded = encodingFault(request.headers)
    if (encoded !== null) return errorResponse(c, encoded)
    const body = await readRequestBody(request, gateway.config.policy.maxBodyBytes)
    if (!body.ok) return errorResponse(c, body.error)
    const read = readModel(body.bytes, request.headers.get('content-type') ?? '')
    if (!read.ok) return errorResponse(c, read.error)
    const { model } = read
    const mistake = read.isFixed ? null : unknownAlias(model, gateway.config.policy.aliases)
    if (mistake !== null) return errorResponse(c, mistake)
    const { headers } = request
    const { route, ...plan } = await planRequest(gateway, { ...read, ...body, shape, headers })
    const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
    const journey = startJourney(journeyContextOf(gateway, background), {
      ...plan,
      shape,
      timeouts: route.timeouts,
      maxAttempts: route.maxAttempts,
      routeKeys: route.keys,
      clientId,
      headers,
      search: new URL(request.url).search,
      signal: request.signal,
      startedAtMs,
      authMs,
    })
    const about = { requestId, clientId, model, startedAtMs }
    const finished = journey.finished.then(
      (report) => logRequest({ ...about, report, endedAtMs: gateway.ports.nowMs() }),
      (bug) => logBug(requestId, bug),
    )
    background(finished)
    return await journey.response
  }
}

/** The gateway reads bodies as they come, and does not decompress them. */
function encodingFault(headers: Headers): GatewayError | null {
  const encoding = headers.get('content-encoding')
  if (encoding === null || /^\s*(?:identity\s*)?$/i.test(encoding)) return null
  const message = 'The request body is compressed (content-encoding). Send it uncompressed.'
  return gatewayError('unsupported_encoding', message)
}

import type { Context } from 'hono'
import { modelId } from '../balancing/ids.ts'
import { dispatch } from '../gateway/dispatch.ts'
import type { ApiShape } from '../openrouter/api-shape.ts'
import type { HttpEnvironment } from './context.ts'
import { errorResponse } from './error-response.ts'
import { dispatcherOf } from './gateway.ts'
import { logBug, logRequest } from './log.ts'
import { readModel, readRequestBody } from './request-body.ts'

/** The route of one API shape: read, dispatch, answer. */
export function inference(shape: ApiShape) {
  return async function infer(c: Context<HttpEnvironment>): Promise<Response> {
    const { gateway, clientId, startedAtMs, authMs, requestId } = c.var
    const request = c.req.raw
    const body = await readRequestBody(request, gateway.config.policy.maxBodyBytes)
    if (!body.ok) return errorResponse(body.error)
    const read = readModel(body.bytes)
    if (!read.ok) return errorResponse(read.error)
    const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
    const journey = dispatch(dispatcherOf(gateway, background), {
      shape,
      model: modelId(read.model),
      clientId,
      body: body.bytes,
      headers: request.headers,
      search: new URL(request.url).search,
      signal: request.signal,
      startedAtMs,
      authMs,
    })
    const about = { requestId, clientId, model: read.model, startedAtMs }
    const finished = journey.finished.then(
      (report) => logRequest({ ...about, report, endedAtMs: gateway.ports.nowMs() }),
      (bug) => logBug(requestId, bug),
    )
    background(finished)
    return await journey.response
  }
}

import type { Context } from 'hono'
import type { HonoBase } from 'hono/hono-base'
import { batchBindingsOf } from '../batches/bindings.ts'
import { batchObjectName } from '../batches/files/stored-file.ts'
import { gatewayError, poolUnavailable } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../http/context.ts'
import { errorResponse } from '../http/error-response.ts'

/** `batches` of the admin API. */
export function batchAdmin(routes: HonoBase<HttpEnvironment>): void {
  routes.post('/batches/:id/redrive', redrive)
}

/** Anything else is no batch, and would make an object. */
const BATCH_ID = /^batch_[0-9a-f]{32}$/

const GONE =
  'The file that the batch reads was deleted or has expired, so its lines can’t run again.'
const CONFLICT = { status: 409 }

/** Sends a batch's dead lines again. */
async function redrive(c: Context<HttpEnvironment>): Promise<Response> {
  const id = c.req.param('id') ?? ''
  const bindings = batchBindingsOf(c.env)
  if (bindings === null) {
    return errorResponse(c, gatewayError('batches_off', 'This gateway has no batches.'))
  }
  if (!BATCH_ID.test(id)) return unknown(c)
  const batch = bindings.BATCHES.getByName(batchObjectName(id))
  if ((await batch.view()) === null) return unknown(c)
  // In the audit first: what cannot be noted is not done.
  const by = c.var.operator
  const noted = await c.var.gateway.pool.noteInAudit({ by, what: 'redrive', target: `batch:${id}` })
  if (noted.kind === 'unavailable') {
    return errorResponse(c, poolUnavailable("The pool's object does not answer now. Try again."))
  }
  const redriven = await batch.redrive()
  if (redriven === 'gone') return errorResponse(c, gatewayError('invalid_request', GONE, CONFLICT))
  return c.json({ redriven: redriven ?? 0 })
}

function unknown(c: Context<HttpEnvironment>): Response {
  return errorResponse(c, gatewayError('not_found', 'There is no batch with that id.'))
}

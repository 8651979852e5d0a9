import type { Context } from 'hono'
import { gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import { errorResponse } from '../../http/error-response.ts'
import { type BatchBindings, batchBindingsOf } from '../bindings.ts'
import { fileListName } from '../files/stored-file.ts'

export type BatchContext = Context<HttpEnvironment>

const OFF =
  'This gateway has no batches: its operator has not switched them on. OpenRouter’s own files and batches are not reachable through it.'

/** A route that is there only where batches are switched on. */
export function withBatches(
  serve: (c: BatchContext, bindings: BatchBindings) => Promise<Response>,
): (c: BatchContext) => Promise<Response> {
  return async function served(c) {
    const bindings = batchBindingsOf(c.env)
    if (bindings === null) return errorResponse(c, gatewayError('batches_off', OFF))
    return await serve(c, bindings)
  }
}

/** The object that lists the files and batches of the client that calls. */
export function ownList(c: BatchContext, { FILE_LISTS }: BatchBindings) {
  return FILE_LISTS.getByName(fileListName(c.var.clientId))
}

export function notThere(c: BatchContext, what: 'file' | 'batch', id: string): Response {
  return errorResponse(
    c,
    gatewayError(
      'not_found',
      `There is no ${what} with the id ${JSON.stringify(id.slice(0, 80))}.`,
    ),
  )
}

export function invalid(c: BatchContext, message: string, status?: number): Response {
  return errorResponse(
    c,
    gatewayError('invalid_request', message, status === undefined ? {} : { status }),
  )
}

/** An id that nobody can guess. */
export function newId(c: BatchContext, prefix: string): string {
  return prefix + c.var.gateway.ports.uniqueId().replaceAll('-', '')
}

/** OpenAI's APIs tell times in whole seconds. */
export function seconds(ms: number): number {
  return Math.floor(ms / 1000)
}

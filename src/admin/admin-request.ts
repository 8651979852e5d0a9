import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type * as z from 'zod/mini'
import { faultsOf } from '../config/fields.ts'
import { parseJson } from '../config/json-text.ts'
import { gatewayError, poolUnavailable } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../http/context.ts'
import { errorResponse } from '../http/error-response.ts'
import type { PoolAnswer } from '../key-pool/pool-client.ts'

/** What all routes of the admin API do with a request. */

export type AdminContext = Context<HttpEnvironment>

/** A hundred patterns of a model's name, and as many keys, fit into it. */
const MAX_BODY_BYTES = 64 * 1024

/** Refuses bodies that are too large to be an order. */
export const boundedBody = bodyLimit({
  maxSize: MAX_BODY_BYTES,
  onError: (c: AdminContext) => {
    const message = `A body may have ${MAX_BODY_BYTES} bytes here.`
    return errorResponse(c, gatewayError('body_too_large', message))
  },
})

/** The body by its schema, or what is wrong with it. No body is an empty object. */
export async function bodyOf<T>(c: AdminContext, schema: z.ZodMiniType<T>): Promise<T | Response> {
  const text = await c.req.text()
  const json = text.trim() === '' ? { ok: true as const, value: {} } : parseJson(text)
  return json.ok ? checked(c, schema, json.value) : invalid(c, `The body is ${json.fault}`)
}

/** A value by its schema, or what is wrong with it, in the words of a body. */
export function checked<T>(
  c: AdminContext,
  schema: z.ZodMiniType<T>,
  value: unknown,
): T | Response {
  const parsed = schema.safeParse(value)
  return parsed.success ? parsed.data : invalid(c, faultsOf('body', parsed.error).join('; '))
}

/** The query by its schema, or what is wrong with it. */
export function queryOf<T>(c: AdminContext, schema: z.ZodMiniType<T>): T | Response {
  const parsed = schema.safeParse(c.req.query())
  return parsed.success ? parsed.data : invalid(c, faultsOf('query', parsed.error).join('; '))
}

export function invalid(c: AdminContext, message: string): Response {
  return errorResponse(c, gatewayError('invalid_request', message))
}

const PERHAPS_DONE =
  "The pool's object has not answered in time. What you asked for may be done all the same: look first."

/** @param isPerhapsDone whether a change may have been made all the same */
export function unreachable(c: AdminContext, isPerhapsDone = false): Response {
  const message = isPerhapsDone ? PERHAPS_DONE : "The pool's object does not answer now. Try again."
  return errorResponse(c, poolUnavailable(message))
}

/** Whether a change may have been made although the object did not answer. */
export function isPerhapsDone(answer: PoolAnswer<unknown>): boolean {
  return answer.kind === 'unavailable' && answer.unasked !== true
}

import type { Context } from 'hono'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../../http/context.ts'
import type { ListQuery } from '../files/file-list.ts'

type Read =
  | { readonly ok: true; readonly query: ListQuery }
  | { readonly ok: false; readonly error: GatewayError }

/** Reads how a client pages through a list. */
export function listQuery(
  c: Context<HttpEnvironment>,
  { standard, max }: { readonly standard: number; readonly max: number },
): Read {
  const { limit: text, after, order = 'desc', purpose } = c.req.query()
  const limit = text === undefined ? standard : Number(text)
  if (!Number.isInteger(limit) || limit < 1 || limit > max) {
    return refuse(`"limit" must be a whole number from 1 to ${max}.`)
  }
  if (order !== 'asc' && order !== 'desc') return refuse('"order" must be "asc" or "desc".')
  return { ok: true, query: { limit, order, after: after ?? null, purpose: purpose ?? null } }
}

const refuse = (message: string) =>
  ({ ok: false, error: gatewayError('invalid_request', message) }) as const

/** A page as OpenAI's client reads it. */
export function pageAnswer(items: readonly { readonly id: string }[], hasMore: boolean) {
  const first_id = items.at(0)?.id ?? null
  const last_id = items.at(-1)?.id ?? null
  return { object: 'list', data: items, first_id, last_id, has_more: hasMore }
}

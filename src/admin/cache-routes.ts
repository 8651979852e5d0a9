import type { HonoBase } from 'hono/hono-base'
import type * as z from 'zod/mini'
import { type PurgeOrder, purgedBy } from '../balancing/clients/purge-epochs.ts'
import { clientId, modelId } from '../balancing/ids.ts'
import type { HttpEnvironment } from '../http/context.ts'
import { type AdminContext, bodyOf, invalid, isPerhapsDone, unreachable } from './admin-request.ts'
import { purgeOrder } from './admin-schemas.ts'
import type { PurgeAnswer } from './answer-schemas.ts'

/** `cache` of the admin API. */
export function cacheRoutes(routes: HonoBase<HttpEnvironment>): void {
  routes.post('/cache/purge', purge)
}

async function purge(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, purgeOrder)
  if (body instanceof Response) return body
  const order = orderOf(body)
  const { pool, config, ports, purges } = c.var.gateway
  // The last of them is the route for all other models.
  const last = config.policy.routes.length - 1
  if (order.kind === 'route' && order.index > last) {
    return invalid(c, `body.route: must be the place of a route, from 0 to ${last}`)
  }
  const askedAtMs = ports.nowMs()
  const answer = await pool.purge({ order, by: c.var.operator })
  if (answer.kind === 'unavailable') return unreachable(c, isPerhapsDone(answer))
  purges.learn(answer.value.epochs, askedAtMs)
  return c.json({ purged: purgedBy(order) } satisfies PurgeAnswer)
}

function orderOf({ client, model, route }: z.output<typeof purgeOrder>): PurgeOrder {
  if (client !== undefined) return { kind: 'client', id: clientId(client) }
  if (model !== undefined) return { kind: 'model', model: modelId(model) }
  return route === undefined ? { kind: 'all' } : { kind: 'route', index: route }
}

import type { Context } from 'hono'
import type { HttpEnvironment } from '../../http/context.ts'
import { CONTENT_TYPE, createExposition } from './exposition.ts'
import { METRICS } from './metric-names.ts'
import { tellPool } from './pool-metrics.ts'

/**
 * `GET /metrics`, for Prometheus. While the pool's object does not answer, the status is 200 all the
 * same: a scrape that fails says nothing of why. The object's first call decides where it lives for
 * ever, so a scrape is never that call.
 */
export async function metrics(c: Context<HttpEnvironment>): Promise<Response> {
  const { config, pool, sight, ring } = c.var.gateway
  const exposition = createExposition()
  exposition.add(METRICS.keys, config.keys.length)
  exposition.add(METRICS.queue, config.policy.queue.maxWaiting)
  if (await sight.isPlaced()) {
    const answer = await pool.readings()
    exposition.add(METRICS.up, answer.kind === 'answer')
    if (answer.kind === 'answer') tellPool(exposition, answer.value)
  } else {
    exposition.add(METRICS.up, true)
    exposition.add(METRICS.usable, ring.size)
  }
  const headers = { 'content-type': CONTENT_TYPE, 'cache-control': 'no-store' }
  return new Response(exposition.text(), { headers })
}

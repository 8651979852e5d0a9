import type { Context } from 'hono'
import type { HttpEnvironment } from '../context.ts'

/**
 * `GET /healthz`: 200 while requests can be served. It asks only the pool object, not OpenRouter.
 * If the object can't be reached, the answer shows what the gateway does without it.
 */
export async function healthz(c: Context<HttpEnvironment>): Promise<Response> {
  const { config, pool, ring } = c.var.gateway
  const answer = await pool.snapshot()
  const keysTotal = config.keys.length
  if (answer.kind === 'unavailable') {
    const usable = config.policy.onPoolUnavailable === 'open' ? ring.size : 0
    return healthResponse('degraded', usable, keysTotal)
  }
  const { usable } = answer.value
  return healthResponse(usable > 0 ? 'ok' : 'unavailable', usable, keysTotal)
}

function healthResponse(status: string, usable: number, total: number): Response {
  return Response.json(
    { status, keys_usable: usable, keys_total: total },
    { status: usable > 0 ? 200 : 503, headers: { 'cache-control': 'no-store' } },
  )
}

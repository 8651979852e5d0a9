import type { Context } from 'hono'
import type { Gateway } from '../composition-root.ts'
import type { HttpEnvironment } from '../context.ts'

/**
 * `GET /healthz`: 200 while requests can be served. Anybody may call it as often as he likes, so it
 * answers from what the isolate knows, and asks the pool's object at most once in some seconds. It
 * never makes the first call to the object, which would decide where the object lives. If the object
 * can't be reached, the answer shows what the gateway does without it.
 */
export async function healthz(c: Context<HttpEnvironment>): Promise<Response> {
  const { config, ring } = c.var.gateway
  const keysTotal = config.keys.length
  const usable = await usableKeys(c.var.gateway)
  if (usable === null) {
    const onRing = config.policy.onPoolUnavailable === 'open' ? ring.size : 0
    return healthResponse('degraded', onRing, keysTotal)
  }
  return healthResponse(usable > 0 ? 'ok' : 'unavailable', usable, keysTotal)
}

/**
 * `GET /healthz` of a gateway whose configuration has faults, which the log lists. It serves nothing,
 * and a monitor reads the same form as ever.
 */
export function misconfiguredHealth(): Response {
  return healthResponse('misconfigured', 0, 0)
}

/** Null if the object can't be reached. */
async function usableKeys({ pool, ring, sight }: Gateway): Promise<number | null> {
  const known = sight.usableKeys()
  if (known !== null) return known
  if (!(await sight.isPlaced())) return ring.size
  const answer = await pool.health()
  if (answer.kind === 'unavailable') return null
  sight.noteUsableKeys(answer.value.usableKeys)
  return answer.value.usableKeys
}

function healthResponse(status: string, usable: number, total: number): Response {
  return Response.json(
    { status, keys_usable: usable, keys_total: total },
    { status: usable > 0 ? 200 : 503, headers: { 'cache-control': 'no-store' } },
  )
}

import { createMiddleware } from 'hono/factory'
import { mayUse } from '../../balancing/clients/caller.ts'
import { identify } from '../authenticate.ts'
import type { HttpEnvironment } from '../context.ts'

/**
 * Shows a client of the list of models only those that it may use; `?all=true` shows it the whole list.
 * The list is public, so a caller without a client key gets all of it.
 */
export const allowedModels = createMiddleware<HttpEnvironment>(async function allowed(c, next) {
  const caller = c.req.query('all') === 'true' ? null : await identify(c)
  await next()
  if (caller === null || caller === 'unreachable' || caller.models.length === 0) return
  if (c.res.status !== 200 || c.req.method === 'HEAD') return
  const list = await c.res
    .clone()
    .json()
    .catch(() => null)
  if (!isList(list)) return
  const data = list.data.filter((model) => mayUse(caller, namesOf(model)))
  const headers = new Headers(c.res.headers)
  headers.delete('content-length')
  // It is this client's list, and no other's.
  headers.set('cache-control', 'private, no-store')
  c.res = new Response(JSON.stringify({ ...list, data }), { status: 200, headers })
})

function isList(value: unknown): value is { readonly data: readonly unknown[] } {
  return typeof value === 'object' && value !== null && 'data' in value && Array.isArray(value.data)
}

function namesOf(model: unknown): string[] {
  if (typeof model !== 'object' || model === null) return []
  const { id, canonical_slug: slug } = model as Readonly<Record<string, unknown>>
  return [id, slug].filter((name) => typeof name === 'string')
}

import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { type Caller, mayUse } from '../../balancing/clients/caller.ts'
import { identify } from '../authenticate.ts'
import type { HttpEnvironment } from '../context.ts'
import { errorResponse } from '../error-response.ts'
import { overloaded } from '../upload.ts'

/** A list as some clients are shown it. */
interface ShownList {
  readonly body: string
  readonly headers: Headers
  readonly untilMs: number
}

/** A list has half a megabyte, and is read whole to be cut: so often for each set of clients at most. */
const SHOWN_MS = 10_000
const MAX_SHOWN = 8

/** Its bytes, its text, and what is made of it. */
const COPIES = 6

/**
 * Shows a client of the list of models only those that it may use; `?all=true` shows it the whole list.
 * The list is public, so a caller without a client key gets all of it.
 */
export function allowedModels() {
  const shown = new Map<string, ShownList>()
  return createMiddleware<HttpEnvironment>(async function allowed(c, next) {
    const caller = await restrictedCaller(c)
    if (caller === null) {
      await next()
      return
    }
    const { gateway } = c.var
    const name = `${gateway.config.upstreamUrl} ${c.req.url} ${JSON.stringify(caller.models)}`
    const known = shown.get(name)
    if (known !== undefined && gateway.ports.nowMs() < known.untilMs) {
      c.res = respond(known)
      return
    }
    shown.delete(name)
    await next()
    if (c.res.status !== 200 || c.req.method === 'HEAD') return
    const list = await cut(c, caller)
    if (list === null) return
    shown.set(name, list)
    const [oldest] = shown.keys()
    if (shown.size > MAX_SHOWN && oldest !== undefined) shown.delete(oldest)
    answer(c, respond(list))
  })
}

/** The caller, if it may not use all models and has not asked for the whole list; else null. */
async function restrictedCaller(c: Context<HttpEnvironment>): Promise<Caller | null> {
  const caller = c.req.query('all') === 'true' ? null : await identify(c)
  return caller === null || caller === 'unreachable' || caller.models.length === 0 ? null : caller
}

/** Leaves out what the client may not use; null if the answer is no such list, or there is no room. */
async function cut(c: Context<HttpEnvironment>, caller: Caller): Promise<ShownList | null> {
  const { memory, ports } = c.var.gateway
  const held = memory.open()
  try {
    const bytes = await c.res.clone().arrayBuffer()
    if (!held.grow(bytes.byteLength * COPIES)) {
      answer(c, errorResponse(c, overloaded()))
      return null
    }
    const list = parsed(bytes)
    if (!isList(list)) return null
    const data = list.data.filter((model) => mayUse(caller, namesOf(model)))
    const headers = new Headers(c.res.headers)
    headers.delete('content-length')
    // It is this client's list, and no other's.
    headers.set('cache-control', 'private, no-store')
    const untilMs = ports.nowMs() + SHOWN_MS
    // A total of more than is there is that of all pages, of which nobody knows what they hold.
    const isWhole = list.total_count === list.data.length
    const shown = { ...list, data, ...(isWhole ? { total_count: data.length } : {}) }
    return { body: JSON.stringify(shown), headers, untilMs }
  } finally {
    held.release()
  }
}

/** In the place of the answer that is there: else Hono keeps that one's headers, `cache-control` too. */
function answer(c: Context<HttpEnvironment>, response: Response): void {
  c.res = undefined
  c.res = response
}

const respond = ({ body, headers }: ShownList) => new Response(body, { status: 200, headers })

function parsed(bytes: ArrayBuffer): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return null
  }
}

interface List {
  readonly data: readonly unknown[]
  readonly total_count?: unknown
}

function isList(value: unknown): value is List {
  return typeof value === 'object' && value !== null && 'data' in value && Array.isArray(value.data)
}

function namesOf(model: unknown): string[] {
  if (typeof model !== 'object' || model === null) return []
  const { id, canonical_slug: slug } = model as Readonly<Record<string, unknown>>
  return [id, slug].filter((name) => typeof name === 'string')
}

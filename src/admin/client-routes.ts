import type { Context } from 'hono'
import { HonoBase } from 'hono/hono-base'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import type * as z from 'zod/mini'
import { nanosOf } from '../balancing/clients/budget.ts'
import type { ClientsOrder, ClientsReply, OrderFault } from '../balancing/clients/registry.ts'
import { clientId, groupId } from '../balancing/ids.ts'
import type { QuotaOwner } from '../balancing/limits/quota-charge.ts'
import { changedTerms, clientTerms, groupTerms } from '../config/client-limits.ts'
import { faultsOf } from '../config/fields.ts'
import { sha256Hex } from '../config/secrets.ts'
import { gatewayError, poolUnavailable } from '../gateway/answers/gateway-error.ts'
import type { HttpEnvironment } from '../http/context.ts'
import { errorResponse } from '../http/error-response.ts'
import {
  clientChanges,
  groupChanges,
  increase,
  newClient,
  newGroup,
  period,
  rotation,
} from './admin-schemas.ts'
import { clientAnswer, groupAnswer, isoTime, usedBudgets } from './client-answers.ts'

type AdminContext = Context<HttpEnvironment>

/** `clients`, `groups` and `audit` of the admin API. */
export function clientRoutes(): HonoBase<HttpEnvironment> {
  const routes = new HonoBase<HttpEnvironment>({ router: new RegExpRouter() })
  routes.get('/clients', (c) => list(c, 'clients'))
  routes.get('/clients/:id', (c) => one(c, 'clients'))
  routes.post('/clients', makeClient)
  routes.patch('/clients/:id', changeClient)
  routes.delete('/clients/:id', (c) =>
    carryOut(c, { kind: 'remove_client', id: clientId(idOf(c)) }),
  )
  routes.post('/clients/:id/rotate', rotate)
  routes.get('/groups', (c) => list(c, 'groups'))
  routes.get('/groups/:id', (c) => one(c, 'groups'))
  routes.post('/groups', makeGroup)
  routes.patch('/groups/:id', changeGroup)
  routes.delete('/groups/:id', (c) => carryOut(c, { kind: 'remove_group', id: groupId(idOf(c)) }))
  for (const [path, kind] of [
    ['clients', 'client'],
    ['groups', 'group'],
  ] as const) {
    routes.post(`/${path}/:id/budgets/:period/reset`, (c) => resetBudget(c, `${kind}:${idOf(c)}`))
    routes.post(`/${path}/:id/budgets/:period/increase`, (c) =>
      increaseBudget(c, `${kind}:${idOf(c)}`),
    )
  }
  routes.get('/audit', audit)
  return routes
}

const idOf = (c: AdminContext): string => c.req.param('id') ?? ''

async function list(c: AdminContext, what: 'clients' | 'groups'): Promise<Response> {
  const all = await ask(c, { kind: 'list' })
  if (all instanceof Response) return all
  if (all.kind !== 'all') return answered(c, all)
  return what === 'clients'
    ? c.json({ clients: all.clients.map(clientAnswer) })
    : c.json({ groups: all.groups.map(groupAnswer) })
}

async function one(c: AdminContext, what: 'clients' | 'groups'): Promise<Response> {
  const all = await ask(c, { kind: 'list' })
  if (all instanceof Response) return all
  if (all.kind !== 'all') return answered(c, all)
  const id = idOf(c)
  if (what === 'clients') {
    const client = all.clients.find(({ terms }) => terms.id === id)
    return client === undefined ? refused(c, 'unknown_client') : c.json(clientAnswer(client))
  }
  const group = all.groups.find(({ terms }) => terms.id === id)
  return group === undefined ? refused(c, 'unknown_group') : c.json(groupAnswer(group))
}

async function makeClient(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, newClient)
  if (body instanceof Response) return body
  const { id, ...fields } = body
  const token = makeToken()
  const terms = clientTerms(id, fields)
  const made = await ask(c, { kind: 'make_client', terms, sha256: sha256Hex(token) })
  if (made instanceof Response) return made
  if (made.kind !== 'client') return answered(c, made)
  return c.json({ client: clientAnswer(made.client), token }, 201)
}

async function changeClient(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, clientChanges)
  if (body instanceof Response) return body
  const { group, ...fields } = body
  const changes = {
    ...changedTerms(fields),
    ...(group === undefined ? {} : { groupId: group === null ? null : groupId(group) }),
  }
  return await carryOut(c, { kind: 'change_client', id: clientId(idOf(c)), changes })
}

async function rotate(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, rotation)
  if (body instanceof Response) return body
  const token = makeToken()
  const rotated = await ask(c, {
    kind: 'rotate',
    id: clientId(idOf(c)),
    sha256: sha256Hex(token),
    graceMs: body.grace_s * 1000,
  })
  if (rotated instanceof Response) return rotated
  if (rotated.kind !== 'client') return answered(c, rotated)
  return c.json({ client: clientAnswer(rotated.client), token })
}

async function makeGroup(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, newGroup)
  if (body instanceof Response) return body
  const { id, ...fields } = body
  return await carryOut(c, { kind: 'make_group', terms: groupTerms(id, fields) }, 201)
}

async function changeGroup(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, groupChanges)
  if (body instanceof Response) return body
  const changes = changedTerms(body)
  return await carryOut(c, { kind: 'change_group', id: groupId(idOf(c)), changes })
}

async function resetBudget(c: AdminContext, owner: QuotaOwner): Promise<Response> {
  const of = period.safeParse(c.req.param('period'))
  if (!of.success) return refused(c, 'unknown_budget')
  return await carryOut(c, { kind: 'reset_budget', owner, period: of.data })
}

async function increaseBudget(c: AdminContext, owner: QuotaOwner): Promise<Response> {
  const of = period.safeParse(c.req.param('period'))
  if (!of.success) return refused(c, 'unknown_budget')
  const body = await bodyOf(c, increase)
  if (body instanceof Response) return body
  return await carryOut(c, {
    kind: 'increase_budget',
    owner,
    period: of.data,
    nanos: nanosOf(body.usd),
    untilMs: Date.parse(body.until),
  })
}

async function audit(c: AdminContext): Promise<Response> {
  const answer = await c.var.gateway.pool.audit()
  if (answer.kind === 'unavailable') return unreachable(c)
  const entries = answer.value.map(({ atMs, by, what, target }) => {
    return { at: isoTime(atMs), by, what, target }
  })
  return c.json({ entries })
}

async function carryOut(c: AdminContext, order: ClientsOrder, status?: 201): Promise<Response> {
  const reply = await ask(c, order)
  return reply instanceof Response ? reply : answered(c, reply, status)
}

async function ask(c: AdminContext, order: ClientsOrder): Promise<ClientsReply | Response> {
  const answer = await c.var.gateway.pool.manageClients({ order, by: c.var.operator })
  return answer.kind === 'unavailable' ? unreachable(c) : answer.value
}

function unreachable(c: AdminContext): Response {
  return errorResponse(c, poolUnavailable("The pool's object does not answer now. Try again."))
}

function answered(c: AdminContext, reply: ClientsReply, status: 200 | 201 = 200): Response {
  switch (reply.kind) {
    case 'client':
      return c.json(clientAnswer(reply.client), status)
    case 'group':
      return c.json(groupAnswer(reply.group), status)
    case 'budgets':
      return c.json({ budgets: usedBudgets(reply.used) }, status)
    case 'all':
      return c.json({ clients: reply.clients.map(clientAnswer) }, status)
    case 'removed':
      return c.body(null, 204)
    case 'fault':
      return refused(c, reply.fault)
  }
}

const FAULTS: Readonly<Record<OrderFault, { readonly status: number; readonly message: string }>> =
  {
    unknown_client: { status: 404, message: 'There is no client with that id.' },
    unknown_group: { status: 404, message: 'There is no group with that id.' },
    unknown_budget: { status: 404, message: 'There is no budget for that period.' },
    exists: { status: 409, message: 'There is one with that id already.' },
    configured: {
      status: 409,
      message: 'The secret CLIENT_KEYS holds this one. It can only be changed there.',
    },
    too_many: { status: 409, message: 'There are too many already. Remove some first.' },
    has_clients: {
      status: 409,
      message: 'The group still has clients. Move or remove them first.',
    },
    same_token: { status: 409, message: 'That token is in use already. Try again.' },
  }

function refused(c: AdminContext, fault: OrderFault): Response {
  const { status, message } = FAULTS[fault]
  const reason = status === 404 ? 'not_found' : 'invalid_request'
  return errorResponse(c, gatewayError(reason, message, { status, metadata: { fault } }))
}

/** A body of the admin API is small. */
const MAX_BODY_BYTES = 64 * 1024

async function bodyOf<T>(c: AdminContext, schema: z.ZodMiniType<T>): Promise<T | Response> {
  const text = await c.req.text()
  const refuse = (message: string) => errorResponse(c, gatewayError('invalid_request', message))
  if (text.length > MAX_BODY_BYTES) return refuse('The body is too large.')
  const parsed = schema.safeParse(text.trim() === '' ? {} : parseJson(text))
  if (parsed.success) return parsed.data
  return refuse(faultsOf('body', parsed.error).join('; '))
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** 256 bits of chance. The beginning tells what it is to whoever finds one in the wrong place. */
function makeToken(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32))
  return `sy-${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

import type { HonoBase } from 'hono/hono-base'
import * as z from 'zod/mini'
import { nanosOf } from '../balancing/clients/budget.ts'
import type { Permissions } from '../balancing/clients/clients.ts'
import type { ClientsOrder, ClientsReply, OrderFault, Page } from '../balancing/clients/registry.ts'
import { type ClientId, clientId, groupId } from '../balancing/ids.ts'
import type { QuotaOwner } from '../balancing/limits/quota-charge.ts'
import { changedTerms, clientTerms, groupTerms } from '../config/client-limits.ts'
import { selectorFaults } from '../config/route-policy.ts'
import { sha256Hex } from '../config/secrets.ts'
import { gatewayError } from '../gateway/answers/gateway-error.ts'
import { outdate } from '../http/client-directory.ts'
import type { HttpEnvironment } from '../http/context.ts'
import { errorResponse } from '../http/error-response.ts'
import {
  type AdminContext,
  bodyOf,
  checked,
  invalid,
  isPerhapsDone,
  queryOf,
  unreachable,
} from './admin-request.ts'
import {
  clientChanges,
  groupChanges,
  increase,
  listQuery,
  MAX_LISTED,
  newClient,
  newGroup,
  period,
  rotation,
} from './admin-schemas.ts'
import type { ClientAnswer, GroupAnswer, tokenAnswer } from './answer-schemas.ts'
import { clientAnswer, groupAnswer, isoTime, usedBudgets } from './client-answers.ts'
import { exported } from './client-export.ts'

/** `clients`, `client-keys`, `groups` and `audit` of the admin API. */
export function clientRoutes(routes: HonoBase<HttpEnvironment>): void {
  routes.get('/clients', (c) => list(c, 'clients'))
  routes.get('/client-keys', exportClients)
  routes.get('/clients/:id', (c) => one(c, ownerOf(c, 'client')))
  routes.post('/clients', makeClient)
  routes.patch('/clients/:id', (c) => change(c, 'client'))
  routes.delete('/clients/:id', (c) =>
    carryOut(c, { kind: 'remove_client', id: clientId(idOf(c)) }),
  )
  routes.post('/clients/:id/rotate', rotate)
  routes.get('/groups', (c) => list(c, 'groups'))
  routes.get('/groups/:id', (c) => one(c, ownerOf(c, 'group')))
  routes.post('/groups', makeGroup)
  routes.patch('/groups/:id', (c) => change(c, 'group'))
  routes.delete('/groups/:id', (c) => carryOut(c, { kind: 'remove_group', id: groupId(idOf(c)) }))
  for (const [path, kind] of [
    ['clients', 'client'],
    ['groups', 'group'],
  ] as const) {
    routes.post(`/${path}/:id/budgets/:period/reset`, (c) =>
      resetBudget(c, ownerOf(c, kind), periodOf(c)),
    )
    routes.post(`/${path}/:id/budgets/:period/increase`, async (c) =>
      increaseBudget(c, ownerOf(c, kind), periodOf(c), await bodyOf(c, z.unknown())),
    )
  }
  routes.get('/audit', audit)
}

/** Whose limits are meant, by a name that may be nobody's. */
export interface Owner {
  readonly kind: 'client' | 'group'
  readonly id: string
}

const idOf = (c: AdminContext): string => c.req.param('id') ?? ''
const periodOf = (c: AdminContext): string => c.req.param('period') ?? ''
const ownerOf = (c: AdminContext, kind: Owner['kind']): Owner => ({ kind, id: idOf(c) })
const ownerName = ({ kind, id }: Owner): QuotaOwner => `${kind}:${id}`

async function list(c: AdminContext, what: 'clients' | 'groups'): Promise<Response> {
  const query = queryOf(c, listQuery)
  if (query instanceof Response) return query
  const { limit = MAX_LISTED, after = null } = query
  const part = await look(c, { page: { of: what, after, limit } })
  if (part instanceof Response) return part
  const { clients, groups } = part
  return what === 'clients'
    ? c.json({ clients: clients.map(clientAnswer), after: nextAfter(clients, part) })
    : c.json({ groups: groups.map(groupAnswer), after: nextAfter(groups, part) })
}

type Part = Extract<ClientsReply, { kind: 'all' }>

/** The last id of a page; null of the last page. */
const nextAfter = (listed: Part['clients'] | Part['groups'], { hasMore }: Part): string | null =>
  hasMore === true ? (listed.at(-1)?.terms.id ?? null) : null

async function exportClients(c: AdminContext): Promise<Response> {
  const clients = await allOf(c, 'clients', (part) => part.clients)
  if (clients instanceof Response) return clients
  const groups = await allOf(c, 'groups', (part) => part.groups)
  return groups instanceof Response ? groups : c.json(exported(clients, groups))
}

/** All pages of a list. Ten thousand clients with long lists of models are more than one call can bring. */
async function allOf<Of extends 'clients' | 'groups'>(
  c: AdminContext,
  of: Of,
  listedOf: (part: Part) => Part[Of],
): Promise<Part[Of][number][] | Response> {
  const all: Part[Of][number][] = []
  let after: string | null = null
  do {
    const part = await look(c, { page: { of, after, limit: MAX_LISTED } })
    if (part instanceof Response) return part
    const listed = listedOf(part)
    all.push(...listed)
    after = nextAfter(listed, part)
  } while (after !== null)
  return all
}

async function one(c: AdminContext, owner: Owner): Promise<Response> {
  const view = await viewOf(c, owner)
  return view instanceof Response ? view : c.json(view)
}

/** A client or a group as it is now, or why it cannot be shown. */
export async function viewOf(
  c: AdminContext,
  owner: Owner,
): Promise<ClientAnswer | GroupAnswer | Response> {
  const all = await look(c, { only: ownerName(owner) })
  if (all instanceof Response) return all
  const [client] = all.clients
  const [group] = all.groups
  if (client !== undefined) return clientAnswer(client)
  if (group !== undefined) return groupAnswer(group)
  return refused(c, owner.kind === 'client' ? 'unknown_client' : 'unknown_group')
}

async function look(c: AdminContext, which: { only: QuotaOwner } | { page: Page }) {
  const reply = await ask(c, { kind: 'list', ...which })
  if (reply instanceof Response || reply.kind === 'all') return reply
  return answered(c, reply)
}

async function makeClient(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, newClient)
  if (body instanceof Response) return body
  const made = await mintClient(c, body)
  return made instanceof Response ? made : c.json(made, 201)
}

/** A client with its token, which nobody can read anywhere later. */
export type ClientAndToken = z.output<typeof tokenAnswer>

/** Makes a client. */
export async function mintClient(
  c: AdminContext,
  { id, ...fields }: z.output<typeof newClient>,
): Promise<ClientAndToken | Response> {
  const token = makeToken()
  const terms = clientTerms(id, fields)
  const refusal = refusedKeys(c, terms)
  if (refusal !== null) return refusal
  const made = await ask(c, { kind: 'make_client', terms, sha256: sha256Hex(token) })
  if (made instanceof Response) return made
  if (made.kind !== 'client') return answered(c, made)
  return { client: clientAnswer(made.client), token }
}

async function change(c: AdminContext, kind: Owner['kind']): Promise<Response> {
  return await changeOwner(c, ownerOf(c, kind), await bodyOf(c, z.unknown()))
}

/** Changes limits. @param given by the schemas of changes, or the refusal of a body that was none */
export async function changeOwner(
  c: AdminContext,
  { kind, id }: Owner,
  given: unknown,
): Promise<Response> {
  if (given instanceof Response) return given
  const isClient = kind === 'client'
  const body = checked(c, isClient ? clientChanges : groupChanges, given)
  if (body instanceof Response) return body
  const { group, ...fields }: z.output<typeof clientChanges> = body
  const changes = changedTerms(fields)
  const groupOf = group === undefined ? {} : { groupId: group === null ? null : groupId(group) }
  const order: ClientsOrder = isClient
    ? { kind: 'change_client', id: clientId(id), changes: { ...changes, ...groupOf } }
    : { kind: 'change_group', id: groupId(id), changes }
  return refusedKeys(c, changes) ?? (await carryOut(c, order))
}

async function rotate(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, rotation)
  if (body instanceof Response) return body
  const rotated = await rotateToken(c, clientId(idOf(c)), body.grace_s * 1000)
  return rotated instanceof Response ? rotated : c.json(rotated)
}

/**
 * Makes a new token for a client.
 * @param graceMs how long the one before stays valid
 */
export async function rotateToken(
  c: AdminContext,
  id: ClientId,
  graceMs: number,
): Promise<ClientAndToken | Response> {
  const token = makeToken()
  const rotated = await ask(c, { kind: 'rotate', id, sha256: sha256Hex(token), graceMs })
  if (rotated instanceof Response) return rotated
  if (rotated.kind !== 'client') return answered(c, rotated)
  return { client: clientAnswer(rotated.client), token }
}

async function makeGroup(c: AdminContext): Promise<Response> {
  const body = await bodyOf(c, newGroup)
  if (body instanceof Response) return body
  const { id, ...fields } = body
  const terms = groupTerms(id, fields)
  return refusedKeys(c, terms) ?? (await carryOut(c, { kind: 'make_group', terms }, 201))
}

/** Forgets what was spent of a budget in its running period. */
export async function resetBudget(c: AdminContext, owner: Owner, name: string): Promise<Response> {
  const of = period.safeParse(name)
  if (!of.success) return refused(c, 'unknown_budget')
  return await carryOut(c, { kind: 'reset_budget', owner: ownerName(owner), period: of.data })
}

/** Grants more for a budget until a moment. @param given by its schema, or the refusal of its body */
export async function increaseBudget(
  c: AdminContext,
  owner: Owner,
  name: string,
  given: unknown,
): Promise<Response> {
  const of = period.safeParse(name)
  if (!of.success) return refused(c, 'unknown_budget')
  if (given instanceof Response) return given
  const body = checked(c, increase, given)
  if (body instanceof Response) return body
  if (body.until <= c.var.gateway.ports.nowMs()) {
    return invalid(c, 'body.until: must be in the future')
  }
  return await carryOut(c, {
    kind: 'increase_budget',
    owner: ownerName(owner),
    period: of.data,
    nanos: nanosOf(body.usd),
    untilMs: body.until,
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

/** Has a change carried out; its answer, or why it was refused. */
export async function carryOut(
  c: AdminContext,
  order: ClientsOrder,
  status?: 201,
): Promise<Response> {
  const reply = await ask(c, order)
  return reply instanceof Response ? reply : answered(c, reply, status)
}

async function ask(c: AdminContext, order: ClientsOrder): Promise<ClientsReply | Response> {
  const { pool, directory } = c.var.gateway
  const answer = await pool.manageClients({ order, by: c.var.operator })
  const isRead = order.kind === 'list'
  // A token that was made here works here at once, and one that was revoked does not.
  if (!isRead) outdate(directory)
  if (answer.kind === 'answer') return answer.value
  return unreachable(c, !isRead && isPerhapsDone(answer))
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
      return c.json({ clients: reply.clients.map(clientAnswer), after: null }, status)
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
    no_such_group: { status: 400, message: 'body.group: there is no group with that id' },
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

/** A part of the pool without a key in it is a mistake: its client would never get an answer. */
function refusedKeys(c: AdminContext, { keys }: Partial<Permissions>): Response | null {
  const faults = selectorFaults([{ where: 'body', keys: keys ?? null }], c.var.gateway.config.keys)
  return faults.length === 0 ? null : invalid(c, faults.join('; '))
}

/** 256 bits of chance. The beginning tells what it is to whoever finds one in the wrong place. */
function makeToken(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32))
  return `sy-${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

import type { ClientId, GroupId } from '../ids.ts'
import type { QuotaOwner, SpendPeriod } from '../limits/quota-charge.ts'
import { type Budget, resetBudget } from './budget.ts'
import { quotaOf } from './client-records.ts'
import {
  type ClientState,
  type Clients,
  type ClientTerms,
  type ClientToken,
  type GroupState,
  type GroupTerms,
  putClient,
  putGroup,
  removeClient,
  type Source,
} from './clients.ts'
import { type QuotaView, quotaView } from './quota.ts'

/** Everything that the admin API may ask of clients and groups. */
export type ClientsOrder =
  /** All of them, one client or group, or a page. */
  | { readonly kind: 'list'; readonly only?: QuotaOwner; readonly page?: Page }
  | { readonly kind: 'make_client'; readonly terms: ClientTerms; readonly sha256: string }
  | {
      readonly kind: 'change_client'
      readonly id: ClientId
      readonly changes: Changed<ClientTerms>
    }
  | { readonly kind: 'remove_client'; readonly id: ClientId }
  | {
      readonly kind: 'rotate'
      readonly id: ClientId
      readonly sha256: string
      /** How long the token before stays valid, in milliseconds. */
      readonly graceMs: number
    }
  | { readonly kind: 'make_group'; readonly terms: GroupTerms }
  | { readonly kind: 'change_group'; readonly id: GroupId; readonly changes: Changed<GroupTerms> }
  | { readonly kind: 'remove_group'; readonly id: GroupId }
  | { readonly kind: 'reset_budget'; readonly owner: QuotaOwner; readonly period: SpendPeriod }
  | {
      readonly kind: 'increase_budget'
      readonly owner: QuotaOwner
      readonly period: SpendPeriod
      readonly nanos: number
      readonly untilMs: number
    }

/** A part of the clients or of the groups, by the order of their ids. */
export interface Page {
  readonly of: 'clients' | 'groups'
  /** The last id of the page before; null for the first page. */
  readonly after: string | null
  /** The most that are listed. */
  readonly limit: number
}

type Changed<Terms extends { readonly id: unknown }> = Partial<Omit<Terms, 'id'>>

/** A client as operators see it. No token can be read from it. */
export interface ClientView {
  readonly terms: ClientTerms
  readonly source: Source
  readonly shadowsMade: boolean
  readonly tokens: readonly ClientToken[]
  readonly used: QuotaView
}

export interface GroupView {
  readonly terms: GroupTerms
  readonly source: Source
  readonly shadowsMade: boolean
  readonly used: QuotaView
}

/** Why an order was not carried out. */
export type OrderFault =
  | 'unknown_client'
  | 'unknown_group'
  | 'unknown_budget'
  /** The group that a client is to belong to. */
  | 'no_such_group'
  | 'exists'
  | 'configured'
  | 'too_many'
  | 'has_clients'
  | 'same_token'

export type ClientsReply =
  | {
      readonly kind: 'all'
      readonly clients: readonly ClientView[]
      readonly groups: readonly GroupView[]
      /** Whether a page is not the last one. An object of an earlier release lists all at once. */
      readonly hasMore?: boolean
    }
  | { readonly kind: 'client'; readonly client: ClientView }
  | { readonly kind: 'group'; readonly group: GroupView }
  | { readonly kind: 'budgets'; readonly used: QuotaView }
  | { readonly kind: 'removed' }
  | { readonly kind: 'fault'; readonly fault: OrderFault }

/** Every Worker holds a copy of the list. */
export const MAX_CLIENTS = 10_000
export const MAX_GROUPS = 1_000

/** Which rows an order has changed. */
export interface Touched {
  readonly clients: Set<ClientId>
  readonly groups: Set<GroupId>
  readonly budgets: Set<QuotaOwner>
}

const fault = (of: OrderFault): ClientsReply => ({ kind: 'fault', fault: of })

/** Reads or changes clients and groups. What the configuration holds cannot be changed here. */
export function carryOut(
  clients: Clients,
  order: ClientsOrder,
  touched: Touched,
  nowMs: number,
): ClientsReply {
  switch (order.kind) {
    case 'list':
      return list(clients, order, nowMs)
    case 'make_client':
    case 'change_client':
    case 'remove_client':
    case 'rotate':
      return ofClient(clients, order, touched, nowMs)
    case 'make_group':
    case 'change_group':
    case 'remove_group':
      return ofGroup(clients, order, touched, nowMs)
    case 'reset_budget':
    case 'increase_budget':
      return ofBudget(clients, order, touched, nowMs)
  }
}

function list(
  { byId, groups }: Clients,
  { only, page }: Extract<ClientsOrder, { kind: 'list' }>,
  nowMs: number,
): ClientsReply {
  const clientsOf = page === undefined || page.of === 'clients' ? [...byId.values()] : []
  const groupsOf = page === undefined || page.of === 'groups' ? [...groups.values()] : []
  const isWanted = ({ quota }: ClientState | GroupState) =>
    only === undefined || quota.owner === only
  const ofClients = pageOf(clientsOf.filter(isWanted), page)
  const ofGroups = pageOf(groupsOf.filter(isWanted), page)
  return {
    kind: 'all',
    clients: ofClients.listed.map((client) => clientView(client, nowMs)),
    groups: ofGroups.listed.map((group) => groupView(group, nowMs)),
    hasMore: ofClients.hasMore || ofGroups.hasMore,
  }
}

/** The page of some clients or groups. Whoever was removed since the page before takes nobody along. */
function pageOf<Item extends ClientState | GroupState>(
  all: readonly Item[],
  page: Page | undefined,
) {
  if (page === undefined) return { listed: all, hasMore: false }
  const { after, limit } = page
  const rest = after === null ? all : all.filter(({ terms }) => terms.id > after)
  const inOrder = rest.toSorted((a, b) => (a.terms.id < b.terms.id ? -1 : 1))
  return { listed: inOrder.slice(0, limit), hasMore: inOrder.length > limit }
}

type ClientOrder = Extract<
  ClientsOrder,
  { kind: 'make_client' | 'change_client' | 'remove_client' | 'rotate' }
>

function ofClient(
  clients: Clients,
  order: ClientOrder,
  touched: Touched,
  nowMs: number,
): ClientsReply {
  if (order.kind === 'make_client') return makeClient(clients, order, touched, nowMs)
  const client = clients.byId.get(order.id)
  if (client === undefined) return fault('unknown_client')
  if (client.source.kind === 'configured') {
    if (!(order.kind === 'remove_client' && client.shadowsMade)) return fault('configured')
    client.shadowsMade = false
    touched.clients.add(order.id)
    return { kind: 'removed' }
  }
  switch (order.kind) {
    case 'change_client': {
      const terms = { ...client.terms, ...order.changes }
      if (!hasGroup(clients, terms)) return fault('no_such_group')
      putClient(clients, terms, client.source, nowMs)
      touched.budgets.add(client.quota.owner)
      break
    }
    case 'remove_client':
      removeClient(clients, order.id, nowMs)
      touched.clients.add(order.id)
      touched.budgets.add(client.quota.owner)
      return { kind: 'removed' }
    case 'rotate': {
      if (hasToken(clients, order.sha256)) return fault('same_token')
      client.tokens = rotated(client.tokens, order, nowMs)
      clients.version += 1
      break
    }
  }
  touched.clients.add(order.id)
  return { kind: 'client', client: clientView(client, nowMs) }
}

function makeClient(
  clients: Clients,
  { terms, sha256 }: Extract<ClientsOrder, { kind: 'make_client' }>,
  touched: Touched,
  nowMs: number,
): ClientsReply {
  if (clients.byId.has(terms.id)) return fault('exists')
  if (clients.byId.size >= MAX_CLIENTS) return fault('too_many')
  if (!hasGroup(clients, terms)) return fault('no_such_group')
  if (hasToken(clients, sha256)) return fault('same_token')
  const client = putClient(clients, terms, { kind: 'minted', createdAtMs: nowMs }, nowMs)
  client.tokens = [{ sha256, createdAtMs: nowMs, expiresAtMs: null }]
  touched.clients.add(terms.id)
  return { kind: 'client', client: clientView(client, nowMs) }
}

function hasGroup({ groups }: Clients, { groupId }: ClientTerms): boolean {
  return groupId === null || groups.has(groupId)
}

function hasToken({ byId }: Clients, sha256: string): boolean {
  return [...byId.values()].some(({ tokens }) => tokens.some((token) => token.sha256 === sha256))
}

/** The newest token stays for the time of grace, and all before it end now: two are valid at most. */
function rotated(
  tokens: readonly ClientToken[],
  { sha256, graceMs }: Extract<ClientsOrder, { kind: 'rotate' }>,
  nowMs: number,
): readonly ClientToken[] {
  const newest = tokens.at(-1)
  const before =
    newest === undefined || graceMs <= 0 ? [] : [{ ...newest, expiresAtMs: nowMs + graceMs }]
  return [...before, { sha256, createdAtMs: nowMs, expiresAtMs: null }]
}

type GroupOrder = Extract<ClientsOrder, { kind: 'make_group' | 'change_group' | 'remove_group' }>

function ofGroup(
  clients: Clients,
  order: GroupOrder,
  touched: Touched,
  nowMs: number,
): ClientsReply {
  if (order.kind === 'make_group') return makeGroup(clients, order.terms, touched, nowMs)
  const { id } = order
  const group = clients.groups.get(id)
  if (group === undefined) return fault('unknown_group')
  if (group.source.kind === 'configured') {
    if (!(order.kind === 'remove_group' && group.shadowsMade)) return fault('configured')
    group.shadowsMade = false
    touched.groups.add(id)
    return { kind: 'removed' }
  }
  if (order.kind === 'remove_group') {
    const isInUse = [...clients.byId.values()].some(({ terms }) => terms.groupId === id)
    if (isInUse) return fault('has_clients')
    clients.groups.delete(id)
    clients.version += 1
  } else putGroup(clients, { ...group.terms, ...order.changes }, group.source, nowMs)
  touched.groups.add(id)
  touched.budgets.add(group.quota.owner)
  return order.kind === 'remove_group'
    ? { kind: 'removed' }
    : { kind: 'group', group: groupView(group, nowMs) }
}

function makeGroup(
  clients: Clients,
  terms: GroupTerms,
  touched: Touched,
  nowMs: number,
): ClientsReply {
  if (clients.groups.has(terms.id)) return fault('exists')
  if (clients.groups.size >= MAX_GROUPS) return fault('too_many')
  const group = putGroup(clients, terms, { kind: 'minted', createdAtMs: nowMs }, nowMs)
  touched.groups.add(terms.id)
  return { kind: 'group', group: groupView(group, nowMs) }
}

type BudgetOrder = Extract<ClientsOrder, { kind: 'reset_budget' | 'increase_budget' }>

function ofBudget(
  clients: Clients,
  order: BudgetOrder,
  touched: Touched,
  nowMs: number,
): ClientsReply {
  const quota = quotaOf(clients, order.owner)
  if (quota === undefined) {
    return fault(order.owner.startsWith('client:') ? 'unknown_client' : 'unknown_group')
  }
  const budget = quota.budgets.find(({ terms }) => terms.period === order.period)
  if (budget === undefined) return fault('unknown_budget')
  change(budget, order, nowMs)
  touched.budgets.add(order.owner)
  return { kind: 'budgets', used: quotaView(quota, nowMs) }
}

function change(budget: Budget, order: BudgetOrder, nowMs: number): void {
  if (order.kind === 'reset_budget') resetBudget(budget, nowMs)
  else budget.increase = { nanos: order.nanos, untilMs: order.untilMs }
}

/** To what an order is done, for the audit. */
export function targetOf(order: Exclude<ClientsOrder, { kind: 'list' }>): string {
  switch (order.kind) {
    case 'make_client':
      return `client:${order.terms.id}`
    case 'change_client':
    case 'remove_client':
    case 'rotate':
      return `client:${order.id}`
    case 'make_group':
      return `group:${order.terms.id}`
    case 'change_group':
    case 'remove_group':
      return `group:${order.id}`
    case 'reset_budget':
    case 'increase_budget':
      return `${order.owner} ${order.period}`
  }
}

export function clientView(client: ClientState, nowMs: number): ClientView {
  const { terms, source, shadowsMade, tokens, quota } = client
  return { terms, source, shadowsMade, tokens, used: quotaView(quota, nowMs) }
}

export function groupView(group: GroupState, nowMs: number): GroupView {
  const { terms, source, shadowsMade, quota } = group
  return { terms, source, shadowsMade, used: quotaView(quota, nowMs) }
}

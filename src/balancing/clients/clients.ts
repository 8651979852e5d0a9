import type { ClientId, GroupId } from '../ids.ts'
import type { QuotaCharge } from '../limits/quota-charge.ts'
import { longerRefusal, type QuotaRefusal } from '../limits/quota-refusal.ts'
import { createRotatingMap, getEntry, type RotatingMap, setEntry } from '../limits/rotating-map.ts'
import type { KeySelector, KeysOfClient } from '../routes.ts'
import type { CostBound } from './budget.ts'
import {
  changeQuota,
  createQuota,
  isLimited,
  type Quota,
  type QuotaDemand,
  type QuotaTerms,
  quotaRefusal,
  restoreHolds,
  takeQuota,
  undoQuota,
} from './quota.ts'

/** What a client, or each client of a group, may do. */
export interface Permissions {
  /** Patterns of the models that may be named; null for all. */
  readonly models: readonly string[] | null
  /** The part of the pool that may be used; null for all of it. */
  readonly keys: readonly KeySelector[] | null
  /** When it ends, in epoch milliseconds; null for never. */
  readonly expiresAtMs: number | null
}

export interface GroupTerms extends QuotaTerms, Permissions {
  readonly id: GroupId
}

export interface ClientTerms extends QuotaTerms, Permissions {
  readonly id: ClientId
  readonly groupId: GroupId | null
}

/** A token of a client that was made at run time. Only its hash is known. */
export interface ClientToken {
  /** In lower-case hexadecimal. */
  readonly sha256: string
  readonly createdAtMs: number
  /** When it ends, in epoch milliseconds, after a newer one was made; null for not yet. */
  readonly expiresAtMs: number | null
}

/**
 * Where a client or a group is from. Those of the configuration cannot be changed at run time: two
 * places that say different things of one client would be worse than either.
 */
export type Source =
  | { readonly kind: 'configured' }
  | { readonly kind: 'minted'; readonly createdAtMs: number }

export interface GroupState {
  terms: GroupTerms
  readonly quota: Quota
  readonly source: Source
  shadowsMade: boolean
}

export interface ClientState {
  terms: ClientTerms
  readonly quota: Quota
  readonly source: Source
  /**
   * Whether one that was made at run time has the same name, and is stored still. It is out of force, its
   * tokens too, until the configuration lets go of the name, and can be removed meanwhile.
   */
  shadowsMade: boolean
  /** Of a minted client. Those of the configuration stay in the Worker. */
  tokens: readonly ClientToken[]
}

/** Who may call, with their limits and with what is used of them. */
export interface Clients {
  readonly byId: Map<ClientId, ClientState>
  readonly groups: Map<GroupId, GroupState>
  /** Clients that were removed lately: a Worker may not have heard of it yet. */
  readonly removed: RotatingMap<ClientId, true>
  /** Raised with each change, so that a Worker sees whether what it knows is still so. */
  version: number
  /** Clients whose leases ahead are called back, and until when, in epoch milliseconds. */
  readonly calledBack: Map<ClientId, number>
}

export interface ClientsConfig {
  readonly clients: readonly ClientTerms[]
  readonly groups: readonly GroupTerms[]
}

/** Every Worker hears of a change within a minute. */
const REMOVED = { termMs: 120_000, capacity: 10_000 }

const CONFIGURED: Source = { kind: 'configured' }

const madeAtMs = (source: Source) => (source.kind === 'minted' ? source.createdAtMs : null)

const VERSIONS_PER_MS = 1_000

export function createClients({ clients, groups }: ClientsConfig, nowMs: number): Clients {
  // Higher than any version of the object before a restart, if it changed less than a thousand times
  // a millisecond. By the milliseconds alone, ten thousand clients that are put back and fewer the next
  // time would let it fall.
  const removed = createRotatingMap<ClientId, true>(REMOVED)
  const version = nowMs * VERSIONS_PER_MS
  const state: Clients = {
    byId: new Map(),
    groups: new Map(),
    removed,
    version,
    calledBack: new Map(),
  }
  for (const terms of groups) putGroup(state, terms, CONFIGURED, nowMs)
  for (const terms of clients) putClient(state, terms, CONFIGURED, nowMs)
  return state
}

/** Adds a group, or gives it other terms. */
export function putGroup(
  clients: Clients,
  terms: GroupTerms,
  source: Source,
  nowMs: number,
): GroupState {
  const known = clients.groups.get(terms.id)
  clients.version += 1
  if (known === undefined) {
    const quota = createQuota(`group:${terms.id}`, terms, nowMs, madeAtMs(source))
    const group: GroupState = { terms, quota, source, shadowsMade: false }
    clients.groups.set(terms.id, group)
    return group
  }
  known.terms = terms
  changeQuota(known.quota, terms, nowMs)
  return known
}

/** Adds a client, or gives it other terms. */
export function putClient(
  clients: Clients,
  terms: ClientTerms,
  source: Source,
  nowMs: number,
): ClientState {
  const known = clients.byId.get(terms.id)
  clients.version += 1
  if (known === undefined) {
    const quota = createQuota(`client:${terms.id}`, terms, nowMs, madeAtMs(source))
    const client: ClientState = { terms, quota, source, shadowsMade: false, tokens: [] }
    clients.byId.set(terms.id, client)
    return client
  }
  known.terms = terms
  changeQuota(known.quota, terms, nowMs)
  return known
}

/** Whose limits hold for a client: its own, and its group's. */
export function quotasOf(clients: Clients, id: ClientId, groupId?: GroupId | null): Quota[] {
  const client = clients.byId.get(id)
  const of = groupId === undefined ? (client?.terms.groupId ?? null) : groupId
  const group = of === null ? undefined : clients.groups.get(of)
  return [client?.quota, group?.quota].filter((quota) => quota !== undefined)
}

/** The part of the pool that a client may use: selectors of which each list must select a key. */
export function keysFor(clients: Clients, id: ClientId): KeysOfClient {
  const client = clients.byId.get(id)
  if (client === undefined) return NO_SELECTORS
  const { groupId, keys } = client.terms
  const group = groupId === null ? undefined : clients.groups.get(groupId)
  const lists = [keys, group?.terms.keys ?? null].filter((list) => list !== null)
  return lists.length === 0 ? NO_SELECTORS : lists
}

const NO_SELECTORS: KeysOfClient = []

/** A request's part that counts for its client's limits. */
export interface ClientDemand {
  readonly clientId: ClientId
  readonly attempt: 'first' | 'move' | 'retry'
  readonly tokens: number
  /** See `LeaseRequest.costNanos`. */
  readonly bound: CostBound
  readonly isFallback: boolean
}

/** What the limits of a client say to a request; `charge` is null for a client without limits. */
export type Admission =
  | { readonly kind: 'admitted'; readonly charge: QuotaCharge | null; readonly mustWrite: boolean }
  | { readonly kind: 'refused'; readonly refusal: QuotaRefusal }

const REVOKED: Admission = { kind: 'refused', refusal: { kind: 'revoked' } }
const UNLIMITED: Admission = { kind: 'admitted', charge: null, mustWrite: false }

/**
 * Whether the limits of a client and of its group admit a request, and takes what it needs if they
 * do. Both or neither: a request that one of them refuses takes nothing of the other.
 * @param share how much of each limit may be used with it: less than 1 for leases ahead
 */
export function admit(clients: Clients, demand: ClientDemand, nowMs: number, share = 1): Admission {
  const limited = limitedQuotas(clients, demand.clientId)
  if (limited.length === 0) return isRevoked(clients, demand.clientId) ? REVOKED : UNLIMITED
  const refusal = longestRefusal(limited, demand, nowMs, share)
  if (refusal !== null) return { kind: 'refused', refusal }
  return { kind: 'admitted', ...chargeQuotas(clients, demand, nowMs) }
}

/** Which limit would refuse a request now; null for none. Nothing is taken. */
export function refusalFor(
  clients: Clients,
  demand: ClientDemand,
  nowMs: number,
): QuotaRefusal | null {
  return longestRefusal(limitedQuotas(clients, demand.clientId), demand, nowMs, 1)
}

function longestRefusal(
  limited: readonly Quota[],
  demand: ClientDemand,
  nowMs: number,
  share: number,
): QuotaRefusal | null {
  const wanted = demandOf(demand)
  let longest: QuotaRefusal | null = null
  for (const quota of limited) {
    longest = longerRefusal(longest, quotaRefusal(quota, wanted, nowMs, share))
  }
  return longest
}

/** A client that is not known may be one of a newer configuration; one that was removed is none. */
export function isRevoked({ byId, removed }: Clients, id: ClientId): boolean {
  return !byId.has(id) && getEntry(removed, id) === true
}

/** Takes a client away. */
export function removeClient(clients: Clients, id: ClientId, nowMs: number): void {
  clients.byId.delete(id)
  setEntry(clients.removed, id, true, nowMs)
  clients.version += 1
}

/** Charges a request that runs already, whatever the limits say. */
export function chargeAnyway(clients: Clients, demand: ClientDemand, nowMs: number) {
  return limitedQuotas(clients, demand.clientId).length === 0
    ? { charge: null, mustWrite: false }
    : chargeQuotas(clients, demand, nowMs)
}

/** The limits of a client and of its group, if any of them is one. */
export function limitedQuotas(clients: Clients, id: ClientId): readonly Quota[] {
  if (!clients.byId.has(id)) return NO_QUOTAS
  const quotas = quotasOf(clients, id)
  return quotas.some(({ terms }) => isLimited(terms)) ? quotas : NO_QUOTAS
}

const NO_QUOTAS: readonly Quota[] = []

const demandOf = ({ attempt, tokens, bound, isFallback }: ClientDemand): QuotaDemand => ({
  requests: attempt === 'first' ? 1 : 0,
  tokens,
  bound,
  isFallback,
})

function chargeQuotas(clients: Clients, demand: ClientDemand, nowMs: number) {
  const { clientId, tokens } = demand
  const wanted = demandOf(demand)
  const groupId = clients.byId.get(clientId)?.terms.groupId ?? null
  const taken = quotasOf(clients, clientId).map((quota) => takeQuota(quota, wanted, nowMs))
  const holds = taken.flatMap(({ holds }) => holds)
  const { requests } = wanted
  const charge: QuotaCharge = { clientId, groupId, requests, tokens, chargedAtMs: nowMs, holds }
  return { charge, mustWrite: taken.some(({ mustWrite }) => mustWrite) }
}

/**
 * The limits that a charge was taken of, as far as they still exist. A client that was removed and made
 * again is another one.
 */
export function chargedQuotas(clients: Clients, charge: QuotaCharge): readonly Quota[] {
  const { clientId, groupId, chargedAtMs } = charge
  const quotas = quotasOf(clients, clientId, groupId)
  return quotas.filter(({ madeAtMs }) => madeAtMs === null || madeAtMs <= chargedAtMs)
}

/** Takes back what a request took which made no upstream call. */
export function undoCharge(clients: Clients, charge: QuotaCharge, nowMs: number): void {
  for (const quota of chargedQuotas(clients, charge)) undoQuota(quota, charge, nowMs)
}

/** Counts a lease that a restart has found. */
export function restoreCharge(clients: Clients, charge: QuotaCharge): void {
  for (const quota of chargedQuotas(clients, charge)) restoreHolds(quota, charge)
}

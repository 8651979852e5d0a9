import type { ClientId, GroupId } from '../ids.ts'
import type { BudgetOwner, QuotaOwner } from '../limits/quota-charge.ts'
import { restoreWindow, takenWithin, type WindowSlot } from '../limits/sliding-window.ts'
import { type BudgetRecord, budgetRecord, restoreBudget } from './budget.ts'
import {
  type Clients,
  type ClientTerms,
  type ClientToken,
  type GroupTerms,
  putClient,
  putGroup,
} from './clients.ts'
import { isLimited, type Quota, requestsToday } from './quota.ts'

/** What is stored of a client that was made at run time. */
export interface ClientRecord {
  readonly terms: ClientTerms
  readonly tokens: readonly ClientToken[]
  readonly createdAtMs: number
}

/** What is stored of a group that was made at run time. */
export interface GroupRecord {
  readonly terms: GroupTerms
  readonly createdAtMs: number
}

/** What an owner of limits has used of them lately, besides money. */
export interface QuotaRecord {
  readonly owner: QuotaOwner
  readonly rpm: readonly WindowSlot[]
  readonly tpm: readonly WindowSlot[]
  readonly dayEndsAtMs: number
  readonly requestsToday: number
}

/** All limits, of clients and of groups. */
export function quotas({ byId, groups }: Clients): readonly Quota[] {
  return [...byId.values(), ...groups.values()].map(({ quota }) => quota)
}

/** The limits of a client or a group; a key has its budget elsewhere. */
export function quotaOf({ byId, groups }: Clients, owner: BudgetOwner): Quota | undefined {
  const [, kind, id] = /^(client|group):(.*)$/s.exec(owner) ?? []
  const of = kind === 'client' ? byId.get(id as ClientId) : groups.get(id as GroupId)
  return of?.quota
}

export function clientRecord({ byId }: Clients, id: ClientId): ClientRecord | null {
  const client = byId.get(id)
  if (client?.source.kind !== 'minted') return null
  const { terms, tokens, source } = client
  return { terms, tokens, createdAtMs: source.createdAtMs }
}

export function groupRecord({ groups }: Clients, id: GroupId): GroupRecord | null {
  const group = groups.get(id)
  if (group?.source.kind !== 'minted') return null
  return { terms: group.terms, createdAtMs: group.source.createdAtMs }
}

export function budgetRecords(clients: Clients, owner: QuotaOwner): readonly BudgetRecord[] | null {
  return quotaOf(clients, owner)?.budgets.map(budgetRecord) ?? null
}

/**
 * The records of those that have used something lately: of ten thousand clients, most have not.
 * @param bySeconds merges the slots of a window
 */
export function quotaRecords(
  clients: Clients,
  bySeconds: (meter: Quota['rpm']) => WindowSlot[],
  nowMs: number,
): QuotaRecord[] {
  return quotas(clients).flatMap((quota) => {
    if (!isLimited(quota.terms)) return []
    for (const meter of [quota.rpm, quota.tpm]) if (meter !== null) takenWithin(meter.window, nowMs)
    const record = {
      owner: quota.owner,
      rpm: bySeconds(quota.rpm),
      tpm: bySeconds(quota.tpm),
      requestsToday: requestsToday(quota, nowMs),
      dayEndsAtMs: quota.dayEndsAtMs,
    }
    return record.rpm.length + record.tpm.length + record.requestsToday === 0 ? [] : [record]
  })
}

/** All that was stored of clients and groups. */
export interface ClientsRecords {
  readonly clients: readonly ClientRecord[]
  readonly groups: readonly GroupRecord[]
  readonly budgets: ReadonlyMap<QuotaOwner, readonly BudgetRecord[]>
}

/** Puts clients and groups back that were made at run time. The configuration's own go before them. */
export function restoreClients(
  state: Clients,
  { clients, groups }: Pick<ClientsRecords, 'clients' | 'groups'>,
  nowMs: number,
): void {
  for (const { terms, createdAtMs } of groups) {
    const configured = state.groups.get(terms.id)
    if (configured === undefined) putGroup(state, terms, { kind: 'minted', createdAtMs }, nowMs)
    else configured.shadowsMade = true
  }
  for (const { terms, tokens, createdAtMs } of clients) {
    const configured = state.byId.get(terms.id)
    if (configured !== undefined) configured.shadowsMade = true
    else putClient(state, terms, { kind: 'minted', createdAtMs }, nowMs).tokens = tokens
  }
}

/** Puts what was spent back. Leases go first: what they hold is a part of what the rows say. */
export function restoreBudgets(
  state: Clients,
  budgets: ClientsRecords['budgets'],
  nowMs: number,
): void {
  for (const [owner, records] of budgets) {
    const quota = quotaOf(state, owner)
    for (const record of records) {
      const budget = quota?.budgets.find(({ terms }) => terms.period === record.period)
      if (budget !== undefined) restoreBudget(budget, record, nowMs)
    }
  }
}

export function restoreQuotas(state: Clients, records: readonly QuotaRecord[]): void {
  for (const { owner, rpm, tpm, dayEndsAtMs, requestsToday } of records) {
    const quota = quotaOf(state, owner)
    if (quota === undefined) continue
    if (quota.rpm !== null) quota.rpm.window = restoreWindow(rpm)
    if (quota.tpm !== null) quota.tpm.window = restoreWindow(tpm)
    Object.assign(quota, { dayEndsAtMs, requestsToday })
  }
}

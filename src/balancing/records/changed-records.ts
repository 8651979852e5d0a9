import type { ActiveAlert } from '../alerts/alert.ts'
import { type Delivery, takeDeliveryRecords } from '../alerts/alert-outbox.ts'
import { takeAlertRecords } from '../alerts/alerts.ts'
import type { BudgetRecord } from '../clients/budget.ts'
import {
  budgetRecords,
  type ClientRecord,
  clientRecord,
  type GroupRecord,
  groupRecord,
} from '../clients/client-records.ts'
import { type SpendRecord, spendRecord } from '../clients/max-spend.ts'
import type { EpochName } from '../clients/purge-epochs.ts'
import type { AccountState } from '../health/account.ts'
import type { Bench } from '../health/bench.ts'
import type { ClientId, GroupId, KeyId, ModelId } from '../ids.ts'
import type { QuotaOwner } from '../limits/quota-charge.ts'
import { type AuditEntry, takeAudit } from '../operators/audit.ts'
import type { KeyState, PoolState } from '../pool-state.ts'

/** The records that a step changed and that must not be lost; `models` is null if unchanged. */
export interface ChangedRecords {
  readonly keys: readonly KeyState[]
  readonly accounts: readonly AccountState[]
  readonly models: ReadonlyMap<ModelId, Bench> | null
  readonly spends: ReadonlyMap<KeyId, SpendRecord>
  readonly budgets: ReadonlyMap<QuotaOwner, readonly BudgetRecord[] | null>
  /** Null for those that were removed. */
  readonly clients: ReadonlyMap<ClientId, ClientRecord | null>
  readonly groups: ReadonlyMap<GroupId, GroupRecord | null>
  readonly audit: ReadonlyMap<string, AuditEntry | null>
  /** By the name of an alert, and by the id of a message; null for those that are over. */
  readonly alerts: ReadonlyMap<string, ActiveAlert | null>
  readonly deliveries: ReadonlyMap<string, Delivery | null>
  /** Null if nothing was purged. */
  readonly purges: ReadonlyMap<EpochName, number> | null
}

/** Takes the records that must be stored before the pool answers this step. */
export function takeChanges(state: PoolState): ChangedRecords {
  const { changes, modelBenches } = state
  const keys = [...changes.keys].flatMap((id) => state.keys.get(id) ?? [])
  const accounts = [...changes.accounts].flatMap(
    (id) => state.accounts.get(id) ?? state.budgets.get(id) ?? [],
  )
  const spends = takeSpends(state)
  const models = changes.models ? modelBenches : null
  changes.keys.clear()
  changes.accounts.clear()
  changes.models = false
  const alerts = takeAlertRecords(state.alerts)
  const deliveries = takeDeliveryRecords(state.alerts.outbox)
  const purges = state.purges.isChanged ? state.purges.epochs : null
  state.purges.isChanged = false
  return { keys, accounts, models, spends, alerts, deliveries, purges, ...takeClients(state) }
}

function takeSpends({ keys, changes }: PoolState): Map<KeyId, SpendRecord> {
  const spends = new Map<KeyId, SpendRecord>()
  for (const id of changes.spends) {
    const spend = keys.get(id)?.spend ?? null
    if (spend !== null) spends.set(id, spendRecord(spend))
  }
  changes.spends.clear()
  return spends
}

function takeClients({ clients: state, changes, audit: log }: PoolState) {
  const budgets = taken(changes.budgets, (owner) => budgetRecords(state, owner))
  const clients = taken(changes.clients, (id) => clientRecord(state, id))
  const groups = taken(changes.groups, (id) => groupRecord(state, id))
  return { budgets, clients, groups, audit: takeAudit(log) }
}

function taken<Id, Item>(ids: Set<Id>, record: (id: Id) => Item): ReadonlyMap<Id, Item> {
  const records = new Map([...ids].map((id) => [id, record(id)] as const))
  ids.clear()
  return records
}

/** Whether a breaker, a bench or a key's spend is among them. */
export function hasRecords({ keys, accounts, spends, models }: ChangedRecords): boolean {
  return keys.length + accounts.length + spends.size > 0 || models !== null
}

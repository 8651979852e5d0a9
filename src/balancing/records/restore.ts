import { restoreCache } from '../accounting/cache-counters.ts'
import { rememberGeneration } from '../accounting/generations.ts'
import { type Spending, spendingOf } from '../accounting/ledger.ts'
import { restoreMinute } from '../accounting/recent-minutes.ts'
import { restoreReconciliation } from '../accounting/reconciliation.ts'
import { restoreHistogram } from '../accounting/time-histogram.ts'
import { alertName } from '../alerts/alert.ts'
import { restoreDeliveries } from '../alerts/alert-outbox.ts'
import { nanosOf } from '../clients/budget.ts'
import { restoreBudgets, restoreClients, restoreQuotas } from '../clients/client-records.ts'
import { restoreCharge } from '../clients/clients.ts'
import { restoreSpend } from '../clients/max-spend.ts'
import { type AccountState, regroup } from '../health/account.ts'
import { putHalt } from '../health/halt.ts'
import { doubt } from '../health/lookup-duty.ts'
import type { KeyId } from '../ids.ts'
import { learnOwner } from '../key-owners.ts'
import { hear } from '../limits/isolates.ts'
import { isBatchLease, type Lease, open, owe } from '../limits/leases.ts'
import type { SpendPeriod } from '../limits/quota-charge.ts'
import { restoreWindow } from '../limits/sliding-window.ts'
import { restoreAudit } from '../operators/audit.ts'
import { changeInFlight, type KeyState, type PoolState, setLookup } from '../pool-state.ts'
import { restoreKeyHold } from '../serving/key-charges.ts'
import type {
  AccountRecord,
  CountersRecord,
  KeyRecord,
  LeaseRecord,
  MetersRecord,
  PoolRecords,
  RouteRecord,
} from './checkpoint.ts'
import { withGap } from './lease-gaps.ts'

/**
 * Puts the stored records into a fresh pool. Records of keys and accounts that are no longer
 * configured are skipped; see forgotten-rows.ts. Leases are restored too: an idle object may be evicted
 * between two requests and must not forget a stream that is still running. Otherwise a key's
 * `max_concurrent` would hold only while traffic keeps the object in memory.
 */
export function restore(state: PoolState, records: PoolRecords, nowMs: number): void {
  restoreOutOfUse(state, records, nowMs)
  restoreClients(state.clients, records, nowMs)
  restoreAudit(state.audit, records.audit)
  for (const alert of records.alerts) state.alerts.active.set(alertName(alert), alert)
  restoreDeliveries(state.alerts.outbox, records.deliveries)
  for (const [name, epoch] of records.purges) state.purges.epochs.set(name, epoch)
  restoreCheckpoint(state, records, nowMs)
  restoreBudgets(state.clients, records.budgets, nowMs)
  for (const { id, spend, tally } of state.keys.values()) {
    const record = records.spends.get(id) ?? null
    if (spend === null) continue
    const tallied = spendingOf(tally, nowMs)[SPENT_IN[spend.terms.period]]
    restoreSpend(spend, record, nanosOf(tallied), nowMs)
  }
}

const SPENT_IN: Readonly<Record<SpendPeriod, keyof Spending>> = {
  day: 'todayUsd',
  week: 'weekUsd',
  month: 'monthUsd',
  total: 'totalUsd',
}

/** What is known of keys, accounts and models. */
function restoreOutOfUse(state: PoolState, records: PoolRecords, nowMs: number): void {
  for (const [id, record] of records.keys) {
    const key = state.keys.get(id)
    if (key === undefined) continue
    // The order of an operator is about the key's name. It holds for a new secret, until he ends it.
    putHalt(state.halted, key, record.halt)
    if (isOfSecret(key, record)) restoreKey(state, key, record, nowMs)
  }
  for (const [id, record] of records.accounts) {
    const account = state.accounts.get(id) ?? state.budgets.get(id)
    if (account !== undefined) restoreAccount(account, record)
  }
  for (const [model, bench] of records.models) state.modelBenches.set(model, bench)
}

function restoreCheckpoint(
  state: PoolState,
  { checkpoint, outdated }: PoolRecords,
  nowMs: number,
): void {
  const { counters, byModel, leases, meters, generations } = checkpoint
  if (counters !== undefined) restoreCounters(state, counters, nowMs)
  const gaps = counters?.gaps ?? []
  state.gaps = outdated ? withGap(gaps, counters?.savedAtMs ?? null, nowMs) : gaps
  for (const record of meters ?? []) restoreMeters(state, record)
  restoreQuotas(state.clients, checkpoint.quotas ?? [])
  for (const [id, generation] of generations ?? []) {
    rememberGeneration(state.generations, id, generation)
  }
  for (const [id, reconciliation] of checkpoint.reconciliations ?? []) {
    restoreReconciliation(state.reconciliations, id, reconciliation)
  }
  for (const [model, tally] of byModel ?? []) state.ledger.byModel.set(model, tally)
  for (const lease of leases ?? []) restoreLease(state, lease, outdated, nowMs)
}

/** A lease that may have ended already holds its capacity for at least this long. */
const IN_DOUBT_MS = 10_000

/**
 * A lease of an outdated checkpoint may have been settled since, and no Worker will settle it
 * again. With its full term it would hold capacity for minutes after a crash under load. So its
 * remaining term is at most the time that it has lasted so far, or `IN_DOUBT_MS` if that is longer.
 * The lease of a short request expires soon, and a long stream may go on.
 */
function inDoubt(lease: Lease, nowMs: number): Lease {
  const againMs = Math.max(IN_DOUBT_MS, nowMs - lease.grantedAtMs)
  return { ...lease, expiresAtMs: Math.min(lease.expiresAtMs, nowMs + againMs) }
}

/**
 * Whether a record is about the secret that the key has now. Another secret under an old id is another
 * key: what the old one was benched for says nothing about it.
 */
function isOfSecret(key: KeyState, { fingerprint }: Pick<KeyRecord, 'fingerprint'>): boolean {
  return fingerprint === null || fingerprint === key.config.fingerprint
}

function restoreKey(state: PoolState, key: KeyState, record: KeyRecord, nowMs: number): void {
  key.breaker = record.breaker
  key.bench = record.bench
  for (const [model, bench] of record.modelBenches) key.modelBenches.set(model, bench)
  key.strikes = record.strikes
  key.struckAtMs = record.struckAtMs
  key.reset = record.reset
  key.epoch = record.reset?.epoch ?? 0
  if (record.owner !== null) learnOwner(state, key, record.owner, nowMs)
  key.creator = regroup(state.budgets, key.creator, record.creator)
  key.workspace = regroup(state.budgets, key.workspace, record.workspace)
  const isSuspected = key.bench?.reason === 'key_rejected' && key.bench.untilMs !== null
  if (key.bench !== null && isSuspected) {
    setLookup(state, key, doubt(key.lookup, key.bench.sinceMs))
  }
}

function restoreAccount(account: AccountState, record: AccountRecord): void {
  account.bench = record.bench
  account.freeBench = record.freeBench
  account.resetAtMs = record.resetAtMs
  for (const key of record.keysWithoutRoom) account.keysWithoutRoom.add(key)
  for (const [model, bench] of record.modelBenches) account.modelBenches.set(model, bench)
}

function restoreCounters(state: PoolState, counters: CountersRecord, nowMs: number): void {
  const { ledger } = state
  state.turns = counters.turns
  state.retryBudget.ceiling.tokens = counters.retryTokens
  state.meanCostUsd = counters.meanCostUsd
  state.meanTokenUsd = counters.meanTokenUsd
  state.restoredAtMs = counters.savedAtMs ?? Number.NEGATIVE_INFINITY
  for (const record of counters.keys) restoreCredit(state, record, nowMs)
  for (const record of counters.routes) restoreRoute(state, record)
  Object.assign(ledger.all, counters.all)
  for (const [id, tally] of counters.byKey) {
    const key = state.keys.get(id)
    // Strategies read `key.tally`, which is also the ledger's tally of this key. So it is filled
    // in place and not replaced.
    if (key === undefined) ledger.byKey.set(id, tally)
    else Object.assign(key.tally, tally)
  }
  for (const [id, tally] of counters.byClient) ledger.byClient.set(id, tally)
  Object.assign(ledger.requests, counters.requests)
  for (const [id, tally] of counters.byGroup ?? []) ledger.byGroup.set(id, tally)
  for (const [id, times] of counters.times ?? []) {
    const known = state.keys.get(id)?.times
    if (known === undefined) continue
    restoreHistogram(known.firstOutput, times.firstOutput)
    restoreHistogram(known.answer, times.answer)
  }
  if (counters.minute) restoreMinute(state.minutes, counters.minute)
  restoreCache(state.cache, counters.cache)
}

function restoreCredit(
  state: PoolState,
  record: CountersRecord['keys'][number],
  nowMs: number,
): void {
  const key = state.keys.get(record.id)
  if (key === undefined) return
  key.lastTurn = record.lastTurn
  const isSame = isOfSecret(key, record)
  // A reset may be younger than the checkpoint.
  key.epoch = isSame ? Math.max(record.epoch, key.epoch) : record.epoch + 1
  if (!isSame) return
  key.credit = record.credit
  key.expiresAtMs = record.expiresAtMs
  key.spentDay = record.spentDay
  key.spendRate = record.spendRate
  // A key in doubt is looked up at once, so its duty keeps its own time.
  if (key.lookup.doubtedAtMs !== null) return
  // By today's configuration: `refresh_s` may have been lowered since.
  const atMs = Math.min(record.lookupAtMs, nowMs + state.policy.credit.refreshMs)
  setLookup(state, key, { ...key.lookup, duty: { kind: 'due', atMs } })
}

function restoreRoute(state: PoolState, record: RouteRecord): void {
  const name = record.models.join(' ')
  const route = state.routes.find(({ models }) => models.join(' ') === name)
  if (route === undefined) return
  const positionOf = (id: KeyId | null) => (id === null ? undefined : state.keys.get(id)?.position)
  route.memory.current = positionOf(record.current) ?? 0
  // The values hold only among the same keys with the same weights. They are dropped if one of
  // these keys is gone or its weight has changed.
  const holds = record.smoothedWeights.every(
    ([id, weight]) => state.keys.get(id)?.weight === weight,
  )
  if (!holds) return
  for (const [id, , smoothed] of record.smoothedWeights) {
    const position = positionOf(id)
    if (position !== undefined) route.memory.smoothedWeights[position] = smoothed
  }
}

function restoreMeters(state: PoolState, record: MetersRecord): void {
  const key = state.keys.get(record.id)
  if (key === undefined) return
  if (key.rpm !== null) key.rpm.window = restoreWindow(record.rpm)
  if (key.tpm !== null) key.tpm.window = restoreWindow(record.tpm)
  const { batch } = record
  if (batch === undefined) return
  key.batch.rpm = restoreWindow(key.rpm === null ? [] : batch.rpm)
  key.batch.tpm = restoreWindow(key.tpm === null ? [] : batch.tpm)
}

/** A lease of a key that is gone is known still: its settlement names a client and a model by it. */
function restoreLease(
  state: PoolState,
  { owed, ...lease }: LeaseRecord,
  outdated: boolean,
  nowMs: number,
): void {
  if (owed) {
    owe(state.leases, lease, nowMs)
    return
  }
  open(state.leases, outdated ? inDoubt(lease, nowMs) : lease)
  // What an owed lease holds is a part of what its budget's row says is lost.
  if (lease.charge !== null) restoreCharge(state.clients, lease.charge)
  const key = state.keys.get(lease.keyId)
  if (key !== undefined) {
    changeInFlight(key, 1, isBatchLease(lease))
    restoreKeyHold(key, lease)
  }
  // An isolate that lived through the restart is heard of soon.
  if (lease.isolate !== null) hear(state.isolates, lease.isolate, nowMs)
}

import { isForgettable, KEEP_MS, tallyOf } from '../accounting/ledger.ts'
import { quotaOf } from '../clients/client-records.ts'
import { ownAccount } from '../health/account.ts'
import { isActive } from '../health/bench.ts'
import type { AccountId, KeyId } from '../ids.ts'
import type { QuotaOwner } from '../limits/quota-charge.ts'
import type { PoolState } from '../pool-state.ts'
import type { AccountRecord, PoolRecords } from './checkpoint.ts'

/** Rows of a pool that nobody needs any more. */
export interface ForgottenRows {
  readonly keys: readonly KeyId[]
  /** Accounts, and groups of keys that a budget covers. */
  readonly accounts: readonly AccountId[]
  /** Clients and groups whose budgets are forgotten. */
  readonly budgets: readonly QuotaOwner[]
}

/**
 * The rows that may be dropped, of what is no longer configured. A key and its rows are kept for a
 * while after its last request: it may come back. Its tally is dropped here. A row without a tally is
 * of a key that never served: it is given a tally, and with it a day.
 */
export function forgottenRows(
  state: PoolState,
  records: Pick<PoolRecords, 'keys' | 'spends' | 'accounts' | 'budgets'>,
  nowMs: number,
): ForgottenRows {
  const { keys, ledger } = state
  const known = new Set([...records.keys.keys(), ...records.spends.keys(), ...ledger.byKey.keys()])
  const gone = [...known].filter((id) => !keys.has(id))
  const forgotten = gone.filter(
    (id) => !isHalted(records, id) && isForgettable(ledger.byKey.get(id) ?? null, nowMs),
  )
  for (const id of gone) if (!ledger.byKey.has(id)) tallyOf(ledger.byKey, id, nowMs)
  for (const id of forgotten) ledger.byKey.delete(id)
  return {
    keys: forgotten,
    accounts: forgottenAccounts(state, records, new Set(forgotten), nowMs),
    budgets: forgottenBudgets(state, records, nowMs),
  }
}

/** Whether an operator has halted a key. Until he ends it, it holds: for a key that comes back years later too. */
function isHalted({ keys }: Pick<PoolRecords, 'keys'>, id: KeyId): boolean {
  return (keys.get(id)?.halt ?? null) !== null
}

/** A client may come back into the configuration, and what it has spent is then spent still. */
function forgottenBudgets(
  { clients }: PoolState,
  { budgets }: Pick<PoolRecords, 'budgets'>,
  nowMs: number,
): readonly QuotaOwner[] {
  return [...budgets].flatMap(([owner, records]) => {
    const isUsed = records.some(({ usedAtMs }) => nowMs - usedAtMs < KEEP_MS)
    return isUsed || quotaOf(clients, owner) !== undefined ? [] : [owner]
  })
}

/** Keys leave accounts, when their owner is learned and when they are removed. */
function forgottenAccounts(
  { keys, accounts, budgets }: PoolState,
  records: Pick<PoolRecords, 'keys' | 'accounts'>,
  forgotten: ReadonlySet<KeyId>,
  nowMs: number,
): readonly AccountId[] {
  const named = new Set<AccountId>()
  for (const [id, { owner, creator, workspace }] of records.keys) {
    if (forgotten.has(id)) continue
    const account = owner ?? (keys.has(id) ? null : ownAccount(id))
    for (const name of [account, creator, workspace]) if (name !== null) named.add(name)
  }
  return [...records.accounts].flatMap(([id, record]) => {
    const isInUse = accounts.has(id) || budgets.has(id) || named.has(id)
    return isInUse || saysSomething(record, nowMs) ? [] : [id]
  })
}

/** Whether a bench of an account holds, and is not so old that its keys will not come back. */
function saysSomething({ bench, freeBench, modelBenches }: AccountRecord, nowMs: number): boolean {
  return [bench, freeBench, ...modelBenches.map(([, ofModel]) => ofModel)].some(
    (one) => isActive(one, nowMs) && nowMs - one.sinceMs < KEEP_MS,
  )
}

import { type SpendRecord, spendRecord } from '../accounting/max-spend.ts'
import type { AccountState } from '../health/account.ts'
import type { Bench } from '../health/bench.ts'
import type { KeyId, ModelId } from '../ids.ts'
import type { KeyState, PoolState } from '../pool-state.ts'

/** The records that a step changed and that must not be lost; `models` is null if unchanged. */
export interface ChangedRecords {
  readonly keys: readonly KeyState[]
  readonly accounts: readonly AccountState[]
  readonly models: ReadonlyMap<ModelId, Bench> | null
  readonly spends: ReadonlyMap<KeyId, SpendRecord>
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
  return { keys, accounts, models, spends }
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

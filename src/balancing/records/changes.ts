import type { Drift } from '../accounting/drift.ts'
import type { ThresholdPassed } from '../clients/charge-settling.ts'
import type { AccountId, ClientId, GroupId, KeyId } from '../ids.ts'
import type { QuotaOwner } from '../limits/quota-charge.ts'

/** Which records must be stored before the pool answers the step that changed them. */
export interface Changes {
  readonly keys: Set<KeyId>
  /** Accounts, and groups of keys that a budget covers. */
  readonly accounts: Set<AccountId>
  readonly spends: Set<KeyId>
  /** Clients and groups whose budgets have to be written. */
  readonly budgets: Set<QuotaOwner>
  /** Clients and groups that were made, changed or removed at run time. */
  readonly clients: Set<ClientId>
  readonly groups: Set<GroupId>
  /** Budgets that have passed a share of what they pay for, and of which nobody was told yet. */
  thresholds: ThresholdPassed[]
  /** Days on which a key spent another sum at OpenRouter than here, and of which nobody was told yet. */
  drifts: Drift[]
  models: boolean
}

/** Nothing has changed. */
export function createChanges(): Changes {
  return {
    keys: new Set(),
    accounts: new Set(),
    spends: new Set(),
    budgets: new Set(),
    clients: new Set(),
    groups: new Set(),
    thresholds: [],
    drifts: [],
    models: false,
  }
}

import type { BudgetTerms } from '../../../src/balancing/clients/budget.ts'
import type { ClientTerms, GroupTerms } from '../../../src/balancing/clients/clients.ts'
import { clientId, groupId } from '../../../src/balancing/ids.ts'

/** A budget by the contract's defaults, except that it is exact and that its cap is out of the way. */
export function budgetOf(changes: Partial<BudgetTerms> = {}): BudgetTerms {
  return {
    usd: 1,
    period: 'day',
    mode: 'exact',
    onExceeded: 'reject',
    capUsd: 0.5,
    reserveUsd: 0.5,
    strict: false,
    includeByok: false,
    assumeOutputTokens: 4096,
    ...changes,
  }
}

const NO_LIMITS = {
  ...{ rpm: null, tpm: null, rpd: null, maxConcurrent: null, budgets: [] },
  ...{ models: null, keys: null, expiresAtMs: null },
}

export type ClientSpec = Omit<Partial<ClientTerms>, 'id' | 'groupId'> & {
  readonly id: string
  readonly group?: string
}

export type GroupSpec = Omit<Partial<GroupTerms>, 'id'> & { readonly id: string }

export function clientOf({ id, group, ...terms }: ClientSpec): ClientTerms {
  const of = group === undefined ? null : groupId(group)
  return { ...NO_LIMITS, ...terms, id: clientId(id), groupId: of }
}

export function groupOf({ id, ...terms }: GroupSpec): GroupTerms {
  return { ...NO_LIMITS, ...terms, id: groupId(id) }
}

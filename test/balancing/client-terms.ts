import type { BudgetTerms } from '../../src/balancing/clients/budget.ts'
import type { ClientTerms, GroupTerms } from '../../src/balancing/clients/clients.ts'
import { clientId, groupId } from '../../src/balancing/ids.ts'

/** Terms of clients and groups that have no limit but those that a test gives them. */

const NO_LIMITS = {
  ...{ rpm: null, tpm: null, rpd: null, maxConcurrent: null, budgets: [] },
  ...{ models: null, keys: null, expiresAtMs: null },
} as const

export const budgetOf = (usd: number, given: Partial<BudgetTerms> = {}): BudgetTerms => ({
  usd,
  period: 'day',
  mode: 'exact',
  onExceeded: 'reject',
  capUsd: 0.5,
  reserveUsd: 0.5,
  strict: false,
  includeByok: false,
  assumeOutputTokens: 4096,
  ...given,
})

export const clientOf = (id: string, given: Partial<ClientTerms> = {}): ClientTerms => ({
  ...NO_LIMITS,
  id: clientId(id),
  groupId: null,
  ...given,
})

export const groupOf = (id: string, given: Partial<GroupTerms> = {}): GroupTerms => ({
  ...NO_LIMITS,
  id: groupId(id),
  ...given,
})

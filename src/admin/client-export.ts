import type { Permissions } from '../balancing/clients/clients.ts'
import type { QuotaTerms } from '../balancing/clients/quota.ts'
import type { ClientView, GroupView } from '../balancing/clients/registry.ts'
import type { ExportAnswer } from './answer-schemas.ts'
import { budgetTerms, isoTime, selectorText } from './client-answers.ts'

/**
 * The clients that were made at run time, and their groups, as the secret `CLIENT_KEYS` takes them. Of
 * tokens there are only hashes, so nobody can call with what is exported. Of two valid tokens it is the
 * younger one.
 */
export function exported(
  clients: readonly ClientView[],
  groups: readonly GroupView[],
): ExportAnswer {
  const made = clients.filter(({ source }) => source.kind !== 'configured')
  const used = new Set(made.map(({ terms }) => terms.groupId))
  const theirs = groups.filter(
    ({ terms, source }) => source.kind !== 'configured' || used.has(terms.id),
  )
  return {
    groups: theirs.map(({ terms }) => ({ id: terms.id, ...fieldsOf(terms) })),
    clients: made.flatMap(({ terms, tokens }) => {
      const token = tokens.at(-1)
      if (token === undefined) return []
      const { id, groupId } = terms
      const group = groupId === null ? {} : { group: groupId }
      return [{ id, sha256: token.sha256, ...group, ...fieldsOf(terms) }]
    }),
  }
}

/** Without what is not limited: an absent field is no limit. */
function fieldsOf(terms: QuotaTerms & Permissions) {
  const { rpm, tpm, rpd, maxConcurrent, budgets, models, keys, expiresAtMs } = terms
  return {
    ...(rpm === null ? {} : { rpm }),
    ...(tpm === null ? {} : { tpm }),
    ...(rpd === null ? {} : { rpd }),
    ...(maxConcurrent === null ? {} : { max_concurrent: maxConcurrent }),
    ...(budgets.length === 0 ? {} : { budget: budgets.map(budgetTerms) }),
    ...(models === null ? {} : { models: [...models] }),
    ...(keys === null ? {} : { keys: keys.map(selectorText) }),
    ...(expiresAtMs === null ? {} : { expires_at: isoTime(expiresAtMs) }),
  }
}

import { type BudgetTerms, usdOf } from '../balancing/clients/budget.ts'
import type { Permissions } from '../balancing/clients/clients.ts'
import type { QuotaTerms, QuotaView } from '../balancing/clients/quota.ts'
import type { ClientView, GroupView } from '../balancing/clients/registry.ts'
import type { KeySelector } from '../balancing/routes.ts'
import type { BudgetFields, ClientAnswer, GroupAnswer, UsedBudget } from './answer-schemas.ts'

/** Clients and groups in the words of the admin API. */

export const isoTime = (ms: number): string => new Date(ms).toISOString()
export const isoTimeOrNull = (ms: number | null): string | null =>
  ms === null ? null : isoTime(ms)

export function clientAnswer(client: ClientView): ClientAnswer {
  const { terms, tokens } = client
  return {
    ...sharedOf(client),
    id: terms.id,
    group: terms.groupId,
    tokens: tokens.map(({ createdAtMs, expiresAtMs }) => {
      return { created_at: isoTime(createdAtMs), expires_at: isoTimeOrNull(expiresAtMs) }
    }),
  }
}

export function groupAnswer(group: GroupView): GroupAnswer {
  return { ...sharedOf(group), id: group.terms.id }
}

function sharedOf({
  terms,
  source,
  shadowsMade,
  used,
}: Pick<ClientView | GroupView, 'source' | 'shadowsMade' | 'used'> & {
  readonly terms: QuotaTerms & Permissions
}) {
  return {
    source: source.kind === 'configured' ? ('configured' as const) : ('made' as const),
    created_at: source.kind === 'configured' ? null : isoTime(source.createdAtMs),
    shadows_made: shadowsMade,
    rpm: terms.rpm,
    tpm: terms.tpm,
    rpd: terms.rpd,
    max_concurrent: terms.maxConcurrent,
    models: terms.models === null ? null : [...terms.models],
    keys: terms.keys === null ? null : terms.keys.map(selectorText),
    expires_at: isoTimeOrNull(terms.expiresAtMs),
    in_flight: used.inFlight,
    requests_today: used.requestsToday,
    requests_in_minute: used.requestsInMinute,
    tokens_in_minute: used.tokensInMinute,
    budgets: usedBudgets(used),
  }
}

export function selectorText(selector: KeySelector): string {
  switch (selector.kind) {
    case 'id':
      return selector.id
    case 'tag':
      return `tag:${selector.tag}`
    case 'account':
      return `account:${selector.account}`
  }
}

/** As operators write them. */
export function budgetTerms(terms: BudgetTerms): BudgetFields {
  return {
    usd: terms.usd,
    period: terms.period,
    mode: terms.mode,
    on_exceeded: terms.onExceeded,
    cap_usd: terms.capUsd,
    reserve_usd: terms.reserveUsd,
    assume_output_tokens: terms.assumeOutputTokens,
    strict: terms.strict,
    include_byok: terms.includeByok,
  }
}

export function usedBudgets({ budgets }: QuotaView): UsedBudget[] {
  return budgets.map(({ terms, increase, resetsAtMs, ...nanos }) => ({
    ...budgetTerms(terms),
    limit_usd: usdOf(nanos.limitNanos),
    spent_usd: usdOf(nanos.spentNanos),
    reserved_usd: usdOf(nanos.reservedNanos),
    lost_usd: usdOf(nanos.lostNanos),
    left_usd: usdOf(nanos.leftNanos),
    resets_at: isoTimeOrNull(resetsAtMs),
    increase:
      increase === null ? null : { usd: usdOf(increase.nanos), until: isoTime(increase.untilMs) },
  }))
}

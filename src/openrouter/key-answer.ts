import type { Spending } from '../balancing/accounting/ledger.ts'
import { usdOf } from '../balancing/clients/budget.ts'
import type { Caller } from '../balancing/clients/caller.ts'
import type { QuotaView } from '../balancing/clients/quota.ts'
import type { JsonObject } from './json-value.ts'

/**
 * The answer of `GET /key` for a client key of the gateway, in OpenRouter's form. A field that has
 * no meaning for a client key has the value for "none". Amounts are in USD.
 * https://openrouter.ai/docs/api-reference/limits
 */
export function keyAnswer(
  { id: label, expiresAtMs }: Pick<Caller, 'id' | 'expiresAtMs'>,
  spending: Spending,
  quotas: readonly QuotaView[],
): JsonObject {
  const { totalUsd, todayUsd, weekUsd, monthUsd } = spending
  return {
    data: {
      label,
      ...tightest(quotas),
      usage: totalUsd,
      usage_daily: todayUsd,
      usage_weekly: weekUsd,
      usage_monthly: monthUsd,
      byok_usage: 0,
      byok_usage_daily: 0,
      byok_usage_weekly: 0,
      byok_usage_monthly: 0,
      is_free_tier: false,
      is_management_key: false,
      is_provisioning_key: false,
      creator_user_id: null,
      organization_id: null,
      workspace_id: null,
      expires_at: expiresAtMs === null ? null : new Date(expiresAtMs).toISOString(),
      // OpenRouter's own client rejects an answer without the next two fields. They describe an
      // account, and a client has none.
      allowed_data_regions: ['global'],
      free_model_daily_requests: { used: 0, limit: 0, remaining: 0 },
      rate_limit: {
        requests: -1,
        interval: '10s',
        note: 'This field is deprecated and safe to ignore.',
      },
    },
  }
}

const RESETS = { day: 'daily', week: 'weekly', month: 'monthly', total: null } as const

/** The budget that has the least left: of the client, or of its group. */
function tightest(quotas: readonly QuotaView[]) {
  const [budget] = quotas
    .flatMap(({ budgets }) => budgets)
    .toSorted((a, b) => a.leftNanos - b.leftNanos)
  return {
    limit: budget === undefined ? null : usdOf(budget.limitNanos),
    limit_remaining: budget === undefined ? null : usdOf(budget.leftNanos),
    limit_reset: budget === undefined ? null : RESETS[budget.terms.period],
    include_byok_in_limit: budget?.terms.includeByok ?? false,
  }
}

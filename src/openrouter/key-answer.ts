import type { Spending } from '../balancing/accounting/ledger.ts'
import type { JsonObject } from './json-value.ts'

/**
 * The answer of `GET /key` for a client key of the gateway, in OpenRouter's form. A field that has
 * no meaning for a client key has the value for "none". Amounts are in USD.
 * https://openrouter.ai/docs/api-reference/limits
 */
export function keyAnswer(label: string, spending: Spending): JsonObject {
  const { totalUsd, todayUsd, weekUsd, monthUsd } = spending
  return {
    data: {
      label,
      limit: null,
      limit_remaining: null,
      limit_reset: null,
      include_byok_in_limit: false,
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
      expires_at: null,
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

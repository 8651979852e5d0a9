import { withAccount } from './credentials.ts'
import { currentUsage, limitRemainingUsd } from './money.ts'
import { freePerDay, freeUsedToday } from './rate-limits.ts'
import { json, type Reply } from './reply.ts'
import type { Visit } from './visit.ts'
import type { Account, Key } from './world.ts'

/** GET /key, and its former name /auth/key: describes the key of the request. */
export function keyInfo(visit: Visit): Reply {
  return withAccount(visit, (key, account) => json(200, { data: dataOf(visit, key, account) }))
}

function dataOf(visit: Visit, key: Key, account: Account) {
  const { nowMs } = visit
  const usage = currentUsage(key.usage, nowMs)
  const freeLimit = freePerDay(account)
  const freeUsed = freeUsedToday(visit.simulation.rates, account, nowMs)
  return {
    label: `${key.key.slice(0, 12)}...${key.key.slice(-3)}`,
    limit: key.limitUsd,
    limit_remaining: limitRemainingUsd(key, nowMs),
    limit_reset: key.limitReset,
    include_byok_in_limit: false,
    usage: usage.totalUsd,
    usage_daily: usage.dailyUsd,
    usage_weekly: usage.weeklyUsd,
    usage_monthly: usage.monthlyUsd,
    byok_usage: 0,
    byok_usage_daily: 0,
    byok_usage_weekly: 0,
    byok_usage_monthly: 0,
    is_free_tier: account.purchasedUsd === 0,
    is_management_key: false,
    is_provisioning_key: false,
    creator_user_id: account.creatorUserId,
    expires_at: key.expiresAt,
    organization_id: account.organizationId,
    workspace_id: account.workspaceId,
    allowed_data_regions: ['global', 'europe', 'us'],
    free_model_daily_requests: {
      used: freeUsed,
      limit: freeLimit,
      remaining: Math.max(0, freeLimit - freeUsed),
    },
    rate_limit: {
      requests: -1,
      interval: '10s',
      note: 'This field is deprecated and safe to ignore.',
    },
  }
}

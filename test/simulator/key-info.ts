import { withAccount } from './credentials.ts'
import { currentUsage, limitRemainingUsd, round, windowEndMs } from './money.ts'
import { freePerDay, freeUsedToday } from './rate-limits.ts'
import { json, type Reply } from './reply.ts'
import { settingsOf, type Visit } from './visit.ts'
import type { Account, Budget, Key } from './world.ts'

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
    ...budgetsOf(visit, key),
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

/** The budgets that cover a key, and the tightest of them. A key without a budget lists none. */
function budgetsOf(visit: Visit, { budgets }: Key): Record<string, unknown> {
  if (budgets.length === 0) return {}
  const layers = budgets.map((budget) => layerOf(budget, visit.nowMs))
  const [tightest] = layers.toSorted((a, b) => a.remaining_usd - b.remaining_usd)
  return { [settingsOf(visit).budgetsField]: layers, effective_budget: tightest }
}

function layerOf({ scope, limitUsd, spendUsd, resetInterval }: Budget, nowMs: number) {
  const endMs = resetInterval === null ? null : windowEndMs(resetInterval, nowMs)
  return {
    scope,
    limit_usd: limitUsd,
    spend_usd: spendUsd,
    remaining_usd: round(limitUsd - spendUsd),
    reset_interval: resetInterval,
    resets_at: endMs === null ? null : new Date(endMs).toISOString(),
    include_byok: false,
  }
}

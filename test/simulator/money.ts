import type { Call } from './api-shape.ts'
import type { Model } from './models.ts'
import type { Charges } from './prices.ts'
import type { Account, Key, KeyUsage } from './world.ts'

const DAY_MS = 86_400_000

/** The most that a call can cost, in USD. Without `max_tokens`, the largest output counts. */
export function boundUsd(call: Call, model: Model, charges: Charges): number {
  const { product, promptTokens, units } = call
  const tokens =
    product.kind === 'text' ? (call.maxTokens ?? model.maxOutputTokens) : product.tokens
  const promptUsd = promptCostUsd(charges, { promptTokens, cachedTokens: 0, units })
  return round(promptUsd + tokens * Math.max(charges.completionUsd, charges.reasoningUsd))
}

/** The price of the prompt, with all that is charged at once, in USD, not rounded. */
export function promptCostUsd(
  charges: Charges,
  prompt: {
    readonly promptTokens: number
    readonly cachedTokens: number
    readonly units: number
  },
): number {
  const fresh = prompt.promptTokens - prompt.cachedTokens
  const tokensUsd = fresh * charges.promptUsd + prompt.cachedTokens * charges.cachedUsd
  return tokensUsd + prompt.units * charges.unitUsd + charges.fixedUsd
}

/** Rounds to billionths of a dollar: with floating-point errors, no test could assert balances. */
export function round(usd: number): number {
  return Math.round(usd * 1e9) / 1e9
}

/** Start of the UTC day, week (Monday) or month that holds `nowMs`, in epoch milliseconds. */
export function windowStartMs(window: 'daily' | 'weekly' | 'monthly', nowMs: number): number {
  const day = Math.floor(nowMs / DAY_MS) * DAY_MS
  const date = new Date(day)
  switch (window) {
    case 'daily':
      return day
    case 'weekly':
      return day - ((date.getUTCDay() + 6) % 7) * DAY_MS
    case 'monthly':
      return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1)
  }
}

/** The end of the window that contains `nowMs`, in epoch milliseconds. */
export function windowEndMs(window: 'daily' | 'weekly' | 'monthly', nowMs: number): number {
  const start = windowStartMs(window, nowMs)
  if (window === 'daily') return start + DAY_MS
  if (window === 'weekly') return start + 7 * DAY_MS
  const date = new Date(start)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1)
}

/** The key's usage. A window that has ended since the last charge is back at zero. */
export function currentUsage(usage: KeyUsage, nowMs: number): KeyUsage {
  const { atMs } = usage
  if (atMs === null) return usage
  const kept = (window: 'daily' | 'weekly' | 'monthly', usd: number) =>
    atMs < windowStartMs(window, nowMs) ? 0 : usd
  return {
    totalUsd: usage.totalUsd,
    dailyUsd: kept('daily', usage.dailyUsd),
    weeklyUsd: kept('weekly', usage.weeklyUsd),
    monthlyUsd: kept('monthly', usage.monthlyUsd),
    atMs: nowMs,
  }
}

/** The usage that counts for the key's cap: all usage, or the usage in the cap's window. */
export function usedOfLimitUsd(key: Key, nowMs: number): number {
  const usage = currentUsage(key.usage, nowMs)
  switch (key.limitReset) {
    case null:
      return usage.totalUsd
    case 'daily':
      return usage.dailyUsd
    case 'weekly':
      return usage.weeklyUsd
    case 'monthly':
      return usage.monthlyUsd
  }
}

/** What the key's cap leaves, in USD, never below zero; null for a key without a cap. */
export function limitRemainingUsd(key: Key, nowMs: number): number | null {
  if (key.limitUsd === null) return null
  return Math.max(0, round(key.limitUsd - usedOfLimitUsd(key, nowMs)))
}

/** Takes the cost from the account and adds it to every window of the key, in place. */
export function charge(account: Account, key: Key, usd: number, nowMs: number): void {
  account.balanceUsd = round(account.balanceUsd - usd)
  const usage = currentUsage(key.usage, nowMs)
  key.usage = {
    totalUsd: round(usage.totalUsd + usd),
    dailyUsd: round(usage.dailyUsd + usd),
    weeklyUsd: round(usage.weeklyUsd + usd),
    monthlyUsd: round(usage.monthlyUsd + usd),
    atMs: nowMs,
  }
  for (const budget of key.budgets) budget.spendUsd = round(budget.spendUsd + usd)
}

import { withAccount } from './credentials.ts'
import { failure } from './errors.ts'
import { round } from './money.ts'
import { json, type Reply } from './reply.ts'
import { settingsOf, type Visit } from './visit.ts'

/**
 * GET /credits: what the account has bought and used. Documented for management keys alone, which
 * the simulator has none of; it was seen to answer ordinary keys, so the settings can allow them.
 */
export function credits(visit: Visit): Reply {
  return withAccount(visit, (_key, account) => {
    if (!settingsOf(visit).creditsForOrdinaryKeys) {
      const { status, error } = failure(403, 'Only management keys can perform this operation')
      return json(status, { error })
    }
    // The balance may be set above what was ever bought, and then it counts as bought.
    const bought = Math.max(account.purchasedUsd, account.balanceUsd)
    const data = { total_credits: bought, total_usage: round(bought - account.balanceUsd) }
    return json(200, { data })
  })
}

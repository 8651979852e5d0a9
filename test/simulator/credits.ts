import { withAccount } from './credentials.ts'
import { failure } from './errors.ts'
import { round } from './money.ts'
import { json, type Reply } from './reply.ts'
import { settingsOf, type Visit } from './visit.ts'

/**
 * GET /credits: what the account has bought and used. According to the documentation only
 * management keys may read it, and the simulator has none. OpenRouter was seen to answer ordinary
 * keys too, so a setting can allow them.
 */
export function credits(visit: Visit): Reply {
  return withAccount(visit, (_key, account) => {
    if (!settingsOf(visit).creditsForOrdinaryKeys) {
      const { status, error } = failure(403, 'Only management keys can perform this operation')
      return json(status, { error })
    }
    // A test may set the balance above all credits ever bought. Then the balance counts as bought.
    const bought = Math.max(account.purchasedUsd, account.balanceUsd)
    const data = { total_credits: bought, total_usage: round(bought - account.balanceUsd) }
    return json(200, { data })
  })
}

import type { Ports } from '../gateway/ports.ts'
import { gatewayOf, hasBudgets, keyLookupsOf } from './composition-root.ts'

/** The most lookups of one minute. Further ones have their turn a minute later. */
const MAX_LOOKUPS = 30

/**
 * Carries out the lookups that are due although no request comes, so that a key that was repaired is
 * back before the next request, and renews the prices that budgets are kept by. It does nothing until a request has called the pool's object.
 */
export async function carryOutDuties(env: Env, ports: Ports): Promise<void> {
  const result = gatewayOf(env, ports)
  if (!result.ok) return
  const { pool, sight, prices } = result.gateway
  if (!(await sight.isPlaced())) return
  if (hasBudgets(result.gateway)) await prices.keepFresh()
  const answer = await pool.duties({ max: MAX_LOOKUPS })
  if (answer.kind === 'unavailable' || answer.value.lookups.length === 0) return
  const lookups = await keyLookupsOf(result.gateway)(answer.value.lookups)
  await pool.exchange({ version: 1, wants: [], settlements: [], lookups, takesNoDuties: true })
}

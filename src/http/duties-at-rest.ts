import type { Ports } from '../gateway/ports.ts'
import { gatewayOf, generationLookupsOf, hasBudgets, keyLookupsOf } from './composition-root.ts'

/** The most lookups of one minute, of keys and of generations. Further ones have their turn a minute later. */
const MAX_LOOKUPS = 30
const MAX_GENERATIONS = 60

/**
 * Carries out the duties that are due although no request comes. It looks up keys, so that one that was
 * repaired is back before the next request; it asks what answers have cost whose usage was estimated; and
 * it renews the prices that budgets are kept by. It does nothing until a request has called the pool's
 * object.
 */
export async function carryOutDuties(env: Env, ports: Ports): Promise<void> {
  const result = gatewayOf(env, ports)
  if (!result.ok) return
  const { gateway } = result
  const { pool, sight, prices } = gateway
  if (!(await sight.isPlaced())) return
  if (hasBudgets(gateway)) await prices.keepFresh()
  const answer = await pool.duties({ max: MAX_LOOKUPS, maxGenerations: MAX_GENERATIONS })
  if (answer.kind === 'unavailable') return
  const { lookups: keyDuties, generations = [] } = answer.value
  if (keyDuties.length + generations.length === 0) return
  const [lookups, reconciled] = await Promise.all([
    keyLookupsOf(gateway)(keyDuties),
    generationLookupsOf(gateway)(generations),
  ])
  await pool.exchange({
    ...{ version: 1, wants: [], settlements: [], lookups, takesNoDuties: true },
    ...(reconciled.length === 0 ? {} : { reconciled }),
  })
}

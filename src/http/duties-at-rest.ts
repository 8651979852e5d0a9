import type { KeyReport } from '../balancing/health/key-report.ts'
import type { LookupDuty } from '../balancing/health/lookup-duty.ts'
import type { KeyLookups } from '../gateway/leases/key-lookups.ts'
import type { Ports } from '../gateway/ports.ts'
import { gatewayOf, keyLookupsOf } from './composition-root.ts'

/** The most lookups of one minute. Further ones have their turn a minute later. */
const MAX_LOOKUPS = 30

/**
 * Six connections of an invocation may wait for an answer, and a lookup opens two if it asks for the
 * account's balance too.
 */
const AT_ONCE = 3

/**
 * Carries out the lookups that are due although no request comes, so that a key that was repaired is
 * back before the next request. It does nothing until a request has called the pool's object.
 */
export async function carryOutDuties(env: Env, ports: Ports): Promise<void> {
  const result = await gatewayOf(env, ports)
  if (!result.ok) return
  const { pool, sight } = result.gateway
  if (!(await sight.isPlaced())) return
  const answer = await pool.duties({ max: MAX_LOOKUPS })
  if (answer.kind === 'unavailable' || answer.value.lookups.length === 0) return
  const lookups = await lookUpBounded(keyLookupsOf(result.gateway), answer.value.lookups)
  await pool.exchange({ version: 1, wants: [], settlements: [], lookups, takesNoDuties: true })
}

/** Looks up a few keys at a time. */
async function lookUpBounded(
  lookUp: KeyLookups,
  duties: readonly LookupDuty[],
): Promise<KeyReport[]> {
  const reports: KeyReport[] = []
  const left = duties.values()
  const takeTurns = async () => {
    for (const duty of left) reports.push(...(await lookUp([duty])))
  }
  await Promise.all(Array.from({ length: AT_ONCE }, takeTurns))
  return reports
}

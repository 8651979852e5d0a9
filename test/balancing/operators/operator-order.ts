import { keyId } from '../../../src/balancing/ids.ts'
import { type SteeringOrder, steer } from '../../../src/balancing/operators/steering.ts'
import type { PoolDriver } from '../pool-driver.ts'
import { seededRandom } from '../seeded-random.ts'

/** What an operator orders. Nothing is granted in this step. */
export function orderOnly(pool: PoolDriver, kind: SteeringOrder['kind'], id: string): void {
  const step = { state: pool.state, nowMs: pool.now(), random: seededRandom(1) }
  steer(step, { kind, keyId: keyId(id) })
}

/** As the object does it, which serves its queue after it. */
export function order(pool: PoolDriver, kind: SteeringOrder['kind'], id: string): void {
  orderOnly(pool, kind, id)
  pool.wake()
}

import type { KeyId } from '../../../src/balancing/ids.ts'
import { isBatchLease } from '../../../src/balancing/limits/leases.ts'
import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { HistoryKind } from '../history.ts'
import type { Accuse, Watcher } from './invariant.ts'

/** How many grants for each key until one that had none has starved. */
const STARVED = 40

/** 5. Without faults, shares are what the strategy says. 6. No key starves that may serve. */
export function sharesAreKept(accuse: Accuse, kind: HistoryKind): Watcher {
  if (kind !== 'calm') return {}
  const counts = new Map<KeyId, number>()
  let grants = 0

  const check = ({ keys, routes }: PoolState) => {
    const { strategy } = routes[0].config
    const all = [...keys.values()]
    const of = (id: KeyId) => counts.get(id) ?? 0
    const numbers = all.map(({ id }) => of(id))
    if (strategy === 'round-robin' && Math.max(...numbers) - Math.min(...numbers) > 1) {
      accuse(5, `round-robin gave ${numbers}`)
    }
    const weights = all.reduce((sum, { weight }) => sum + weight, 0)
    if (strategy === 'weighted' && grants % weights === 0) {
      const cycles = grants / weights
      const isExact = all.every(({ id, weight }) => of(id) === weight * cycles)
      if (!isExact) accuse(5, `weighted gave ${numbers} after ${cycles} cycles`)
    }
    const spreads = ['round-robin', 'weighted', 'least-busy', 'lowest-usage'].includes(strategy)
    if (spreads && grants >= STARVED * all.length && Math.min(...numbers) === 0) {
      accuse(6, `a key starved: ${numbers}`)
    }
  }
  return {
    after({ state }, { granted }) {
      // A batch takes turns of its own, and spends none of these.
      const own = granted.filter((lease) => !isBatchLease(lease))
      for (const { keyId } of own) {
        counts.set(keyId, (counts.get(keyId) ?? 0) + 1)
        grants += 1
        if (own.length === 1) check(state)
      }
    },
  }
}
